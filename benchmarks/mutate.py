"""Mutation testing: how many small faults, put into the science one at a time, do the tests notice?

    python benchmarks/mutate.py                          # all modules, about an hour on one core
    python benchmarks/mutate.py maa/inference/fusion.py  # one of them
    python benchmarks/mutate.py --only 12,40 MODULE      # some of its mutants, again

Faults: a comparison, a sign or an operator exchanged, a number one larger, a truth value or a condition inverted, a result
withheld.  Each mutant is compiled from the changed syntax tree in a fork of this process, in which the libraries are imported
already, and its tests run until the first fails.  Survivors are listed with line and change.  Those of `EQUIVALENT` behave as the
original on every input, and say why; they do not count.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import importlib
import importlib.abc
import importlib.util
import inspect
import io
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import hypothesis

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 240  # of processor time; a mutant that needs more hangs, and counts as noticed
#: Tests by module, the quickest first.
TESTS = {
    "maa/models/losses.py": ["tests/models/test_losses.py"],
    "maa/evaluation/pixels.py": [
        "tests/evaluation/test_shrunk.py", "tests/evaluation/test_metamorphic.py", "tests/evaluation/test_evaluation.py",
    ],
    "maa/evaluation/curves.py": ["tests/evaluation/test_metamorphic.py", "tests/evaluation/test_evaluation.py"],
    "maa/training/sampling.py": ["tests/training/test_sampling.py"],
    "maa/inference/fusion.py": ["tests/inference/test_fusion.py"],
}  # fmt: skip
#: What the tests import and no mutant changes: imported once, before the forks.
LIBRARIES = (
    "hypothesis.extra.numpy", "maa.data", "maa.phantom", "pytest", "pytorch_metric_learning.losses", "scipy.stats",
    "skimage.measure", "sklearn.metrics", "torch",
)  # fmt: skip
_DRAWN = "positives, negatives = torch.where(positive, draw[0], -1).max(1), torch.where(negative, draw[1], -1).max(1) | {}"
_USABLE = "usable = ((positives.values >= 0) & (negatives.values >= 0)).nonzero().squeeze(1) | {}"
_MIXTURE = '"mixture": lambda error: (1 + error) / 2, | {}'
#: By module: the changed line, "|" and the change, with the reason.
EQUIVALENT: dict[str, dict[str, str]] = {
    "maa/training/sampling.py": {
        "weight = self.error if self.power == 1 else self.error.astype(np.float64) ** self.power | 1  ->  2": (
            "the first power is the error itself, and powers lie between 0 and 1"
        ),
        "return np.minimum(drawn, self.error.size - 1) | self.error.size - 1  ->  self.error.size + 1": (
            "a float below 1 times the sum never rounds to the sum: the limit is there for other generators"
        ),
        _MIXTURE.format("(1 + error) / 2  ->  (1 + error) * 2"): "weights are divided by their mean",
        _MIXTURE.format("2  ->  3"): "weights are divided by their mean",
    },
    "maa/evaluation/pixels.py": {
        "_CHUNK_PIXELS = 1 << 21 | 1  ->  2": "chunks of any size count the same pixels",
        "_CHUNK_PIXELS = 1 << 21 | 21  ->  22": "chunks of any size count the same pixels",
    },
    "maa/models/losses.py": {
        "draw = torch.rand((2, *positive.shape), generator=generator, device=device).to(labels.device) | 2  ->  3": (
            "the first two planes are the same numbers, and no other is looked at"
        ),
        "return 1 - (x[one] * x[other]).sum(-1)  # no product of matrices, so autocast leaves it in float32 | 1  ->  2": (
            "only differences of these distances are used"
        ),
        "pull = ((gradient + gradient.T) / distances).masked_fill_(distances == 0, 0).double() | 0  ->  1": (
            "two points that coincide pull each other by a multiple of their difference, which is zero"
        ),
        "@lru_cache(maxsize=2) | 2  ->  3": "how many tables are remembered changes no number",
        "distances = F.pad(F.pdist(x), (0, 1))[_places(len(x), x.device)] | 1  ->  2": "only the first zero behind the last pair is read",
        _DRAWN.format("0  ->  1"): "the masks are disjoint, so both may read one plane of the draws",
        _DRAWN.format("1  ->  2"): "any number below 0 says that there is none",
        _USABLE.format("positives.values >= 0  ->  positives.values > 0"): "no draw of a whole row is exactly 0",
        _USABLE.format("negatives.values >= 0  ->  negatives.values > 0"): "no draw of a whole row is exactly 0",
        "return loss, violating / max(1, len(anchor)) | 1  ->  2": "with a positive there are two anchors at least",
        "return loss, triplets / max(1, count_triplets(labels)) | 1  ->  2": "and then two triplets at least",
        "anchors = max(1, len(anchor)) | 1  ->  2": "as above",
    },
    "maa/evaluation/curves.py": {
        '"f1": 2 * true / np.maximum(true + false + total, 1), | 1  ->  2': "where the sum is 1, true is 0 and so is F1",
        "true = total - np.append(0, positives.cumsum())[first] | 0  ->  1": "a threshold from 0 on has level 0 below it: never read",
        "false = negatives.sum() - np.append(0, negatives.cumsum())[first] | 0  ->  1": "as in the line above it",
        "return float(PROBABILITIES[::-1][(2 * true / (true + false + true[-1])).argmax()]) | 2  ->  3": (
            "a factor moves no maximum"
        ),
    },
}

_COMPARISONS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_OPERATORS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.MatMult: ast.Mult, ast.LShift: ast.RShift,
}  # fmt: skip


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """Every fault that can be put in the place of a node."""

    def replaced(**fields: object) -> ast.AST:
        other = copy.copy(node)
        for name, value in fields.items():
            setattr(other, name, value)
        return other

    match node:
        case ast.Compare(ops=ops):
            for i, op in enumerate(ops):
                yield replaced(ops=[*ops[:i], _COMPARISONS[type(op)](), *ops[i + 1 :]])
        case ast.BinOp(op=op) | ast.AugAssign(op=op):
            yield replaced(op=_OPERATORS[type(op)]())
        case ast.BoolOp(op=op):
            yield replaced(op=ast.Or() if isinstance(op, ast.And) else ast.And())
        case ast.UnaryOp(operand=operand):
            yield operand
        case ast.Constant(value=bool(value)):
            yield replaced(value=not value)
        case ast.Constant(value=int() | float() as value):
            yield replaced(value=value + 1)
        case ast.IfExp(body=body, orelse=orelse):
            yield replaced(body=orelse, orelse=body)
        case ast.If(test=test):
            yield replaced(test=ast.UnaryOp(ast.Not(), test))
        case ast.Return(value=value) if value is not None:
            yield replaced(value=ast.Constant(None))


def mutants(source: str) -> Iterator[tuple[str, ast.Module]]:
    """Every mutant of a module, with the line and what was changed there; annotations and texts are left alone."""

    def walk(node: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, ast.AST]]:
        for field, value in ast.iter_fields(node):
            if field in ("annotation", "returns") or isinstance(node, ast.JoinedStr):
                continue
            for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if isinstance(child, ast.AST):
                    yield node, field, index, child
                    yield from walk(child)

    tree = ast.parse(source)
    for parent, field, index, child in list(walk(tree)):
        for other in changes(child):
            place = getattr(parent, field)
            if index is None:
                setattr(parent, field, other)
            else:
                place[index] = other
            where = child.test if isinstance(child, ast.If) else child  # a whole block would be no description
            what = other.test if isinstance(other, ast.If) else other
            yield f"{child.lineno}: {ast.unparse(where)}  ->  {ast.unparse(what)}", copy.deepcopy(tree)
            if index is None:
                setattr(parent, field, child)
            else:
                place[index] = child


class Mutant(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives a changed tree when one module is imported."""

    def __init__(self, path: str, tree: ast.Module) -> None:
        self.name, self.path, self.tree = path.removesuffix(".py").replace("/", "."), path, tree

    def find_spec(self, name, path=None, target=None):
        return importlib.util.spec_from_loader(name, self) if name == self.name else None

    def exec_module(self, module) -> None:
        exec(compile(ast.fix_missing_locations(self.tree), self.path, "exec"), module.__dict__)


class QuickFirst:
    """Has pytest run what is counted by hand before what is generated, and make no generated example smaller once it fails."""

    @staticmethod
    def pytest_collection() -> None:  # after conftest.py, which loads a profile, and before the tests are imported
        hypothesis.settings.register_profile(
            "mutants", hypothesis.settings(), phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate)
        )
        hypothesis.settings.load_profile("mutants")

    @staticmethod
    def pytest_collection_modifyitems(items) -> None:
        items.sort(key=lambda item: hasattr(item.function, "hypothesis"))


def call_plain_tests(file: str) -> None:
    """Call the tests of a file that take no arguments, without pytest, whose start alone takes longer."""
    spec = importlib.util.spec_from_file_location("plain", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, test in vars(module).items():
        if name.startswith("test_") and not inspect.signature(test).parameters and not hasattr(test, "hypothesis"):
            test()


def survives(path: str, tree: ast.Module) -> bool:
    """Whether every test of a module passes with a mutant of it."""
    child = os.fork()
    if child == 0:
        signal.setitimer(signal.ITIMER_PROF, SECONDS)  # its signal ends the process
        sys.meta_path.insert(0, Mutant(path, tree))
        import pytest  # from before the fork

        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            try:
                call_plain_tests(TESTS[path][0])
            except BaseException:
                os._exit(1)
            code = pytest.main(
                [
                    "-x",
                    "-q",
                    "--no-header",
                    "--tb=no",
                    "-p",
                    "no:cacheprovider",
                    "-p",
                    "_hypothesis_pytestplugin",
                    *TESTS[path],
                ],
                [QuickFirst],
            )
        os._exit(int(code))
    return os.waitpid(child, 0)[1] == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", default=list(TESTS), help="paths from the root; all of TESTS by default")
    parser.add_argument("--only", help="numbers of mutants, with commas between them")
    chosen = parser.parse_args()
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    for library in LIBRARIES:
        importlib.import_module(library)

    killed, counted = 0, 0
    for path in chosen.modules:
        source = Path(path).read_text(encoding="utf-8")
        if not survives(path, ast.parse(source)):
            sys.exit(f"The tests of {path} fail without any fault: mend that first.")
        began, known, found = time.monotonic(), EQUIVALENT.get(path, {}), [0, 0]
        for number, (what, tree) in enumerate(mutants(source)):
            line, _, change = what.partition(": ")
            if f"{source.splitlines()[int(line) - 1].strip()} | {change}" in known or (
                chosen.only and number not in map(int, chosen.only.split(","))
            ):
                continue
            found[0] += 1
            if survives(path, tree):
                found[1] += 1
                print(f"survives, {number}: {path}:{what}", flush=True)
        print(
            f"{path}: {found[0] - found[1]} of {found[0]} noticed, {len(known)} equivalent, {time.monotonic() - began:.0f} s",
            flush=True,
        )
        killed, counted = killed + found[0] - found[1], counted + found[0]
    print(f"all: {killed} of {counted}, {killed / max(1, counted):.1%}")


if __name__ == "__main__":
    main()
