"""The command line: one command for each thing that a reader does with the package.

Commands import what they need when they run, so that ``maa --help`` answers at once.  To add one, write a function under
``@app.command()``: its docstring is its help, and a `MaaError` that it raises becomes one red sentence and exit status 2.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer import Exit, Option, Typer

from maa.errors import MaaError
from maa.names import printable

if TYPE_CHECKING:  # loads NumPy and SciPy
    from maa.data.idrid import Dataset

app = Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    add_completion=False,
    pretty_exceptions_enable=False,  # an unexpected error keeps Python's own traceback
    context_settings={"help_option_names": ["-h", "--help"]},
)


def folder_option(flag: str, purpose: str) -> Any:
    """An option that names a folder."""
    return Option(flag, metavar="DIR", help=purpose)


DataOption = Annotated[
    Path | None, folder_option("--data", "The folder of IDRiD, or of phantoms.  Without it: $MAA_IDRID, then the cache folder.")
]
SeedOption = Annotated[int, Option(min=0, help="Seed of every random number.")]
JobsOption = Annotated[
    int,
    Option("--jobs", min=1, help="Processes of this machine that work at the same time.  The cores are divided among them."),
]
ClusterOption = Annotated[
    str | None,
    Option(
        "--cluster",
        metavar="ADDRESS",
        help="A Dask cluster that does the work instead: the address of its scheduler, such as tcp://10.0.0.1:8786.",
    ),
]
#: The budgets of `maa.replication.profiles.PROFILES`, which is not imported before it is needed.
ProfileName = Literal["quick", "lesson", "full"]
#: The systems of `maa.segmentation.TRACKS`.
Track = Literal["paper", "beyond"]
ProfileOption = Annotated[
    ProfileName, Option(help="The budget.  quick: for IDRiD on a laptop.  lesson: that of the chapters, in a minute or two.")
]


def main() -> None:
    """Run the command line; a `MaaError` becomes one sentence on stderr and exit status 2."""
    try:
        _prepare_process()
        app()
    except MaaError as error:
        complain(error)
        sys.exit(2)
    except KeyboardInterrupt:  # outside of what the command itself catches
        sys.exit(128 + signal.SIGINT)
    except SystemExit as stop:
        sys.exit(stop.code or (2 if _lost else 0))


def _prepare_process() -> None:
    """Let warnings, signals and streams be no one's trouble."""
    # Pillow warns of damaged files before it fails; the sentence of the `MaaError` says it better.
    warnings.filterwarnings("ignore", module="PIL")
    for stream in ("stdout", "stderr"):
        if getattr(sys, stream) is None:  # it was closed before maa began
            setattr(sys, stream, open(os.devnull, "w"))  # noqa: SIM115  # for as long as maa runs
        if hasattr(getattr(sys, stream), "reconfigure"):
            getattr(sys, stream).reconfigure(errors="replace")  # letters that a code page of Windows lacks
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # what is half-written is removed
    if not sys.stderr.isatty():  # in a log, or on a cluster, one wants to know that it goes on
        os.environ.setdefault("MAA_PROGRESS", "lines")
    _lost.clear()


def _print_version(wanted: bool) -> None:
    if wanted:
        print("maa", version("maa"))
        raise Exit()


VersionOption = Annotated[bool, Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")]


@app.callback()
def overview(version: VersionOption = False) -> None:
    """Find microaneurysms, the first sign of diabetic retinopathy, in fundus photographs.

    A replication of Sarhan et al., *Multi-scale Microaneurysms Segmentation Using Embedding Triplet Loss* (MICCAI 2019).  The
    book beside it explains every step.

    **To begin**

    - `maa data` says whether IDRiD is here, and how to get it
    - `maa phantom --out phantoms` makes synthetic photographs with exact truth instead

    **To replicate the paper**, in one command or step by step

    - `maa reproduce --data phantoms --profile lesson --out replication` fills every row of its table
    - `maa train hgn-1x --data phantoms --profile lesson --out weights`, then the same with `hgn-0.5x` and `prn`
    - `maa evaluate --data phantoms --split validation --weights weights --out validation.json`

    - `maa transfer --data IDRID --out transfer` measures how real the phantoms are

    **To compare a method of your own** with it

    - `maa score --maps maps --data IDRID` measures your probability maps by the same protocol

    **To use it** on photographs of your own

    - `maa segment photographs --weights weights --out found`

    For research and teaching: no result of it is a diagnosis.

    **Exit status**

    - 0: done
    - 1: `maa data` found no data
    - 2: bad input; one sentence says which file and what to do
    - 130, 143: stopped by Ctrl-C or SIGTERM

    Progress shows as a bar in a terminal, elsewhere as a line every half minute; `MAA_PROGRESS=0` silences it.
    """


def complain(*errors: MaaError) -> None:
    """Print each problem as one red line on stderr; names in it cannot break the line nor command the terminal."""
    for error in errors:
        with suppress(OSError):  # no one is left to complain to
            Console(stderr=True).print(Text(printable(str(error)), style="red"), soft_wrap=True)


#: What went wrong with stdout.
_lost: list[OSError] = []


def say(*parts: str | Table) -> None:
    """Print tables, and lines that are never broken nor coloured.

    Where stdout cannot take them, such as on a full disk, that is complained of once, and the exit status will be 2.
    """
    for part in parts:
        if _lost:
            return
        try:
            if isinstance(part, str):
                Console().print(Text("\n".join(map(printable, part.split("\n")))), soft_wrap=True, highlight=False)
            else:
                Console().print(part)
        except OSError as error:
            _lost.append(error)
            with suppress(OSError, ValueError):  # else Python tries again at its end
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            complain(
                MaaError(f"The output could not be printed ({error.strerror or error}): look at the files that were written.")
            )


def find_dataset(data: Path | None) -> Dataset:
    """The data set that `maa.data.find` finds, or one sentence on how to get one."""
    from maa.data import idrid, locate

    root = locate.find(data)
    if root is None:
        raise MaaError(
            "No data were found: name their folder with --data (maa data explains how to get IDRiD, maa phantom makes some)."
        )
    return idrid.open_dataset(root)


def writable_folder(folder: Path) -> None:
    """Complain before the work, not after it, of a folder that cannot be made or written to."""
    there = folder.resolve()
    while not there.exists():
        there = there.parent
    if not there.is_dir():
        raise MaaError(f"{folder} cannot be made, because {there} is a file: name another folder.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise MaaError(f"{there} may not be written to by this user: name another folder.")


def writable_file(file: Path) -> None:
    """Complain before the work, not after it, of a results file that cannot be written."""
    if file.is_dir() or (file.parent.exists() and not file.parent.is_dir()):
        raise MaaError(f"{file} cannot be written as a file: name the results file, for example results.json.")
    writable_folder(file.parent)


def rows_table(results: dict[str, Any], title: str) -> Table:
    """The rows of a results file as a table, with the paper's values beside them."""
    # The names of the rows wrap in a narrow terminal: no number may be cut.
    table = Table("row", title=title, title_justify="left", caption_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.caption = "95 % intervals over photographs.  Gain: relative, over HGN 1x.  Paper: AUC PR on IDRiD's test photographs."
    for heading in ("AUC PR", "interval", "F1", "precision", "recall", "gain", "paper"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in results["rows"].values():
        precision = row["average_precision"]
        gain = row.get("gain")
        table.add_row(
            row["name"],
            f"{precision['value']:.4f}",
            f"{precision['low']:.3f}-{precision['high']:.3f}",
            *(f"{row[key]:.3f}" for key in ("f1", "precision", "recall")),
            f"{gain['relative_gain']['value']:+.1%}" if gain else "",
            f"{row['paper']['average_precision']:.4f}" if row["paper"] else "",
        )
    return table
