"""Tests of maa.names: any name can be shown, and gives a name for files that every machine takes."""

import os
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maa.names import LONGEST_NAME, printable, safe_name

ANY = st.text(st.characters(codec=None), max_size=300)
RESERVED = re.compile(r'[<>:"/\\|?*\0-\x1f]|^[-.~ ]|^(con|prn|aux|nul|com\d|lpt\d)(\.|$)', re.IGNORECASE)


@pytest.mark.parametrize(
    "name", ["IDRiD_45", "left eye, Müller", "Иванов_OD", "眼底", "a'b&c", "[bold]", "console", "a.b", "100%#"]
)
def test_ordinary_names_stay_as_they_are(name):
    assert printable(name) == safe_name(name) == name


def test_what_cannot_be_seen_is_escaped():
    name = os.fsdecode(b"M\xfcller\n\x1b[31m\x7f") + "\u202egpj.exe\u2066\ud800"
    assert printable(name) == r"M\xfcller\n\x1b[31m\x7f\u202egpj.exe\u2066\ud800"


@pytest.mark.parametrize(
    "name", ["", "-rf", ".hidden", "..", "/etc/passwd", r"..\..\boot", "con", "NUL.left", "a:b", "a?", "x" * 244]
)
def test_other_names_are_replaced_and_marked(name):
    safe = safe_name(name)
    assert safe != name and not RESERVED.search(safe) and re.search(r"_[0-9a-f]{8}$", safe)


def test_the_two_ways_to_write_an_accent_are_one_name():
    assert safe_name("Mu\u0308ller") == safe_name("Müller") == "Müller"


@given(ANY)
def test_every_name_is_safe(name):
    shown, safe = printable(name), safe_name(name)
    shown.encode()
    assert "\n" not in shown and "\x1b" not in shown
    assert 0 < len(safe.encode()) <= LONGEST_NAME and not RESERVED.search(safe) and safe_name(safe) == safe


@given(st.lists(ANY, min_size=2, max_size=6, unique_by=lambda name: printable(name)))
def test_different_names_stay_different(names):
    different = {unicodedata.normalize("NFC", printable(name)) for name in names}
    assert len({safe_name(name) for name in names}) == len(different)
