"""Progress bars, in a terminal and in a notebook, and silence where nobody watches."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


def wanted() -> bool:
    """Whether a progress bar would be seen: not with ``MAA_PROGRESS=0``, nor when output goes to a file."""
    setting = os.environ.get("MAA_PROGRESS")
    return sys.stderr.isatty() if setting is None else setting != "0"


@contextmanager
def bar(description: str, total: int | None) -> Iterator[callable]:
    """A progress bar; yields ``advance(done, note="")``, where `done` is the count so far.

    Parameters
    ----------
    description : str
        What is going on, at the left of the bar.
    total : int or None
        The count at which it ends; None when that is not known.
    """
    from rich.console import Console

    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    ]
    with Progress(*columns, console=Console(stderr=True), disable=not wanted(), transient=True) as progress:
        task = progress.add_task(description, total=total, note="")

        def advance(done: int, note: str = "") -> None:
            progress.update(task, completed=done, note=note)

        yield advance


def track(items: Iterable, description: str, total: int | None = None) -> Iterator:
    """Iterate over `items` under a progress bar."""
    if total is None and hasattr(items, "__len__"):
        total = len(items)
    with bar(description, total) as advance:
        for done, item in enumerate(items, start=1):
            yield item
            advance(done)


def in_threads(function: Callable, items: Sequence, description: str) -> Iterator:
    """``function(item)`` for every item, in their order, on all cores and under a progress bar.

    Threads suffice: NumPy and the decoding of an image release Python's global lock.
    """
    threads = ThreadPoolExecutor(min(4, os.cpu_count() or 1))
    try:
        yield from track(threads.map(function, items), description, len(items))
    finally:
        threads.shutdown(cancel_futures=True)
