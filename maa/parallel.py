"""Where work that falls into parts is done: here, in several processes, or on a Dask cluster.

joblib is the one door.  `each` asks for parts, and whoever is around it says with `spread`, or with ``joblib.parallel_config``,
where they are done.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky import get_reusable_executor

from maa.errors import MaaError
from maa.progress import track

R = TypeVar("R")
#: Seconds that a Dask scheduler and its first worker have to answer.
PATIENCE = 30


@contextmanager
def spread(jobs: int = 1, cluster: str | None = None) -> Iterator[None]:
    """Have what `each` is asked for done elsewhere meanwhile.

    Parameters
    ----------
    jobs : int
        Processes of this machine; 1 stays in this one.  The threads of PyTorch are divided among them.
    cluster : str, optional
        Address of a Dask scheduler, such as ``tcp://10.0.0.1:8786``, whose workers are used instead; they have this version of
        maa, and see every folder under the same path.

    Raises
    ------
    MaaError
        When Dask is not installed, or no scheduler with a worker answers at the address.
    """
    if cluster is None:
        try:
            with parallel_config("loky", n_jobs=jobs, initializer=_begin):
                yield
        finally:
            if jobs > 1:  # else its processes, and their memory, would stay for some minutes
                get_reusable_executor(reuse=True).shutdown()
        return
    try:
        from distributed import Client
    except ImportError:
        raise MaaError("Dask is not installed, which --cluster needs: pip install 'maa[cluster]'.") from None
    try:
        client = Client(cluster, timeout=PATIENCE)
    except (OSError, ValueError) as error:
        raise MaaError(f"No Dask scheduler answers at {cluster} ({error}): start one with dask scheduler.") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=PATIENCE)
        except TimeoutError:
            raise MaaError(f"The Dask scheduler at {cluster} has no worker: start some with dask worker {cluster}.") from None
        with parallel_config("dask", client=client):
            yield


def _begin() -> None:
    """Let a process that works for another be quiet; Ctrl-C, which a terminal sends to both, is the other's affair."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["MAA_PROGRESS"] = "0"
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    warnings.filterwarnings("ignore", module="PIL")


def _end_with(parent: int) -> None:
    """End when the process that this one works for was killed: loky would let it wait for more work, for minutes."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def each(function: Callable[..., R], items: Sequence[tuple[Any, ...]], description: str) -> Iterator[R]:
    """``function(*item)`` for every item, each as soon as it is done, under a progress bar.

    Only a few items are on their way at a time, and nothing of a result is kept.  A MaaError when a process that worked on one was
    killed: on a cluster, when it happened to three in turn.
    """
    work = Parallel(return_as="generator_unordered", batch_size=1)(delayed(function)(*item) for item in items)
    try:
        yield from track(work, description, len(items))
    except Exception as error:
        if isinstance(error, BrokenExecutor) or type(error).__name__ == "KilledWorker":
            raise MaaError(
                "A process that worked for this one was killed, for want of memory or from outside: run it again, with fewer --jobs."
            ) from None
        raise


def in_order(function: Callable[..., R], items: Sequence[tuple[Any, ...]], description: str) -> list[R]:
    """What `each` gives, in the order of the items."""
    found = dict(each(_numbered, [(number, function, *item) for number, item in enumerate(items)], description))
    return [found[number] for number in range(len(items))]


def _numbered(number: int, function: Callable[..., R], *item: Any) -> tuple[int, R]:
    return number, function(*item)
