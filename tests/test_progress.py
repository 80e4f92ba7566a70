"""Tests of maa.progress: seen in a terminal, silent elsewhere, and never in the way."""

import os
import threading
import time

import pytest

from maa.progress import bar, duration, in_threads, track, wanted


@pytest.mark.parametrize(
    "setting, terminal, seen",
    [(None, True, "bar"), (None, False, "0"), ("0", True, "0"), ("1", False, "bar"), ("lines", True, "lines")],
)
def test_wanted(monkeypatch, setting, terminal, seen):
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)
    monkeypatch.delenv("MAA_PROGRESS", raising=False)
    if setting is not None:
        monkeypatch.setenv("MAA_PROGRESS", setting)
    assert wanted() == seen


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


def test_a_log_gets_a_line_now_and_then_with_the_time_that_is_left(monkeypatch, capfd):
    monkeypatch.setenv("MAA_PROGRESS", "lines")
    clock = iter([0, 10, 40, 50, 71])  # at the start, and after each photograph
    monkeypatch.setattr("maa.progress.time.monotonic", lambda: next(clock))
    for _ in track(range(4), "Evaluating"):
        pass
    out, error = capfd.readouterr()
    assert out == ""
    assert error.splitlines() == ["Evaluating: 2 of 4, 40 s, about 40 s left", "Evaluating: 4 of 4, 1 min 11 s"]


@pytest.mark.parametrize("seconds, words", [(3.21, "3.2 s"), (42, "42 s"), (190, "3 min 10 s"), (3900, "1 h 5 min")])
def test_duration_is_said_as_a_person_says_it(seconds, words):
    assert duration(seconds) == words


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


@pytest.fixture
def two_threads(monkeypatch):
    """As on a machine of two cores, and silent."""
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setenv("MAA_PROGRESS", "0")


def test_threads_keep_the_order_of_the_items_and_work_at_once(two_threads):
    both, finished = threading.Barrier(2, timeout=30), []

    def square(number):
        if number < 2:
            both.wait()  # the first two are under way together, or this fails
        time.sleep(0.1 if number == 0 else 0)
        finished.append(number)
        return number**2

    assert list(in_threads(square, range(20), "Squaring")) == [number**2 for number in range(20)]
    assert finished != sorted(finished) == list(range(20))  # the first item was not the first to be done
    assert list(in_threads(square, [], "Squaring")) == []


class Work:
    """Takes its time, fails at one item, and keeps what was begun and what has ended."""

    def __init__(self, bad=None, error=None):
        self.bad, self.error, self.begun, self.ended = bad, error, [], []

    def __call__(self, number):
        self.begun.append(number)
        try:
            if number == self.bad:
                raise self.error
            time.sleep(0.02)
            return number
        finally:
            self.ended.append(number)

    def is_over(self):
        """Whether nothing is under way, nothing follows, and most was never begun."""
        begun, ended = list(self.begun), list(self.ended)
        time.sleep(0.1)
        return sorted(begun) == sorted(ended) == sorted(self.begun) and len(begun) < 100


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_an_error_in_a_thread_reaches_the_caller_and_the_rest_is_not_begun(two_threads, error):
    work, results = Work(bad=2, error=error), []
    with pytest.raises(error):
        for result in in_threads(work, range(1000), "Working"):
            results.append(result)
    assert results == [0, 1] and work.is_over()


def test_who_stops_listening_stops_the_threads(two_threads):
    work = Work()
    results = in_threads(work, range(1000), "Working")
    assert next(results) == 0
    results.close()
    assert work.is_over()


def test_threads_have_a_bar(monkeypatch, capfd):
    monkeypatch.setenv("MAA_PROGRESS", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    for _ in in_threads(str, range(7), "Working"):
        time.sleep(0.15)  # a bar is drawn ten times a second
    out, error = capfd.readouterr()
    assert out == "" and "Working" in error and "/7" in error
