"""Where work that falls into parts is done: here, in several processes, or on a Dask cluster.

joblib is the one door.  `each` asks for parts, and whoever is around it says with `spread`, or with ``joblib.parallel_config``,
where they are done.
"""

from __future__ import annotations

import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from joblib import Parallel, delayed, parallel_config

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
        with parallel_config("loky", n_jobs=jobs, initializer=_begin):
            yield
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
    """Make a process that works for another as quiet as it; Ctrl-C, which a terminal sends to both, is the other's affair."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.filterwarnings("ignore", module="PIL")


def each(function: Callable[..., R], items: Sequence[tuple[Any, ...]], description: str) -> Iterator[R]:
    """``function(*item)`` for every item, each as soon as it is done, under a progress bar.

    Only a few items are on their way at a time, and nothing of a result is kept.
    """
    work = Parallel(return_as="generator_unordered", batch_size=1)(delayed(function)(*item) for item in items)
    return track(work, description, len(items))
