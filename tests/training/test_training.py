"""Tests of maa.training: the schedule, the loop that stops and goes on, augmentation, the tasks, the probe."""

import contextlib
import io
import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from sklearn.metrics import average_precision_score
from torch import nn

from maa.data import FOV, MA, gather_scales, ma_pixels
from maa.errors import MaaError
from maa.models import HGN, losses
from maa.training import (
    PRIOR,
    HGNConfig,
    HGNTask,
    PRNConfig,
    PRNTask,
    Probe,
    Schedule,
    added_log_odds,
    augment,
    color_jitter,
    draw,
    fit,
)
from maa.training.checkpoint import CHECKPOINT, load_checkpoint


@pytest.fixture(autouse=True)
def small(monkeypatch, float32):
    """One thread's worth of probe, and the silence of a test."""
    monkeypatch.setattr(Probe, "POSITIVES", 40)
    monkeypatch.setattr(Probe, "NEGATIVES", 120)
    monkeypatch.setenv("MAA_PROGRESS", "0")


# --- the schedule -------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 2, 19, 20, 100, 1001])
def test_rate_rises_over_a_twentieth_and_falls_along_a_cosine(steps):
    schedule = Schedule(steps=steps, learning_rate=0.3)
    rates = np.array([schedule.learning_rate_at(step) for step in range(steps)])
    warmup = max(1, steps // 20)
    assert rates[:warmup] == pytest.approx(0.3 * np.arange(1, warmup + 1) / warmup)
    assert rates.max() == pytest.approx(0.3) and (rates > 0).all()
    falling = rates[warmup:]
    expected = 0.15 * (1 + np.cos(np.pi * np.arange(len(falling)) / max(1, steps - warmup)))
    assert falling == pytest.approx(expected) and (np.diff(falling) < 0).all()
    if steps > 100:
        assert rates[-1] < 1e-5


# --- the loop, on a problem that can be followed by hand ------------------------------------------------


class Line:
    """Fit y = 2 x - 1 from noisy batches; counts what the loop asks for."""

    def __init__(self, explode_at=None):
        self.explode_at, self.reports, self.rates, self.training = explode_at, [], [], []

    def build(self):
        return nn.Linear(1, 1)

    def loss(self, model, step, rng):
        if step == self.explode_at:
            raise KeyboardInterrupt
        self.training.append(model.training)
        x = torch.from_numpy(rng.normal(size=(64, 1))).float()
        y = 2 * x - 1 + torch.from_numpy(rng.normal(scale=0.01, size=(64, 1))).float()
        loss = (model(x) - y).square().mean()
        return loss, {"twice": 2 * loss.detach()}

    def report(self, model):
        self.reports.append(model.training)
        return {"slope": model.weight.item()}

    def state(self):
        return {}

    def restore(self, state):
        pass


def test_the_loop_learns_reports_and_records():
    task = Line()
    model, history = fit(task, Schedule(steps=300, learning_rate=0.1, reports=6, weight_decay=0.0))
    assert not model.training and task.training == [True] * 300 and task.reports == [False] * 6
    assert list(history["step"]) == [50, 100, 150, 200, 250, 300]
    assert model.weight.item() == pytest.approx(2, abs=0.02) and model.bias.item() == pytest.approx(-1, abs=0.02)
    assert history["slope"].iloc[-1] == pytest.approx(model.weight.item())
    assert history["loss"].iloc[-1] < 0.01 < history["loss"].iloc[0]
    # Training metrics are means since the last report.
    assert history["twice"].to_numpy() == pytest.approx(2 * history["loss"].to_numpy())
    assert history["learning_rate"].to_numpy() == pytest.approx(
        [Schedule(300, learning_rate=0.1).learning_rate_at(s - 1) for s in history["step"]]
    )
    assert (np.diff(history["seconds"]) >= 0).all()


def test_the_rate_of_the_schedule_is_the_rate_of_the_step(monkeypatch):
    """With a rate of zero from some step on, nothing moves any more."""
    monkeypatch.setattr(Schedule, "learning_rate_at", lambda self, step: 0.05 if step < 10 else 0.0)
    _, history = fit(Line(), Schedule(steps=40, reports=4))
    slopes = history["slope"].to_numpy()
    assert slopes[0] == slopes[1] == slopes[2] == slopes[3]
    assert slopes[0] != fit(Line(), Schedule(steps=5, reports=1))[1]["slope"].iloc[0]


def test_weight_decay_is_the_schedules():
    strong, none = (fit(Line(), Schedule(steps=100, learning_rate=0.05, weight_decay=d))[0].weight.item() for d in (5.0, 0.0))
    assert strong < none - 0.1


@pytest.mark.parametrize("steps, reports", [(7, 3), (3, 10), (5, 1)])
def test_reports_are_spread_and_the_last_step_is_one_of_them(steps, reports):
    history = fit(Line(), Schedule(steps=steps, reports=reports))[1]
    assert len(history) == min(steps, reports) and history["step"].iloc[-1] == steps
    assert history["step"].is_unique and history["step"].iloc[0] >= 1


def test_the_seed_decides_everything_and_the_state_of_the_machine_nothing():
    def slope(seed):
        torch.rand(int(torch.randint(50, ()))), np.random.rand(3)
        return fit(Line(), Schedule(steps=5, seed=seed))[0].weight.item()

    assert slope(1) == slope(1) != slope(2)


# --- stop and resume ------------------------------------------------------------------------------------


SCHEDULE = Schedule(steps=12, batch=16, reports=4, seed=3)  # reports, and checkpoints, at 3, 6 and 9
REFINEMENT = PRNConfig(SCHEDULE, width=2, embedding_size=4, refreshes=2, pool=40)  # refreshes at steps 4 and 8


def hgn_task(stacks, schedule=SCHEDULE, width=2, count=500, rim=True):
    return HGNTask(stacks[0], stacks[0], HGNConfig(1.0, schedule, width=width, pool=count, rim=rim))


def prn_task(stacks, config=REFINEMENT, schedule=SCHEDULE, rim=True, hgns=()):
    return PRNTask(stacks, replace(config, schedule=schedule, rim=rim), hgns)


class Interrupted:
    """A task that is stopped, by hand, at a step."""

    def __init__(self, task, at):
        self.task, self.at, self.steps = task, at, []

    def __getattr__(self, name):
        return getattr(self.task, name)

    def loss(self, model, step, rng):
        if step == self.at:
            raise KeyboardInterrupt
        self.steps.append(step)
        return self.task.loss(model, step, rng)


def same_run(one, other):
    (model, history), (model_2, history_2) = one, other
    weights, weights_2 = model.state_dict(), model_2.state_dict()
    assert weights.keys() == weights_2.keys()
    assert all(torch.equal(value, weights_2[name]) for name, value in weights.items())
    assert history.drop(columns="seconds").equals(history_2.drop(columns="seconds"))


@pytest.mark.parametrize("make", [hgn_task, prn_task], ids=["HGN", "PRN"])
def test_a_run_that_is_stopped_goes_on_bit_for_bit(make, drawn_stacks, tmp_path):
    whole_task = make(drawn_stacks)
    whole = fit(whole_task, SCHEDULE)
    with pytest.raises(KeyboardInterrupt):
        fit(Interrupted(make(drawn_stacks), 7), SCHEDULE, tmp_path)
    assert os.listdir(tmp_path) == [CHECKPOINT]
    torch.rand(17)  # another process has another random state
    resumed = Interrupted(make(drawn_stacks), None)
    same_run(fit(resumed, SCHEDULE, tmp_path), whole)
    assert resumed.steps == [6, 7, 8, 9, 10, 11]  # from the last report, not from the start
    assert os.listdir(tmp_path) == []
    if make is prn_task:
        assert np.array_equal(resumed.task.sampler.error, whole_task.sampler.error)
        assert len(np.unique(whole_task.sampler.error)) > 10  # the sampler had a state to lose


def test_the_samplers_state_matters_to_a_resumed_run(drawn_stacks, tmp_path, monkeypatch):
    """Guards the test above: a resume that forgets the sampler is another run."""
    whole = fit(prn_task(drawn_stacks), SCHEDULE)
    with pytest.raises(KeyboardInterrupt):
        fit(Interrupted(prn_task(drawn_stacks), 7), SCHEDULE, tmp_path)
    monkeypatch.setattr(PRNTask, "restore", lambda self, state: None)
    forgetful = fit(prn_task(drawn_stacks), SCHEDULE, tmp_path)
    with pytest.raises(AssertionError):
        same_run(forgetful, whole)


def test_stopped_twice_and_before_the_first_report(drawn_stacks, tmp_path):
    whole = fit(hgn_task(drawn_stacks), SCHEDULE)
    for at in (1, 4, 10):
        with pytest.raises(KeyboardInterrupt):
            fit(Interrupted(hgn_task(drawn_stacks), at), SCHEDULE, tmp_path)
    same_run(fit(hgn_task(drawn_stacks), SCHEDULE, tmp_path), whole)


def test_a_checkpoint_is_whole_or_absent(tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        fit(Line(explode_at=5), Schedule(steps=8, reports=4), tmp_path)
    before = (tmp_path / CHECKPOINT).read_bytes()

    def full_disk(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr("maa.provenance.os.replace", full_disk)
    with pytest.raises(MaaError, match="No space"):
        fit(Line(), Schedule(steps=8, reports=4), tmp_path)
    assert (tmp_path / CHECKPOINT).read_bytes() == before and os.listdir(tmp_path) == [CHECKPOINT]


def stopped(folder):
    """The checkpoint of a run of 8 steps that was stopped."""
    with pytest.raises(KeyboardInterrupt):
        fit(Line(explode_at=5), Schedule(steps=8, reports=4), folder)
    return folder / CHECKPOINT


@pytest.mark.parametrize("name", [CHECKPOINT, "checkpoint.pt"])
def test_a_planted_checkpoint_runs_nothing(tmp_path, name):
    class Planted:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save(Planted(), tmp_path / name)
    with contextlib.suppress(MaaError):
        fit(Line(), Schedule(steps=8, reports=4), tmp_path)
    assert not (tmp_path / "ran").exists()
    torch.load(io.BytesIO((tmp_path / name).read_bytes()), weights_only=False)
    assert (tmp_path / "ran").exists()  # it was armed


def changed(path, tensors=None, progress=None):
    """Write a checkpoint again with other tensors or another header."""
    with safe_open(path, "pt") as file:
        known, header = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    header = header if progress is None else {"progress": progress(json.loads(header["progress"]))}
    save_file({**known, **(tensors or {})}, path, header)


@pytest.mark.parametrize("damage", [
    lambda path: path.write_bytes(path.read_bytes()[:-9]),
    lambda path: path.write_bytes(b""),
    lambda path: path.write_text("{}"),
    lambda path: (path.unlink(), os.mkfifo(path)),
    lambda path: (path.unlink(), path.mkdir()),
    lambda path: changed(path, {"model/weight": torch.zeros(2, 1)}),
    lambda path: changed(path, {"model/weight": torch.zeros(1, 1, dtype=torch.float64)}),
    lambda path: changed(path, {"model/more": torch.zeros(1)}),
    lambda path: changed(path, {"task/error": torch.zeros(1)}),
    lambda path: changed(path, {"optimizer/0/exp_avg": torch.zeros(3)}),
    lambda path: changed(path, progress=lambda _: "{"),
    lambda path: changed(path, progress=lambda _: "[]"),
    lambda path: changed(path, progress=lambda _: "[" * 100_000),
    lambda path: changed(path, progress=lambda known: json.dumps(known | {"step": 8})),
    lambda path: changed(path, progress=lambda known: json.dumps(known | {"step": -1})),
    lambda path: changed(path, progress=lambda known: json.dumps(known | {"step": "4"})),
    lambda path: changed(path, progress=lambda known: json.dumps(known | {"rows": {}})),
    lambda path: changed(path, progress=lambda known: json.dumps(known | {"rows": [{"loss": "0"}]})),
    lambda path: changed(path, progress=lambda known: json.dumps(known | {"seconds": None})),
])  # fmt: skip
def test_a_damaged_checkpoint_is_one_sentence(tmp_path, damage):
    path = stopped(tmp_path)
    damage(path)
    with pytest.raises(MaaError, match="damaged or of another run: remove it") as error:
        fit(Line(), Schedule(steps=8, reports=4), tmp_path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_the_optimizer_goes_on_in_the_memory_layout_that_it_had(drawn_stacks, tmp_path, monkeypatch):
    """Another layout is another order of summing on some machines."""
    loaded = []

    def layouts(optimizer):
        return [moments["exp_avg"].stride() for moments in optimizer.state_dict()["state"].values()]

    def spy(path, model, optimizer, *rest):
        result = load_checkpoint(path, model, optimizer, *rest)
        loaded.append((layouts(optimizer), [parameter.stride() for parameter in model.parameters()]))
        return result

    monkeypatch.setattr("maa.training.loop.load_checkpoint", spy)
    with pytest.raises(KeyboardInterrupt):
        fit(Interrupted(hgn_task(drawn_stacks), 7), SCHEDULE, tmp_path)
    fit(hgn_task(drawn_stacks), SCHEDULE, tmp_path)
    ((found, expected),) = loaded
    assert found == expected and len(found) > 10


# --- augmentation -------------------------------------------------------------------------------------


@pytest.fixture
def no_tint(monkeypatch):
    """Only the orientation: the generator's tints are made neutral."""

    class Still:
        def __init__(self, seed):
            self.rng = np.random.default_rng(seed)

        def integers(self, *args, **kwargs):
            return self.rng.integers(*args, **kwargs)

        def uniform(self, low, high, shape):
            return np.zeros(shape)

        def normal(self, mean, scale, shape):
            return np.zeros(shape)

    return Still


def orientations(patch):
    """The eight symmetries of the square, of an array (P, P, 3)."""
    return [np.rot90(side, turns) for side in (patch, patch.swapaxes(0, 1)) for turns in range(4)]


def test_each_patch_takes_one_of_the_eight_orientations_evenly(no_tint):
    patch = np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)
    turned = augment(np.repeat(patch[None], 4000, axis=0), no_tint(1))
    which = [[np.array_equal(one, side) for side in orientations(patch)] for one in turned]
    counts = np.sum(which, axis=0)
    assert (np.sum(which, axis=1) == 1).all()
    assert counts.min() > 400 and counts.max() < 600


def test_the_centre_pixel_stays_in_the_centre(no_tint):
    patches = np.zeros((64, 45, 45, 3), np.uint8)
    patches[:, 22, 22] = 200
    turned = augment(patches, no_tint(0))
    assert (turned[:, 22, 22] == 200).all() and (turned > 0).sum() == 64 * 3


def test_all_scales_of_a_patch_are_treated_alike():
    one = np.random.default_rng(0).integers(40, 210, (50, 1, 9, 9, 3), np.uint8)
    both = augment(np.repeat(one, 2, axis=1), np.random.default_rng(3))
    assert both.shape == (50, 2, 9, 9, 3)
    assert np.array_equal(both[:, 0], both[:, 1])
    assert len({patch.tobytes() for patch in both[:, 0]}) == 50


def test_augmentation_repeats_with_its_generator_and_leaves_its_input_alone():
    patches = np.random.default_rng(0).integers(0, 256, (20, 9, 9, 3), np.uint8)
    before = patches.copy()
    a, b, c = (augment(patches, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(a, b) and not np.array_equal(a, c) and a.dtype == np.uint8
    assert np.array_equal(patches, before)


def test_augmentation_turns_and_then_tints(no_tint):
    patches = np.random.default_rng(0).integers(0, 256, (20, 9, 9, 3), np.uint8)
    assert np.array_equal(color_jitter(patches, no_tint(0)), patches)
    rng = np.random.default_rng(4)
    rng.integers(8, size=20)  # what the turning takes
    turned = augment(patches, no_tint(4))
    assert np.array_equal(augment(patches, np.random.default_rng(4)), color_jitter(turned, rng))


def test_tints_stay_in_their_range_and_differ_between_channels():
    background = augment(np.full((4000, 1, 1, 3), 128, np.uint8), np.random.default_rng(0))[:, 0, 0].astype(float) - 128
    dark = augment(np.full((4000, 1, 1, 3), 48, np.uint8), np.random.default_rng(0))[:, 0, 0].astype(float) - 128
    assert np.abs(background.mean(0)).max() < 0.3 and 3 < background.std() < 4.2
    gain = (dark - background) / -80
    assert 0.99 < gain.mean() < 1.03 and 0.11 < gain.std() < 0.16
    assert 0.65 < gain.min() and gain.max() < 1.55
    assert 0.6 < np.corrcoef(background[:, 0], background[:, 1])[0, 1] < 0.75  # much together, a little apart


def test_tints_clip_and_do_not_wrap():
    white = augment(np.full((500, 1, 1, 3), 255, np.uint8), np.random.default_rng(0))
    black = augment(np.zeros((500, 1, 1, 3), np.uint8), np.random.default_rng(0))
    assert white.min() > 190 and black.max() < 70


# --- the tasks ------------------------------------------------------------------------------------------


class Recorder(nn.Module):
    """A network that keeps what it is shown and says the same of everything."""

    patch_size = 45

    def __init__(self, outputs=1):
        super().__init__()
        self.value, self.seen, self.outputs = nn.Parameter(torch.zeros(())), [], outputs

    def forward(self, patches):
        self.seen.append(patches.numpy().copy())
        logits = self.value.expand(len(patches))
        embedding = nn.functional.normalize(patches.flatten(1)[:, :4].float() + 1, dim=1)
        return logits if self.outputs == 1 else (logits, embedding)


def lesions_and_parts(task, rim):
    """How a batch of 64 is made up, and the pools of its parts."""
    parts = {"ma": slice(0, 32), "rim": slice(32, 40), "healthy": slice(40, 64)} if rim else {
        "ma": slice(0, 32), "healthy": slice(32, 64)
    }  # fmt: skip
    return parts, dict(task.pools)


@pytest.mark.parametrize("rim", [True, False], ids=["rim", "no rim"])
def test_an_hgn_batch_is_half_ma_an_eighth_rim_and_the_rest_healthy(drawn_stacks, monkeypatch, rim):
    monkeypatch.setattr("maa.training.tasks.augment", lambda patches, rng: patches)
    task = hgn_task(drawn_stacks, Schedule(steps=1, batch=64), rim=rim)
    assert task.shares == {"ma": 32, "rim": 8 if rim else 0, "healthy": 24 if rim else 32}
    model = Recorder()
    task.loss(model, 0, np.random.default_rng(0))
    (patches,) = model.seen
    assert len(patches) == 64
    parts, expected = lesions_and_parts(task, rim)
    for name, part in parts.items():
        pool = {patch.tobytes() for patch in drawn_stacks[0].gather(expected[name], 45)}
        assert all(patch.tobytes() in pool for patch in patches[part]), name


@pytest.mark.parametrize("batch, shown", [(64, 1 / 2), (16, 1 / 2), (17, 8 / 17)])
@pytest.mark.parametrize("logit", [-7.0, 0.0, 2.5])
def test_the_loss_sees_the_log_odds_that_the_batch_adds(drawn_stacks, batch, shown, logit):
    """A network that says the same of everything is best where that is the share of lesions in a photograph."""
    task, model = hgn_task(drawn_stacks, Schedule(steps=1, batch=batch)), Recorder()
    with torch.no_grad():
        model.value.fill_(logit)
    loss, _ = task.loss(model, 0, np.random.default_rng(0))
    seen = logit + np.log(shown / (1 - shown)) - np.log(PRIOR / (1 - PRIOR))
    expected = shown * np.log1p(np.exp(-seen)) + (1 - shown) * np.log1p(np.exp(seen))
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert model.value.grad.item() == pytest.approx(1 / (1 + np.exp(-seen)) - shown, abs=1e-5)


def test_a_network_is_at_rest_where_it_says_the_share_of_a_photograph(drawn_stacks):
    for task, outputs in ((hgn_task(drawn_stacks), 1), (prn_task(drawn_stacks), 2)):
        model = Recorder(outputs)
        with torch.no_grad():
            model.value.fill_(float(np.log(PRIOR / (1 - PRIOR))))
        loss, _ = task.loss(model, 0, np.random.default_rng(0))
        loss.backward()
        assert model.value.grad.item() == pytest.approx(0, abs=1e-6)
    assert added_log_odds(PRIOR) == 0 and added_log_odds(0.5) == pytest.approx(np.log(999), rel=1e-6)


def test_labels_are_on_the_right_side(drawn_stacks):
    class Oracle(Recorder):
        def forward(self, patches):
            return torch.where(torch.arange(len(patches)) < 8, 30.0, -30.0) + 0 * self.value

    assert hgn_task(drawn_stacks).loss(Oracle(), 0, np.random.default_rng(0))[0] < 1e-6


@pytest.mark.parametrize("depth, patch", [(6, 29), (10, 61)])
def test_depth_reaches_the_network_and_its_patches(drawn_stacks, depth, patch):
    hgns = HGNTask(drawn_stacks[0], drawn_stacks[0], HGNConfig(1.0, SCHEDULE, width=3, depth=depth, pool=500))
    hgn = hgns.build()
    assert (hgn.width, hgn.depth, hgn.patch_size) == (3, depth, patch)
    prn = prn_task(drawn_stacks, replace(REFINEMENT, depth=depth, scales="0.5x")).build()
    assert (prn.width, prn.embedding_size, prn.depth, prn.scales, prn.patch_size) == (2, 4, depth, "0.5x", patch)
    for task in (hgns, prn_task(drawn_stacks, replace(REFINEMENT, depth=depth))):
        loss, _ = task.loss(task.build().train(), 0, np.random.default_rng(0))
        assert torch.isfinite(loss)


@pytest.mark.parametrize("scales, levels", [("both", (0, 1)), ("1x", (0,)), ("0.5x", (1,))])
def test_towers_start_as_the_trunks_of_trained_networks_and_the_heads_afresh(drawn_stacks, seasoned, scales, levels):
    torch.manual_seed(1)
    trained = [seasoned(HGN(2), seed=5), seasoned(HGN(2), seed=6)]
    hgns = [trained[level] for level in levels]
    before = [{name: value.clone() for name, value in hgn.state_dict().items()} for hgn in hgns]
    task = prn_task(drawn_stacks, replace(REFINEMENT, scales=scales), hgns=hgns)

    def built(task):
        torch.manual_seed(0)
        return task.build()

    warm, cold = built(task), built(prn_task(drawn_stacks, replace(REFINEMENT, scales=scales)))
    assert len(warm.towers) == len(hgns)
    for tower, hgn in zip(warm.towers, hgns):
        assert all(torch.equal(value, hgn.trunk.state_dict()[name]) for name, value in tower.state_dict().items())
    assert not torch.equal(warm.towers[0].convolutions[0].weight, cold.towers[0].convolutions[0].weight)
    assert torch.equal(warm.embedding.weight, cold.embedding.weight)
    # Training the copies leaves the networks they were copied from alone.
    model, _ = fit(task, Schedule(steps=2, batch=16, reports=1))
    assert not torch.equal(model.towers[0].convolutions[0].weight, hgns[0].trunk.convolutions[0].weight)
    for hgn, state in zip(hgns, before):
        assert all(torch.equal(value, state[name]) for name, value in hgn.state_dict().items())


@pytest.mark.parametrize("rim", [True, False], ids=["rim", "no rim"])
def test_a_prn_batch_is_half_ma_an_eighth_rim_and_the_rest_what_the_sampler_draws(drawn_stacks, monkeypatch, rim):
    monkeypatch.setattr("maa.training.tasks.augment", lambda patches, rng: patches)
    task = prn_task(drawn_stacks, schedule=Schedule(steps=1, batch=64), rim=rim)
    parts, expected = lesions_and_parts(task, rim)
    error = np.zeros(40)
    error[[3, 17]] = 0.5
    task.sampler.update(error)
    expected["healthy"] = task.pools["healthy"][[3, 17]]
    model = Recorder(outputs=2)
    loss, measured = task.loss(model, 0, np.random.default_rng(0))
    (patches,) = model.seen
    assert patches.shape == (64, 2, 45, 45, 3) and {"cross_entropy", "triplet", "active"} <= measured.keys()
    for name, part in parts.items():
        pool = {patch.tobytes() for patch in gather_scales(drawn_stacks, expected[name], 45)}
        assert all(patch.tobytes() in pool for patch in patches[part]), name
    assert len({patch.tobytes() for patch in patches[parts["healthy"]]}) == 2


@pytest.mark.parametrize("logit", [-7.0, 1.0])
def test_the_loss_of_a_prn_sees_the_same_log_odds(drawn_stacks, logit):
    task, model = prn_task(drawn_stacks, replace(REFINEMENT, triplet_weight=0.0)), Recorder(outputs=2)
    with torch.no_grad():
        model.value.fill_(logit)
    loss, parts = task.loss(model, 0, np.random.default_rng(0))
    seen = logit - np.log(PRIOR / (1 - PRIOR))
    assert loss.item() == pytest.approx(np.log1p(np.exp(-seen)) / 2 + np.log1p(np.exp(seen)) / 2, rel=1e-5)


@pytest.mark.parametrize("steps, refreshes, moments", [
    (15, 4, [3, 6, 9, 12]), (12, 2, [4, 8]), (100, 3, [25, 50, 75]), (10, 3, [2, 5, 8]), (7, 1, [4]), (9, 0, []),
    (3, 8, [1, 2, 3]), (1, 1, []),
])  # fmt: skip
def test_refreshes_are_spread_evenly_and_none_comes_first(drawn_stacks, steps, refreshes, moments):
    task = prn_task(drawn_stacks, replace(REFINEMENT, refreshes=refreshes), Schedule(steps=steps, batch=8))
    assert sorted(task.refresh_at) == moments
    even = prn_task(drawn_stacks, replace(REFINEMENT, refreshes=refreshes, selective=False), Schedule(steps=steps, batch=8))
    assert even.refresh_at == set()


@pytest.mark.parametrize("selective", [True, False])
def test_the_sampler_is_refreshed_from_the_model_only_where_sampling_is_selective(drawn_stacks, monkeypatch, selective):
    refreshed, steps = [], []

    def score(model, stacks, where):
        assert not model.training and np.array_equal(where, task.pools["healthy"])
        refreshed.append(len(steps))
        return np.linspace(0, 1, len(where)), None

    monkeypatch.setattr("maa.training.tasks.score_patches", score)
    schedule = Schedule(steps=15, batch=8, reports=1)
    task = prn_task(drawn_stacks, replace(REFINEMENT, refreshes=4, selective=selective), schedule)
    joint = losses.joint_loss
    monkeypatch.setattr("maa.training.tasks.joint_loss", lambda *a: steps.append(len(steps)) or joint(*a))
    model, history = fit(task, schedule)
    assert len(steps) == 15
    if selective:
        assert refreshed == [3, 6, 9, 12]  # before the step of that number
        assert task.sampler.error == pytest.approx(np.linspace(0, 1, 40))
        assert history["effective_pool"].iloc[-1] == pytest.approx(task.sampler.effective_size / 40) != 1
    else:
        assert refreshed == [] and (task.sampler.error == 1).all()
        assert history["effective_pool"].iloc[-1] == pytest.approx(1)


def test_what_the_miner_draws_depends_on_the_seed_of_the_run_and_on_the_step(drawn_stacks, monkeypatch):
    drawn = []

    def spy(logits, embedding, labels, weight, margin, distance, mining, generator):
        drawn.append(torch.rand(3, generator=generator).tolist())
        return logits.mean(), {}

    monkeypatch.setattr("maa.training.tasks.joint_loss", spy)
    for seed in (3, 3, 4):
        fit(prn_task(drawn_stacks), Schedule(steps=2, batch=16, seed=seed, reports=1))
    first, again, other = drawn[:2], drawn[2:4], drawn[4:]
    assert first == again and first[0] != first[1]
    assert first[0] != other[0] and first[1] != other[1]


def test_without_the_triplet_loss_it_is_measured_and_not_trained(drawn_stacks):
    def part(weight):
        task = prn_task(drawn_stacks, replace(REFINEMENT, triplet_weight=weight))
        torch.manual_seed(0)
        loss, parts = task.loss(task.build(), 0, np.random.default_rng(0))
        return loss.item(), parts

    (alone, parts), (joint, same) = part(0.0), part(0.5)
    assert parts["triplet"] == same["triplet"] and parts["triplet"] > 0
    assert alone == pytest.approx(parts["cross_entropy"].item())
    assert joint == pytest.approx(alone + 0.5 * parts["triplet"].item())


def test_the_loss_falls_on_dots_that_are_easy_to_see(drawn_stacks):
    schedule = Schedule(steps=40, batch=32, learning_rate=1e-2, reports=4)
    _, history = fit(hgn_task(drawn_stacks, schedule, width=4, count=2000), schedule)
    assert history["loss"].iloc[-1] < 0.35 < history["loss"].iloc[0]
    assert history["validation_ap"].iloc[-1] > 0.3


def test_draw_takes_rows_evenly_and_repeats():
    pool = np.arange(30).reshape(10, 3)
    drawn = draw(pool, 5000, np.random.default_rng(0))
    assert np.array_equal(drawn, draw(pool, 5000, np.random.default_rng(0)))
    counts = np.bincount(drawn[:, 0] // 3, minlength=10)
    assert (drawn % 3 == [0, 1, 2]).all() and counts.min() > 400 and counts.max() < 600


def test_nothing_can_be_drawn_from_nothing():
    assert draw(np.empty((0, 3), np.int32), 0, np.random.default_rng(0)).shape == (0, 3)
    with pytest.raises(ValueError):
        draw(np.empty((0, 3), np.int32), 1, np.random.default_rng(0))


# --- the probe ------------------------------------------------------------------------------------------


class Green(nn.Module):
    """Scores a pixel by how dark the green around it is."""

    patch_size = 9

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(()))

    def forward(self, patches):
        return (128 - patches[..., 1].float()).mean(dim=(1, 2)) / 24


def test_the_probe_estimates_the_average_precision_of_all_the_pixels(drawn_stacks, monkeypatch):
    stack = drawn_stacks[0]
    scores, truth = [], []
    for index in range(3):
        rows, columns = np.nonzero(stack.label(index) & FOV)
        where = np.stack([np.full(rows.size, index), rows, columns], axis=1)
        scores.append(Green()(torch.from_numpy(stack.gather(where, 9))).numpy())
        truth.append((stack.label(index)[rows, columns] & MA) > 0)
    exact = average_precision_score(np.concatenate(truth), np.concatenate(scores))
    monkeypatch.setattr(Probe, "POSITIVES", 1000)
    monkeypatch.setattr(Probe, "NEGATIVES", 9000)
    estimate = Probe(stack).average_precision(Green())
    assert 0.05 < exact < 0.9 and estimate == pytest.approx(exact, rel=0.12)


def test_the_probe_is_the_same_for_every_run_and_never_looks_at_the_healthy(drawn_stacks):
    one, other = Probe(drawn_stacks[0]), Probe(drawn_stacks[0])
    assert np.array_equal(one.where, other.where)
    labels = np.array([drawn_stacks[0].label(i)[r, c] for i, r, c in one.where])
    assert (((labels & MA) > 0) == one.truth).all() and (labels & FOV).all()
    assert drawn_stacks[0].diseased[one.where[:, 0]].all()
    weight = {bool(t): one.weight[one.truth == t].sum() for t in (True, False)}
    total = sum(((drawn_stacks[0].label(i) & FOV) > 0).sum() for i in range(3))
    assert weight[True] == pytest.approx(len(ma_pixels(drawn_stacks[0])))
    assert weight[True] + weight[False] == pytest.approx(total)


def test_a_probe_without_a_microaneurysm_is_an_error(drawn_records, tmp_path):
    from maa.data import build_stacks

    stack = build_stacks(drawn_records[3:], tmp_path / "healthy")[0]
    with pytest.raises(MaaError, match="microaneurysm"):
        Probe(stack)
