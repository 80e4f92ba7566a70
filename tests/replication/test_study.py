"""Tests of maa.replication.study: what was trained once is found again, and by nothing that differs."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from maa.data import healthy_pixels, open_dataset, rim_pixels
from maa.errors import MaaError
from maa.hardware import precision
from maa.replication import study as study_module
from maa.replication.profiles import FULL, LESSON, PROFILES, QUICK, Profile
from maa.replication.published import published
from maa.replication.recipes import RECIPES
from maa.replication.records import Record, Trained
from maa.replication.reproduce import REFINEMENTS
from maa.replication.study import Study
from maa.training import HGNConfig, HGNTask, PRNConfig, PRNTask, Probe, Schedule

TINY = Profile(
    "tiny",
    hgn_1x=HGNConfig(1.0, Schedule(steps=4, batch=16, reports=2), width=2, pool=300),
    hgn_half=HGNConfig(0.5, Schedule(steps=3, batch=16, reports=1), width=2, pool=300),
    prn=PRNConfig(Schedule(steps=4, batch=16, reports=2), width=2, pool=40),
)


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path_factory, float32):
    monkeypatch.setattr(Probe, "POSITIVES", 40)
    monkeypatch.setattr(Probe, "NEGATIVES", 120)
    # One cache for this file: that nothing in it is trained twice is what is tested.
    monkeypatch.setenv("MAA_CACHE", str(tmp_path_factory.getbasetemp() / "study-cache"))
    monkeypatch.setenv("MAA_PROGRESS", "0")


@pytest.fixture
def dataset(tiny_phantom):
    return open_dataset(tiny_phantom)


@pytest.fixture
def no_training(monkeypatch):
    def fit(*_, **__):
        pytest.fail("trained, though it was trained before")

    return lambda: monkeypatch.setattr(study_module, "fit", fit)


def test_photographs_of_a_split_diseased_first(dataset):
    study = Study(dataset, TINY)
    records = study.records("train")
    assert [r.diseased for r in records] == [True] * 3 + [False]
    assert {r.split for r in records} == {"train"}
    assert study.train[0].names == tuple(r.name for r in records)
    assert [r.diseased for r in study.records("validation")] == [True, False]


def test_a_profile_may_take_fewer_photographs_and_a_third_for_validation(dataset):
    assert [r.diseased for r in Study(dataset, replace(TINY, images=1)).records("train")] == [True, False]
    assert len(Study(dataset, replace(TINY, images=2)).records("train")) == 3
    assert len(Study(dataset, replace(TINY, images=2)).records("validation")) == 2  # at least one of each

    class Many:
        def select(self, split, diseased):
            return [f"{split} {diseased} {i}" for i in range(20)]

    assert len(Study(Many(), replace(TINY, images=9)).records("train")) == 18
    assert len(Study(Many(), replace(TINY, images=9)).records("validation")) == 6


def test_photographs_are_prepared_once(dataset, monkeypatch):
    first = Study(dataset, TINY).validation
    monkeypatch.setattr("maa.data.idrid.Record.load", lambda self: pytest.fail("read again"))
    again = Study(dataset, TINY).validation
    assert (first[1].pixels == again[1].pixels).all()


def test_a_model_is_trained_once(dataset, tmp_path, no_training):
    first = Study(dataset, TINY, tmp_path).hgn(1.0)
    no_training()
    again = Study(dataset, replace(TINY, name="of another name"), tmp_path).hgn(1.0)
    assert again.path == first.path and again.path.is_file() and not again.model.training
    assert again.record == first.record and again.history.equals(first.history)
    assert all(torch.equal(v, again.model.state_dict()[k]) for k, v in first.model.state_dict().items())
    assert list(first.history["step"]) == [2, 4]


def test_of_two_that_want_the_same_model_one_trains_it_and_the_other_waits(dataset, tmp_path, monkeypatch):
    began, fit = [], study_module.fit

    def slow_fit(*arguments, **named):
        began.append(None)
        time.sleep(0.5)  # long enough for the other to want it too
        return fit(*arguments, **named)

    monkeypatch.setattr(study_module, "fit", slow_fit)
    Study(dataset, TINY).train, Study(dataset, TINY).validation
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: Study(dataset, TINY, tmp_path).hgn(0.5, seed=7), range(2))
    assert len(began) == 1 and first.record == second.record and first.path == second.path


def test_each_record_says_what_the_run_was_made_from(dataset, tmp_path):
    trained = Study(dataset, TINY, tmp_path).hgn(0.5, seed=2)
    record = trained.record
    assert record.config == replace(TINY.hgn_half, schedule=replace(TINY.hgn_half.schedule, seed=2)) and record.seed == 2
    assert record.data == dataset.fingerprint and len(record.code) == 64
    assert record.photographs == tuple(r.name for r in dataset.select("train"))
    assert record.environment["torch"] == torch.__version__ and record.seconds > 0
    assert record.recipe == {"hgn": RECIPES["hgn"], "photographs": RECIPES["photographs"]}
    assert (record.device, record.precision) == ("cpu", precision(torch.device("cpu")))
    written = json.loads(trained.path.with_name("run.json").read_text())
    assert Record.from_json(written) == record and Record.from_json(written).key == record.key
    assert trained.path.parent.name == f"hgn-0.5x-{record.key[:16]}"


def test_what_is_measured_lies_beside_a_record_that_never_changes(dataset, tmp_path):
    trained = Study(dataset, TINY, tmp_path).hgn(0.5)
    run = trained.path.with_name("run.json")
    before = run.read_bytes()
    assert trained.metrics == {}
    trained.add_metrics(f1=0.25)
    trained.add_metrics(recall=0.5)
    assert run.read_bytes() == before and Study(dataset, TINY, tmp_path).hgn(0.5).metrics == {"f1": 0.25, "recall": 0.5}


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"{}", b"\xff", b'{"family": "hgn"}', b'{"family": []}', b"[" * 100_000]
)
def test_a_damaged_record_is_one_sentence(tmp_path, content):
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(MaaError, match="damaged: remove its folder") as error:
        Record.read(tmp_path / "run.json")
    assert str(tmp_path / "run.json") in str(error.value)


def test_damaged_measures_and_published_results_are_one_sentence(tmp_path, monkeypatch):
    trained = Trained(None, None, tmp_path / "weights.safetensors")
    (tmp_path / "metrics.json").write_text("{")
    with pytest.raises(MaaError, match="metrics.json is damaged: remove it"):
        trained.add_metrics(f1=0.5)
    monkeypatch.setenv("MAA_RESULTS", str(tmp_path))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "crossval.json").write_text('{"readings": {')
    with pytest.raises(MaaError, match="crossval.json is damaged: run the command"):
        published("mine", "crossval")


class Reached(Exception):
    """Training would begin: the model was not found."""


@pytest.fixture
def would_train(dataset, tmp_path, monkeypatch):
    """``would_train(act, ...)``: whether a study that has a PRN and the HGNs of both scales would train for `act`."""
    study = Study(dataset, TINY, tmp_path)
    study.prn()  # and the HGNs that it starts as

    def fit(*_, **__):
        raise Reached

    monkeypatch.setattr(study_module, "fit", fit)

    def asks(act, profile=TINY, data=dataset):
        try:
            act(Study(data, profile, tmp_path))
        except Reached:
            return True
        return False

    return asks


def test_another_seed_scale_budget_config_recipe_machine_or_data_is_another_model(would_train, dataset, monkeypatch):
    def hgn(study):
        return study.hgn(1.0)

    def prn(study):
        return study.prn()

    assert not would_train(hgn) and not would_train(prn)
    assert would_train(lambda study: study.hgn(1.0, seed=1))
    assert not would_train(lambda study: study.hgn(0.5)) and would_train(lambda study: study.hgn(0.5, seed=1))
    for name in {field.name for field in fields(HGNConfig)} - {"scale"}:
        assert would_train(lambda study: study.hgn(1.0, **{name: CHANGED[name]})), name
    for name in {field.name for field in fields(PRNConfig)}:
        assert would_train(lambda study: study.prn(**{name: CHANGED[name]})), name
    assert would_train(hgn, replace(TINY, images=1))
    # A refinement that starts as the first stage is another where the first stage is another; one that does not is not.
    longer = Schedule(steps=9, batch=16, reports=1)
    assert would_train(prn, replace(TINY, hgn_1x=replace(TINY.hgn_1x, schedule=longer)))
    assert not would_train(hgn, replace(TINY, prn=replace(TINY.prn, schedule=longer)))
    fewer = replace(dataset, records=dataset.records[1:])
    assert would_train(hgn, data=fewer)
    # What the code is does not matter, unless it gives other numbers: then the recipe's version is raised.
    monkeypatch.setattr(study_module, "code_fingerprint", lambda *modules: "changed")
    assert not would_train(hgn) and not would_train(prn)
    for family, act in (("hgn", hgn), ("prn", prn), ("photographs", hgn)):
        with monkeypatch.context() as patch:
            patch.setitem(RECIPES, family, 99)
            assert would_train(act), family
    monkeypatch.setattr(study_module, "precision", lambda device: "another")
    assert would_train(hgn) and would_train(prn)


#: For each field of a config, a value that TINY does not have.
CHANGED = {
    "schedule": Schedule(steps=5), "width": 3, "depth": 6, "pool": 41, "source": "unlabelled", "rim": False,
    "embedding_size": 8, "scales": "1x", "warm": False, "triplet_weight": 0.0, "margin": 0.4, "mining": "random",
    "distance": "cosine", "selective": False, "refreshes": 1, "power": 0.5,
}  # fmt: skip


SOURCES = ("healthy patients", "far from lesions", "unlabelled")


class Noted(Exception):
    """A task was made; holds it."""


@pytest.fixture
def task_of(dataset, tmp_path, monkeypatch):
    """``task_of(act)``: the task of the last training that `act` would begin."""
    from maa.training import loop

    monkeypatch.setattr("maa.data.pools.GUARD", 10)  # the phantoms are small

    def asks(act, model):
        study, fit = Study(dataset, TINY, tmp_path), loop.fit

        def note(task, *a, **k):
            if isinstance(task, model):
                raise Noted(task)
            return fit(task, *a, **k)

        monkeypatch.setattr(study_module, "fit", note)
        with pytest.raises(Noted) as noted:
            act(study)
        monkeypatch.setattr(study_module, "fit", fit)
        return study, noted.value.args[0]

    return asks


@pytest.mark.parametrize("scale, level", [(1.0, 0), (0.5, 1)])
@pytest.mark.parametrize("source, rim, depth", [(None, True, 8), *((source, False, 6) for source in SOURCES)])
def test_an_hgn_is_given_the_pools_and_the_depth_that_were_asked_for(task_of, scale, level, source, rim, depth):
    study, task = task_of(lambda study: study.hgn(scale, 3, source=source, rim=rim, depth=depth), HGNTask)
    stack = study.train[level]
    assert task.stack is stack and task.build().depth == depth and task.build().width == 2
    assert np.array_equal(task.pools["healthy"], healthy_pixels(stack, 300, np.random.default_rng(3), source))
    assert np.array_equal(task.pools["rim"], rim_pixels(stack) if rim else np.empty((0, 3)))
    assert task.probe.stack is study.validation[level]
    assert stack.diseased[task.pools["healthy"][:, 0]].all() == (source in SOURCES[1:])


@pytest.mark.parametrize("source, rim", [(None, True), *((source, False) for source in SOURCES)])
def test_a_prn_is_given_the_pools_that_were_asked_for(task_of, source, rim):
    study, task = task_of(lambda study: study.prn(3, source=source, rim=rim, warm=False), PRNTask)
    stack = study.train[0]
    assert np.array_equal(task.pools["healthy"], healthy_pixels(stack, 40, np.random.default_rng(3), source))
    assert np.array_equal(task.pools["rim"], rim_pixels(stack) if rim else np.empty((0, 3)))
    assert list(task.hgns) == [] and task.stacks is study.train and task.config.width == 2


@pytest.mark.parametrize("scales, which", [("both", (1.0, 0.5)), ("1x", (1.0,)), ("0.5x", (0.5,))])
def test_a_warm_prn_starts_as_the_hgns_of_its_scales_seed_and_depth(task_of, scales, which):
    study, task = task_of(lambda study: study.prn(1, scales=scales, depth=6), PRNTask)
    model = task.build()
    assert model.scales == scales and model.depth == 6 and len(model.towers) == len(which)
    for tower, scale in zip(model.towers, which):
        weights = study.hgn(scale, 1, depth=6).model.trunk.state_dict()
        assert all(torch.equal(value.cpu(), weights[name].cpu()) for name, value in tower.state_dict().items())


def test_each_record_says_what_was_varied_and_what_a_refinement_started_as(dataset, tmp_path):
    study = Study(dataset, TINY, tmp_path)
    config = study.hgn(1.0, source="unlabelled", rim=False, depth=6).record.config
    assert (config.source, config.rim, config.depth) == ("unlabelled", False, 6)
    plain = study.hgn(1.0).record.config
    assert plain == TINY.hgn_1x
    warm = study.prn(source="unlabelled", scales="1x").record
    assert (warm.config.source, warm.config.scales) == ("unlabelled", "1x") and warm.start == (plain,)
    assert warm.recipe.keys() == {"photographs", "hgn", "prn"}
    cold = study.prn(warm=False).record
    assert cold.start == () and cold.recipe.keys() == {"photographs", "prn"}


def test_a_trained_network_keeps_what_it_was_built_with(dataset, tmp_path, no_training):
    study = Study(dataset, TINY, tmp_path)
    prn = {"depth": 6, "scales": "0.5x", "warm": False}
    study.hgn(0.5, depth=6), study.prn(**prn)
    no_training()
    again = Study(dataset, TINY, tmp_path)
    assert again.hgn(0.5, depth=6).model.patch_size == 29
    model = again.prn(**prn).model
    assert (model.patch_size, model.scales, len(model.towers)) == (29, "0.5x", 1)


def test_a_sampler_follows_the_power_of_its_config(dataset, tmp_path):
    study = Study(dataset, TINY, tmp_path)
    plain, tempered = study.prn(), study.prn(power=0.5)
    assert tempered.history["effective_pool"].iloc[-1] > plain.history["effective_pool"].iloc[-1]
    assert not all(torch.equal(a, b) for a, b in zip(plain.model.parameters(), tempered.model.parameters()))


def test_models_are_on_what_the_machine_computes_best_with(dataset, tmp_path, monkeypatch):
    study = Study(dataset, TINY, tmp_path)
    study.hgn(0.5)
    monkeypatch.setattr(study_module, "device", lambda: torch.device("meta"))
    assert next(study.hgn(0.5).model.parameters()).device.type == "meta"


def test_a_training_that_was_stopped_goes_on_and_is_never_taken_for_whole(dataset, tmp_path, monkeypatch):

    whole = Study(dataset, TINY, tmp_path / "whole").hgn(1.0)
    loss, steps = HGNTask.loss, []

    def interrupted(self, model, step, rng):
        if step == 3 and 3 not in steps:
            steps.append(3)
            raise KeyboardInterrupt
        steps.append(step)
        return loss(self, model, step, rng)

    monkeypatch.setattr(HGNTask, "loss", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Study(dataset, TINY, tmp_path / "stopped").hgn(1.0)
    resumed = Study(dataset, TINY, tmp_path / "stopped").hgn(1.0)
    assert steps == [0, 1, 2, 3, 2, 3]
    assert all(torch.equal(v, resumed.model.state_dict()[k]) for k, v in whole.model.state_dict().items())
    assert sorted(p.name for p in resumed.path.parent.iterdir()) == ["run.json", "weights.safetensors"]


def test_phantoms_are_drawn_once(monkeypatch, tmp_path):
    from maa.phantom import PhantomConfig

    monkeypatch.setenv("MAA_CACHE", str(tmp_path))
    config = PhantomConfig(size=96, field_degrees=6)
    root = study_module.phantoms(config, 2, 1, 0, 1)
    monkeypatch.setattr(study_module, "write_dataset", lambda *a, **k: pytest.fail("drawn again"))
    assert study_module.phantoms(config, 2, 1, 0, 1) == root
    assert len(open_dataset(root).records) == 3


def test_the_chapters_study_takes_idrid_where_it_is_and_phantoms_where_not(monkeypatch, tiny_phantom, tmp_path):
    monkeypatch.setattr(study_module, "phantoms", lambda config, **counts: tiny_phantom)
    monkeypatch.setattr(study_module.locate, "find", lambda data=None: None)
    assert study_module.lesson().dataset.root == open_dataset(tiny_phantom).root
    monkeypatch.setattr(study_module, "phantoms", lambda config, **counts: pytest.fail("IDRiD is there"))
    monkeypatch.setattr(study_module.locate, "find", lambda data=None: tiny_phantom)
    study = study_module.lesson()
    assert study.profile is LESSON and len(study.dataset.records) == 7


def test_a_shipped_model_stands_in_for_one_of_any_machine_that_was_made_alike(dataset, tmp_path, no_training):
    trained = Study(dataset, TINY, tmp_path / "elsewhere").hgn(1.0)
    run = trained.path.with_name("run.json")
    run.write_text(json.dumps(json.loads(run.read_text()) | {"device": "cuda", "precision": "bfloat16"}))
    study = Study(dataset, TINY, tmp_path / "here", shipped=tmp_path / "elsewhere")
    no_training()
    assert study.hgn(1.0).path == trained.path
    assert all(torch.equal(v, trained.model.state_dict()[k]) for k, v in study.hgn(1.0).model.state_dict().items())
    for other in (
        lambda: study.hgn(1.0, seed=1),
        lambda: study.hgn(0.5),
        lambda: Study(dataset, TINY, tmp_path / "here").hgn(1.0),
    ):
        with pytest.raises(pytest.fail.Exception, match="trained, though"):
            other()


def test_a_shipped_model_of_an_older_recipe_is_left_alone(dataset, tmp_path, monkeypatch, no_training):
    Study(dataset, TINY, tmp_path / "elsewhere").hgn(1.0)
    no_training()
    monkeypatch.setitem(RECIPES, "hgn", RECIPES["hgn"] + 1)
    with pytest.raises(pytest.fail.Exception, match="trained, though"):
        Study(dataset, TINY, tmp_path / "here", shipped=tmp_path / "elsewhere").hgn(1.0)


@pytest.mark.slow
def test_the_lessons_find_the_networks_that_ship_and_train_them_anew_where_asked(monkeypatch, tmp_path, no_training):
    """They are those that the recipes and the profile of today would give: else python book/make/lessons.py."""
    monkeypatch.delenv("MAA_IDRID", raising=False)
    monkeypatch.setenv("MAA_CACHE", str(tmp_path))  # where nothing is trained
    monkeypatch.setattr(study_module.locate, "find", lambda data=None: None)
    no_training()
    study = study_module.lesson()
    found = [study.hgn(1.0), study.hgn(0.5), study.prn(seed=1), study.prn(mining="batch-hard")]
    found += [study.prn(**changes) for changes in REFINEMENTS.values()]
    assert sorted(each.path.parent for each in found) == sorted(study_module.LESSONS.iterdir())
    assert sum(file.stat().st_size for file in study_module.LESSONS.rglob("*")) < 3 * 2**20, "small"
    with pytest.raises(pytest.fail.Exception, match="trained, though"):
        study_module.lesson(anew=True).hgn(1.0)


def test_profiles_are_found_by_their_names():
    assert PROFILES["quick"] is QUICK and PROFILES["lesson"] is LESSON and PROFILES["full"] is FULL
    assert QUICK.images is FULL.images is None  # the whole of IDRiD


def test_a_record_without_its_weights_is_trained_anew(dataset, tmp_path):
    first = Study(dataset, TINY, tmp_path).hgn(0.5)
    weights = {name: value.clone() for name, value in first.model.state_dict().items()}
    first.path.unlink()  # a checkout has the records of the runs and not their weights
    again = Study(dataset, TINY, tmp_path).hgn(0.5)
    assert again.path.exists() and again.path == first.path
    assert all(torch.equal(value, weights[name]) for name, value in again.model.state_dict().items())


PUBLISHED = sorted((Path(__file__).resolve().parents[2] / "results").glob("*/runs/*/run.json"))


def test_every_published_record_lies_under_its_key():
    """On every Python, and whatever becomes of the code: a record that is not found trains its model anew."""
    assert len(PUBLISHED) == 256
    for run in PUBLISHED:
        record = Record.from_json(json.loads(run.read_text()))
        assert (
            run.parent.name == f"{record.name}-{record.key[:16]}" and record.history["step"][-1] == record.config.schedule.steps
        )


def test_the_profiles_of_today_find_the_published_records(monkeypatch):
    """The main table's networks, three seeds of each, are among the records: nothing of it would be trained on such a machine again."""
    records = [Record.from_json(json.loads(run.read_text())) for run in PUBLISHED]
    known = {(record.config, record.start) for record in records}
    for seed in FULL.seeds:
        seeded = [
            replace(config, schedule=replace(config.schedule, seed=seed)) for config in (FULL.hgn_1x, FULL.hgn_half, FULL.prn)
        ]
        assert (seeded[0], ()) in known and (seeded[1], ()) in known and (seeded[2], tuple(seeded[:2])) in known
