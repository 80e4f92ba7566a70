"""Tests of maa.progress: seen in a terminal, silent elsewhere, and never in the way."""

import pytest

from maa.progress import bar, track, wanted


@pytest.mark.parametrize("setting, terminal, seen", [
    (None, True, True), (None, False, False), ("0", True, False), ("1", False, True),
])
def test_wanted(monkeypatch, setting, terminal, seen):
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)
    monkeypatch.delenv("MAA_PROGRESS", raising=False)
    if setting is not None:
        monkeypatch.setenv("MAA_PROGRESS", setting)
    assert wanted() is seen


def test_silence_is_silent(monkeypatch, capfd):
    monkeypatch.setenv("MAA_PROGRESS", "0")
    assert list(track([1, 2, 3], "Counting")) == [1, 2, 3]
    with bar("Training", 10) as advance:
        advance(10, "loss 0.1")
    assert capfd.readouterr() == ("", "")


def test_a_bar_writes_to_stderr_only_and_says_what_goes_on(monkeypatch, capfd):
    monkeypatch.setenv("MAA_PROGRESS", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")  # what makes rich draw where there is no terminal
    monkeypatch.setenv("COLUMNS", "120")
    with bar("Training hgn", 10) as advance:
        advance(7, "loss 0.123")
    out, error = capfd.readouterr()
    assert out == "" and "Training hgn" in error and "7/10" in error and "loss 0.123" in error


def test_track_is_lazy_counts_and_lets_errors_through(monkeypatch):
    monkeypatch.setenv("MAA_PROGRESS", "0")
    taken = []

    def items():
        for number in range(5):
            taken.append(number)
            yield number

    iterator = track(items(), "Counting", 5)
    assert next(iterator) == 0 and taken == [0]
    with pytest.raises(ZeroDivisionError):
        for number in track(items(), "Counting"):
            1 / (number - 2)
