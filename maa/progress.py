"""Progress: a bar in a terminal, a line now and then in a log, and silence where nobody watches."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Protocol, TypeVar

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

T = TypeVar("T")
R = TypeVar("R")


class Advance(Protocol):
    """Says how far a task is."""

    def __call__(self, done: int, note: str = "") -> None: ...


#: Seconds between two lines in a log.
EVERY = 30


def wanted() -> str:
    """How progress is shown: as a "bar", as "lines", or "0", not at all.

    ``MAA_PROGRESS`` says so.  Without it there is a bar where stderr is a terminal, and nothing elsewhere; the command line
    asks for lines there.
    """
    setting = os.environ.get("MAA_PROGRESS") or ("bar" if sys.stderr.isatty() else "0")
    return setting if setting in ("0", "lines") else "bar"


@contextmanager
def bar(description: str, total: int | None) -> Iterator[Advance]:
    """A progress bar, or its lines; yields ``advance(done, note="")``, where `done` is the count so far.

    Parameters
    ----------
    description : str
        What is going on, at the left of the bar.
    total : int or None
        The count at which it ends; None when that is not known.
    """
    if wanted() != "bar":
        yield _lines(description, total) if wanted() == "lines" else _nothing
        return
    from rich.console import Console

    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    ]
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(description, total=total, note="")

        def advance(done: int, note: str = "") -> None:
            progress.update(task, completed=done, note=note)

        yield advance


def _nothing(done: int, note: str = "") -> None:
    """``advance`` where nobody watches."""


def _lines(description: str, total: int | None) -> Advance:
    """``advance`` that prints a line on stderr, at most every `EVERY` seconds, with the time that is left."""
    started = last = time.monotonic()

    def advance(done: int, note: str = "") -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < EVERY or not done:
            return
        last = now
        left = f", about {duration((now - started) / done * (total - done))} left" if total and done < total else ""
        of = f" of {total:,}" if total else ""
        line = f"{description}: {done:,}{of}, {duration(now - started)}{left}{note and f', {note}'}"
        with suppress(OSError):  # a log on a full disk does not stop the work
            print(line, file=sys.stderr, flush=True)

    return advance


def duration(seconds: float) -> str:
    """Seconds as a person says them: 42 s, 3 min 10 s, 1 h 5 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s" if seconds < 10 else f"{rest} s"


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Iterate over `items` under a progress bar."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with bar(description, total) as advance:
        for done, item in enumerate(items, start=1):
            yield item
            advance(done)


def in_threads(function: Callable[[T], R], items: Sequence[T], description: str) -> Iterator[R]:
    """``function(item)`` for every item, in their order, on all cores and under a progress bar.

    Threads suffice: NumPy and the decoding of an image release Python's global lock.
    """
    threads = ThreadPoolExecutor(min(4, os.cpu_count() or 1))
    try:
        yield from track(threads.map(function, items), description, len(items))
    finally:
        threads.shutdown(cancel_futures=True)
