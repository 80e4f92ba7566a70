"""Move the published records of runs to today's keys, without training anything: ``python book/make/move_records.py``.

Until November 2026 a run's key was a hash of the package's parsed code, and its record a nest of dictionaries with what was measured of
the model inside.  The same runs under today's keys (`maa.replication.records.Record`): configuration, seed, data, photographs, time, history and
measurements are those of the old record; of the machine they all ran on it is known that it multiplied in bfloat16.  Running it again
changes nothing.  ``python book/make/move_records.py f51816f`` compares, without moving: all results of that commit, which was the last with
the old keys, are those of today, byte for byte, but for these records and what the move makes of them.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from maa.provenance import write_json
from maa.replication.recipes import recipe
from maa.replication.records import Record
from maa.training import HGNConfig, PRNConfig, Schedule, UNetConfig

ROOT = Path(__file__).resolve().parents[2]
RUNS = ROOT / "results/idrid-full/runs"


def hgn(old: dict) -> HGNConfig:
    """The configuration of a hypothesis generation network."""
    same = {key: old[key] for key in ("scale", "width", "depth", "source", "rim")}
    return HGNConfig(schedule=Schedule(**old["schedule"]), pool=old["healthy_pool"], **same)


def config(old: dict) -> HGNConfig | PRNConfig | UNetConfig:
    """The configuration of any network."""
    if old["model"] == "prn":
        return PRNConfig(schedule=Schedule(**old["schedule"]), pool=old["pool"], **old["refinement"])
    if old["model"].startswith("unet"):
        return UNetConfig(schedule=Schedule(**old["schedule"]), scale=old["scale"])
    return hgn(old)


def moved(old: dict) -> Record:
    """The record of today's form."""
    family = old["config"]["model"].split("-")[0]
    start = tuple(map(hgn, old["config"].get("start", [])))
    families = {"photographs", family} | ({"hgn"} if start else set())
    return Record(
        family, config(old["config"]), start, recipe(*sorted(families)), old["data"], tuple(old["photographs"]), "cpu", "bfloat16",
        old["code"], old["environment"], old["seconds"], old["history"],
    )  # fmt: skip


def main() -> None:
    for run in sorted(RUNS.glob("*/run.json")):
        old = json.loads(run.read_text())
        if "family" in old:
            continue
        record = moved(old)
        folder = RUNS / f"{record.name}-{record.key[:16]}"
        if folder.exists():
            raise SystemExit(f"{run.parent.name} and {folder.name} are records of one and the same run")
        folder.mkdir()
        write_json(folder / "run.json", record.as_json())
        if "metrics" in old:
            write_json(folder / "metrics.json", old["metrics"])
        shutil.rmtree(run.parent)


def differences(commit: str) -> list[str]:
    """Results files of a commit from before the move that are not, or not the same, today."""
    git = lambda *command: subprocess.run(["git", *command], cwd=ROOT, check=True, capture_output=True).stdout
    wrong = []
    for name in git("ls-tree", "-r", "--name-only", commit, "results").decode().split():
        content, path = git("show", f"{commit}:{name}"), ROOT / name
        if path.suffix != ".json":  # scripts, which went elsewhere
            continue
        expected = {path: json.loads(content)}
        if {"code", "config"} <= expected[path].keys():
            old = expected.pop(path)
            record = moved(old)
            if path.name == "run.json":
                path = RUNS / f"{record.name}-{record.key[:16]}" / path.name
                expected |= {path.with_name("metrics.json"): old["metrics"]} if "metrics" in old else {}
            expected[path] = json.loads(json.dumps(record.as_json()))
        elif path.exists() and path.read_bytes() == content:
            continue
        wrong += [str(file) for file, value in expected.items() if not file.exists() or json.loads(file.read_text()) != value]
    return wrong


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit("\n".join(differences(sys.argv[1])) or 0)
    main()
