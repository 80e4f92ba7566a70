"""Run the pages that have to run, several at a time where there are cores, before Sphinx reads them one by one; and say how far that is.

MyST-NB runs a page when it reads it, one after the other and in silence.  Here its own steps are taken beforehand: what a page
shows lies in the cache when MyST-NB looks there.  Two pages that want the same network do not both train it: the second one waits
(`Study` in `maa/replication/study.py`).  Every kernel has two threads and two cores, so no number depends on its neighbour: on two
cores two chapters at a time took several times as long as one after the other.  The pages of `book/` train nothing, and mostly
import; they run one by one beside the chapters.

``python book/_ext/run_pages.py`` writes `seconds.json` beside this file anew, from the last build.
"""

import json
import os
import signal
import time
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path

from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from jupyter_cache.executors.utils import ExecutionResult, single_nb_execution
from myst_nb.core.read import create_nb_reader
from sphinx.errors import ExtensionError
from sphinx.util import logging
from stale_pages import remember

from maa.provenance import write_json

logger = logging.getLogger(__name__)
THREADS = 2  # of a kernel
AT_A_TIME = max(1, (os.cpu_count() or 1) // THREADS)
LIGHT = "book/"  # how the pages begin that train nothing
EVERY = 15  # seconds from one line to the next, at most
#: How long each page runs on two cores when nothing is trained yet, for the seconds that are left.
SECONDS = Path(__file__).with_name("seconds.json")
UNKNOWN = 10.0
#: Seconds of pages at the usual pace that count beside those that are done: the first, with every import for the first time, says little.
USUAL = 60.0


def notebook_of(page: str, env):
    """A page as MyST-NB reads it; None where nothing of it is run."""
    path = env.doc2path(page)
    text = Path(path).read_text(encoding="utf-8")
    reader = create_nb_reader(path, env.myst_config, env.mystnb_config, text)
    return reader.read(text) if reader else None


def is_cached(cache, notebook) -> bool:
    with suppress(KeyError):
        return bool(cache.match_cache_notebook(notebook))
    return False


def seconds_left(expected: Mapping[str, float], done: Mapping[str, float], running: Mapping[str, float]) -> float:
    """How long the rest takes: what is expected of it, by the pace of the pages that are done, shared by those that run at a time.

    Light pages run beside the others, and take no longer than these.

    Parameters
    ----------
    expected : mapping from str to float
        Seconds of each page, in any order.
    done, running : mapping from str to float
        Seconds that pages took, and that they have run so far.
    """
    pace = (USUAL + sum(done.values())) / (USUAL + sum(expected[page] for page in done))
    rest = {page: max(0.0, pace * seconds - running.get(page, 0)) for page, seconds in expected.items() if page not in done}
    light, heavy = (sum(left for page, left in rest.items() if page.startswith(LIGHT) == so) for so in (True, False))
    return max([light, heavy / AT_A_TIME, *rest.values()])


def in_words(pages: list[str], done: Mapping[str, float], running: Mapping[str, float], left: float) -> str:
    """One line: how many pages are done, which run and for how long, and how long it still takes."""
    names = ", ".join(f"{page.rpartition('/')[2]} ({seconds:.0f} s)" for page, seconds in running.items())
    ahead = f"; about {10 * round(left / 10) or 5} s left" if left else ""
    return f"{len(done)} of {len(pages)} pages done" + (f"; running {names}" if names else "") + ahead


def run(page: str, notebook, env, begun: dict[str, float]) -> ExecutionResult:
    begun[page] = time.monotonic()
    config = env.mystnb_config
    return single_nb_execution(
        notebook,
        cwd=str(Path(env.doc2path(page)).resolve().parent),
        allow_errors=config.execution_allow_errors,
        timeout=config.execution_timeout,
    )


def run_pages(app, env, added, changed, removed):
    """Run each page of the book that is not in the cache, and put it there."""
    cache = get_cache(env.mystnb_config.execution_cache_path)
    notebooks = {page: notebook for page in ordered(env) if (notebook := notebook_of(page, env))}
    notebooks = {page: notebook for page, notebook in notebooks.items() if not is_cached(cache, notebook)}
    if not notebooks:
        return []
    os.environ.setdefault("OMP_NUM_THREADS", str(THREADS))
    known = json.loads(SECONDS.read_text())
    expected = {page: known.get(page, UNKNOWN) for page in notebooks}
    begun: dict[str, float] = {}
    done: dict[str, float] = {}
    failed: list[str] = []
    logger.info("Running %d pages, %d at a time, about %.0f s", len(notebooks), AT_A_TIME + 1, seconds_left(expected, {}, {}))
    pools = {True: ThreadPoolExecutor(1), False: ThreadPoolExecutor(AT_A_TIME)}
    open_pages: dict[Future, str] = {
        pools[page.startswith(LIGHT)].submit(run, page, nb, env, begun): page for page, nb in notebooks.items()
    }
    try:
        while open_pages:
            for future in wait(open_pages, timeout=EVERY, return_when=FIRST_COMPLETED).done:
                page, result = open_pages.pop(future), future.result()
                done[page] = result.time
                if result.err:
                    failed.append(f"{page}:\n{result.exc_string}")
                    logger.info("%s: stopped with an error after %.0f s", page, result.time)
                    continue
                data = {"execution_seconds": result.time}
                bundle = CacheBundleIn(result.nb, str(env.doc2path(page)), data=data)
                cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
                remember(env, page)
                logger.info("%s: done in %.0f s", page, result.time)
            running = {page: time.monotonic() - begun[page] for page in open_pages.values() if page in begun}
            logger.info(in_words(list(notebooks), done, running, seconds_left(expected, done, running)))
    except KeyboardInterrupt:  # whole pages are kept, as after a kill; kernels end with us, threads only with their pages
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    finally:
        for pool in pools.values():
            pool.shutdown(cancel_futures=True)
    if failed:
        raise ExtensionError("These pages stopped with an error.\n" + "\n".join(failed))
    return []


def ordered(env) -> list[str]:
    """The pages of the book in the order of its contents, which is nearly that in which one needs what another trains."""
    return [page for page in env.external_site_map if page in env.found_docs]


def setup(app):
    app.connect("env-get-outdated", run_pages, priority=900)  # after the pages that are stale have left the cache
    return {"version": "1", "parallel_read_safe": False}


if __name__ == "__main__":
    root = Path(__file__).resolve().parents[2]
    records = get_cache(root / "_build" / ".jupyter_cache").list_cache_records()
    pages = {str(Path(r.uri).relative_to(root).with_suffix("")): round(r.data["execution_seconds"], 1) for r in records}
    write_json(SECONDS, dict(sorted(pages.items())))
