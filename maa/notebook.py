"""What the notebooks share: a function's own lines on the page, and numbers that the prose takes from a cell."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.display import Markdown


def show(*functions: Callable[..., object]) -> Markdown:
    """The lines that the package runs, and no copy of them, without their docstrings."""
    from IPython.display import Markdown

    source = "\n".join(textwrap.dedent(inspect.getsource(function)) for function in functions)
    return Markdown(  # type: ignore[no-untyped-call]  # IPython has no annotation for it
        "```python\n" + re.sub(r'\n +r?"""[\s\S]*?"""', "", source).strip() + "\n```"
    )


def glue(name: str, value: object, display: bool = False) -> None:
    """Give a value the name by which the book's prose shows it (myst-nb); do nothing where no book is built, as on Colab."""
    try:
        from myst_nb import glue as into_the_book
    except ImportError:
        return
    into_the_book(name, value, display=display)
