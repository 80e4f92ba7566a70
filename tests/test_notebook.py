"""Tests of maa.notebook: what a page shows of the package is the package's own, and numbers go where a book is built."""

import sys

from maa.models import Trunk, triplet_loss
from maa.notebook import glue, show


def test_a_functions_own_lines_are_shown_without_its_docstring():
    text = show(triplet_loss).data
    assert text.startswith("```python\ndef triplet_loss(") and text.endswith("\n```") and '"""' not in text
    assert "return" in text and "Parameters" not in text


def test_methods_are_shown_from_the_left_and_several_one_after_the_other():
    text = show(Trunk.forward, Trunk.dense).data
    assert "\ndef forward(" in text and "\ndef dense(" in text and '"""' not in text


def test_a_value_is_glued_where_a_book_is_built_and_nowhere_else(monkeypatch):
    class Book:
        def glue(self, name, value, display):
            self.seen = (name, value, display)

    monkeypatch.setitem(sys.modules, "myst_nb", book := Book())
    glue("number", 3)
    assert book.seen == ("number", 3, False)
    monkeypatch.setitem(sys.modules, "myst_nb", None)  # as where it is not installed
    glue("number", 4)
    assert book.seen[1] == 3
