"""The training loop."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from maa.hardware import device, in_channels_last, keep_memory, mixed_precision
from maa.progress import bar
from maa.training.checkpoint import CHECKPOINT, load_checkpoint, save_checkpoint
from maa.training.config import Schedule
from maa.training.devices import average, is_first, join, share

N = TypeVar("N", bound=nn.Module)


class Task(Protocol[N]):
    """What the loop needs to know of a model."""

    def build(self) -> N:
        """A model with fresh weights, drawn from torch's global generator."""

    def loss(self, model: N, step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch drawn with `rng`, and metrics worth plotting."""

    def report(self, model: N) -> dict[str, float]:
        """Validation metrics; called `Schedule.reports` times, with the model in evaluation mode."""

    def state(self) -> dict[str, Tensor]:
        """What the task itself must remember to resume: by default nothing."""
        return {}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take a state back."""
        return None


def fit(
    task: Task[N], schedule: Schedule, folder: str | os.PathLike[str] | None = None, description: str = "Training"
) -> tuple[N, pd.DataFrame]:
    """Train a model, on as many devices as ``accelerate launch`` started processes for.  Explained in ch:hgn.

    Parameters
    ----------
    task : Task
    schedule : Schedule
    folder : path-like, optional
        Where the state of the run is kept.  A run that finds the state of an earlier one there goes on
        with it, or raises a MaaError where that is damaged or of another run; the file is removed at the end.
    description : str
        Names the progress bar.

    Returns
    -------
    model : nn.Module
        In evaluation mode, on the device it was trained on.
    history : DataFrame
        One row a report: step, seconds, learning rate, the mean of every training metric since the last
        report, and the validation metrics.
    """
    join()
    chosen = device()
    keep_memory()
    torch.manual_seed(schedule.seed)
    model = in_channels_last(task.build().to(chosen))
    share(model)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=schedule.weight_decay)
    checkpoint = Path(folder) / CHECKPOINT if folder else None
    first, spent = 0, 0.0
    rows: list[dict[str, float]] = []
    if checkpoint and checkpoint.exists():
        state, progress = load_checkpoint(checkpoint, model, optimizer, task.state(), schedule.steps)
        task.restore(state)
        first, rows, spent = progress["step"], progress["rows"], progress["seconds"]

    reports = set(np.linspace(0, schedule.steps, schedule.reports + 1).round().astype(int)[1:])
    metrics: list[dict[str, Tensor]] = []
    note, start = "", time.perf_counter() - spent
    with bar(description, schedule.steps) as advance:
        for step in range(first, schedule.steps):
            for group in optimizer.param_groups:
                group["lr"] = schedule.learning_rate_at(step)
            model.train()
            with mixed_precision(chosen):
                loss, values = task.loss(model, step, np.random.default_rng([schedule.seed, step]))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]  # torch has no annotation for it
            average(model)
            optimizer.step()
            metrics.append({"loss": loss.detach(), **values})
            if step + 1 in reports:
                model.eval()
                means = {
                    key: float(torch.stack([torch.as_tensor(m[key]).float() for m in metrics]).mean()) for key in metrics[0]
                }
                validation = task.report(model)
                spent = time.perf_counter() - start
                rows.append(
                    {
                        "step": step + 1,
                        "seconds": spent,
                        "learning_rate": schedule.learning_rate_at(step),
                        **means,
                        **validation,
                    }
                )
                metrics = []
                note = "  ".join(f"{key} {value:.3f}" for key, value in {**means, **validation}.items())
                if checkpoint and step + 1 < schedule.steps and is_first():
                    progress = {"step": step + 1, "seconds": spent, "rows": rows}
                    save_checkpoint(checkpoint, model, optimizer, task.state(), progress)
            advance(step + 1, note)
    if checkpoint and is_first():
        checkpoint.unlink(missing_ok=True)
    return model.eval(), pd.DataFrame(rows)
