"""Move the published records of runs to today's keys, without training anything: ``python book/make/move_records.py``.

Until November 2026 a run's key was a hash of the package's parsed code, and its record a nest of dictionaries with what was measured of
the model inside.  The same runs under today's keys (`maa.replication.records.Record`): configuration, seed, data, photographs, time, history and
measurements are those of the old record; of the machine they all ran on it is known that it multiplied in bfloat16.  Running it again
changes nothing.
"""

import json
import shutil
from pathlib import Path

from maa.provenance import write_json
from maa.replication.recipes import recipe
from maa.replication.records import Record
from maa.training import HGNConfig, PRNConfig, Schedule, UNetConfig

RUNS = Path(__file__).resolve().parents[2] / "results/idrid-full/runs"


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


if __name__ == "__main__":
    main()
