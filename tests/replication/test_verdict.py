"""Tests of maa.replication.verdict: the words follow the numbers, whichever way they fall, and so do the pages."""

import importlib.util
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from maa.errors import MaaError
from maa.inference import ROWS
from maa.inference.system import FIRST_STAGE
from maa.provenance import file_fingerprints
from maa.replication import verdict
from maa.replication.scores import PAPER, PAPER_GAIN
from maa.replication.verdict import Evidence, answer, headline, in_words, mark

ROOT = Path(__file__).resolve().parents[2]


def script(name: str):
    """A script of the folder of results, as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"book/make/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def front():
    """The script that cuts the front page's picture."""
    return script("front")


@pytest.fixture(scope="module")
def readme():
    """The script that writes the README."""
    return script("readme")


def results(whole, split="validation", images="abc", seeds=2) -> dict:
    """A results file with the gain that the words are about, as (value, low, high)."""
    rows = {
        "hgn_1x": {"by_image": dict.fromkeys(images, 0.3)},
        "prn_full": {"seeds": [0.4] * seeds, "gains": gains(hgn_1x=whole)},
    }
    return {"split": split, "photographs": list(images), "rows": rows}


def gains(**others) -> dict:
    return {other: {"relative_gain": dict(zip(("value", "low", "high"), gain))} for other, gain in others.items()}


def crossed(whole, c2="undecided", c3a="undecided", c3b="undecided", c4="helps", control=(0.2, 0.1, 0.3)) -> dict:
    """What cross-validation wrote, with the verdicts that the words are about."""
    found = results(whole, "cross-validated", "uvwxyz", 1)
    found["rows"]["control"] = {"gains": gains(hgn_1x=control)}
    difference = {"value": 0.0123, "low": -0.002, "high": 0.0214}
    verdicts = {"C1": "helps", "C2": c2, "C3a": c3a, "C3b": c3b, "C4": c4}
    return found | {"contrasts": {name: {"verdict": verdict, "difference": difference} for name, verdict in verdicts.items()}}


def opened(whole, **more) -> dict:
    """An opening of the test half."""
    return {"results": results(whole, "test", "defgh", 1) | more, "frozen": {}}


LARGE, SMALL, UNSURE = (0.35, 0.2, 0.5), (0.28, 0.1, 0.4), (0.35, -0.1, 0.8)
REACHED = (PAPER_GAIN, 0.2, 0.5)


@pytest.mark.parametrize(
    ("whole", "cross", "sign", "size"),
    [
        (LARGE, REACHED, "[Re]", "The size holds"),
        (SMALL, UNSURE, "[¬Re]", "The size does not hold"),
        (LARGE, SMALL, "[¬Re]", "The size holds on the validation photographs, and not in cross-validation"),
        (UNSURE, LARGE, "[¬Re]", "The size holds in cross-validation, and not on the validation photographs"),
    ],
)
@pytest.mark.parametrize(
    ("verdicts", "cause"),
    [
        ({"c2": "helps", "c3b": "helps"}, "the reason given holds"),
        ({"c2": "hurts", "c3a": "helps"}, "the reason given does not"),
        ({"c2": "undecided", "c3a": "helps"}, "the reason given is not confirmed"),
    ],
)
def test_the_answer_follows_both_files(whole, cross, sign, size, verdicts, cause):
    evidence = Evidence(results(whole), crossed(cross, **verdicts))
    assert evidence.size is evidence.validation and evidence.cause is evidence.crossval and mark(evidence) == sign
    text = answer(evidence)
    assert text.startswith(f"**{size}; {cause}.**")
    for gain, where in ((whole, "On 3 validation photographs, 2 seeds"), (cross, "on 6 cross-validated photographs, one seed")):
        assert f"{where}, the whole system is {in_words(dict(zip(('value', 'low', 'high'), gain)))}" in text


@pytest.mark.parametrize(
    ("test", "centre", "windows", "size"),
    [
        (LARGE, LARGE, LARGE, "The size holds"),
        (LARGE, SMALL, SMALL, "The size holds on the test photographs, and not in cross-validation"),
        (SMALL, SMALL, SMALL, "The size does not hold"),
        (
            LARGE,
            LARGE,
            SMALL,
            "on the test photographs and in cross-validation by the label of a centre, and not by windows with masks",
        ),
        (
            SMALL,
            SMALL,
            LARGE,
            "by windows with masks, and not on the test photographs and in cross-validation by the label of a centre",
        ),
    ],
)
def test_both_readings_of_the_paper_are_told_apart_where_they_differ(test, centre, windows, size):
    evidence = Evidence(results(SMALL), crossed(windows), (opened(test),), crossed(centre, control=(0.338, 0.28, 0.4)))
    assert "There, deciding candidate by candidate *without* a second network gives +33.8 % (+28.0 to +40.0)." in answer(
        evidence
    )
    assert f"{size};" in headline(evidence) and headline(evidence).startswith("The size ")
    assert mark(evidence) == (
        "[Re]" if (test, windows) == (LARGE, LARGE) else "[¬Re]"
    )  # by the main reading, whatever the other says
    for reading, gain in (("label of a centre, as there", centre), ("windows with masks instead", windows)):
        words = in_words(dict(zip(("value", "low", "high"), gain)))
        assert f"{reading}, on 6 cross-validated photographs, one seed, the whole system is {words}" in answer(evidence)


@pytest.mark.parametrize(
    ("c2", "c3a", "c3b", "cause"),
    [
        ("helps", "undecided", "helps", "holds"),
        ("helps", "helps", "hurts", "holds"),
        ("helps", "undecided", "no effect worth having", "open"),
        ("undecided", "helps", "helps", "open"),
        ("hurts", "helps", "helps", "does not hold"),
        ("no effect worth having", "undecided", "undecided", "does not hold"),
    ],
)
def test_the_protocols_rule_of_the_cause(c2, c3a, c3b, cause):
    assert verdict.cause_by_contrasts({"C1": "helps", "C2": c2, "C3a": c3a, "C3b": c3b, "C4": "undecided"}) == cause


@pytest.mark.parametrize(
    ("course", "holds"),
    [([0.1, 0.2, 0.3, 0.35, 0.36], True), ([0.1, 0.2, 0.3, 0.34, 0.36], False), ([0.36, 0.34], True), ([0.36], True)],
)
def test_no_gain_counts_over_a_baseline_that_still_rises(course, holds):
    found = crossed(LARGE) | {"baseline_course": [each / 1.0001 for each in course]}
    assert verdict.size_holds(found) == holds
    assert ("no gain over it counts" in verdict.size_in_words(found)) != holds


def test_every_contrast_of_the_cause_is_said_with_its_interval():
    text = verdict.cause_in_words(crossed(LARGE, "no effect worth having", "undecided", "hurts", "helps"))
    assert "gives +20.0 % (+10.0 to +30.0) over HGN 1x already" in text
    for part in (
        "cross-entropy alone, beside that, helps (",
        "triplet loss is undecided (",
        "selective sampling hurts (",
        "the whole system has no effect worth having (+0.012, -0.002 to +0.021)",
    ):
        assert part in text


def test_every_variant_stands_beside_cross_entropy():
    results = verdict.evidence().crossval
    arms = {arm["name"]: arm for arm in verdict.arms(results)}
    assert len(arms) == len(results["histories"]) - 1 and "prn_cross_entropy" not in arms
    values = {row: content["average_precision"]["value"] for row, content in results["rows"].items()}
    for name, arm in arms.items():
        row = "prn_full" if name.startswith("both") else name
        assert arm["difference"] == pytest.approx(values[row] - values["prn_cross_entropy"])
    assert arms["sampling, told"]["tilt"] > 0 and arms["sampling, plain"]["tilt"] is None
    assert arms["triplet, soft"]["active triplets"] > 0 and arms["sampling, plain"]["active triplets"] is None


def test_the_size_is_judged_on_the_test_half_once_that_is_open():
    for whole, sign in ((LARGE, "[Re]"), (SMALL, "[¬Re]")):
        evidence = Evidence(results(SMALL), crossed(LARGE), (opened(UNSURE), opened(whole)))  # the last one counts
        assert mark(evidence) == sign and evidence.size is evidence.test and evidence.cause is evidence.crossval
        assert "On IDRiD's 5 test photographs, the paper's own," in answer(evidence)


def test_the_cause_is_judged_on_the_test_half_where_it_was_asked():
    contrasts = crossed(LARGE, c2="helps", c3a="helps")["contrasts"]
    evidence = Evidence(results(LARGE), crossed(LARGE, c2="hurts"), (opened(LARGE, contrasts=contrasts),))
    assert evidence.cause is evidence.test and headline(evidence) == "The size holds; the reason given holds."


def test_a_gain_is_said_with_its_interval():
    assert in_words({"value": 0.0741, "low": -0.003, "high": 0.1449}) == "+7.4 % (-0.3 to +14.5)"


def test_no_page_carries_a_mark_that_the_results_do_not_give():
    right = mark(verdict.evidence())
    for page in (ROOT / "README.md", *(ROOT / "book").glob("*.md"), ROOT / "CITATION.cff"):
        for found in re.findall(r"\[¬?Re\]", page.read_text(encoding="utf-8")):
            assert found == right, (
                f"{page.name} says {found}, the results {right}: python book/make/readme.py, or change the page"
            )


def test_every_opening_is_committed_with_what_was_frozen():
    listed = json.loads((ROOT / "results/test/openings.json").read_text())["openings"]
    files = {p.name for p in (ROOT / "results/test").glob("*.json")} - {"openings.json"}
    assert [entry["file"] for entry in listed] == list(dict.fromkeys(entry["file"] for entry in listed)) and {
        e["file"] for e in listed
    } == files
    for entry in listed:
        frozen = entry["frozen"]
        assert (
            re.fullmatch(r"[0-9a-f]{40}", frozen["commit"])
            and re.fullmatch(r"\d{4}-\d\d-\d\d", frozen["date"])
            and entry["seeds"]
        )
        assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in frozen["files"].values())
    first = verdict.openings()[0]["results"]
    assert len(first["photographs"]) == 27 and "prn_full" in first["rows"] and "refined" not in first["rows"]


def test_what_ships_is_what_was_frozen_and_signed():
    """Whoever opens the test half a second time can see that nothing was changed since."""
    frozen = json.loads((ROOT / "results/idrid-full/frozen.json").read_text())
    assert file_fingerprints(ROOT / "maa/pretrained") == frozen["files"]
    protocol = (ROOT / "results/protocol.md").read_text(encoding="utf-8")
    signed = dict(re.findall(r"^\| `([^`]+)` \| `([0-9a-f]{64})` \|$", protocol, re.MULTILINE))
    assert signed == frozen["files"]
    assert frozen["settings"]["weights"].keys() < frozen["rows"].keys() == frozen["settings"]["thresholds"].keys()


# --- the pages, with other files in the place of ours --------------------------------------------------------------


@pytest.fixture
def swapped(tmp_path, monkeypatch):
    """The results folder, with an opening whose full system gains what is asked for; or with none."""

    def swap(gain: float | None) -> Path:
        folder = tmp_path / "results"
        shutil.rmtree(folder, ignore_errors=True)
        for name in ("idrid-full", "test"):
            shutil.copytree(ROOT / "results" / name, folder / name, ignore=shutil.ignore_patterns("runs", "shipped"))
        file = folder / "test/first-opening.json"
        if gain is None:
            shutil.rmtree(folder / "test")
        else:
            made_up = json.loads(file.read_text())
            made_up["photographs"] = made_up["photographs"][:9]
            for row in made_up["rows"].values():
                row["by_image"] = {name: row["by_image"][name] for name in made_up["photographs"]}
            relative = {"value": gain, "low": gain - 0.01, "high": gain + 0.01}
            made_up["rows"]["refined"]["gain"]["relative_gain"] = relative
            made_up["rows"]["refined"]["average_precision"]["value"] = 0.8765
            made_up["rows"]["all_prn_unlabelled"]["average_precision"]["value"] = 0.7654
            file.write_text(json.dumps(made_up))
            crossed = json.loads((folder / "idrid-full/crossval.json").read_text())
            crossed["rows"]["prn_full"]["gains"]["hgn_1x"]["relative_gain"] = relative
            crossed["baseline_course"] = [0.4, 0.4]
            (folder / "idrid-full/crossval.json").write_text(json.dumps(crossed))
        monkeypatch.setenv("MAA_RESULTS", str(folder))
        return folder

    return swap


def glued(page: str) -> dict:
    """What the code of a page of the book glues, as text."""
    code = re.findall(r"```\{code-cell\}[^\n]*\n(?::[^\n]*\n)*(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    found = {}

    def keep(name, value, display=False):
        found[name] = getattr(value, "data", value)

    exec("\n".join(code).replace("from myst_nb import glue", ""), {"glue": keep})
    return found


@pytest.mark.parametrize(("gain", "sign", "size"), [(0.41, "[Re]", "yes"), (0.123, "[¬Re]", "not confirmed")])
def test_other_results_of_the_test_half_give_other_pages(swapped, readme, gain, sign, size):
    swapped(gain)
    words = f"{100 * gain:+.1f} % ({100 * gain - 1:+.1f} to {100 * gain + 1:+.1f})"
    front = glued("book/intro.md")
    assert front["front-mark"] == sign and words in front["front-answer"] and front["front-photographs"] == "9 test photographs"
    assert any("0.876" in text.get_text() for text in front["front-curves"].findobj(lambda artist: hasattr(artist, "get_text")))
    missing = glued("book/not_reproduced.md")
    assert missing["not-size"] == size and missing["not-gain"] == words and missing["not-judged"] == "9 test photographs"
    evidence = verdict.evidence()
    text = readme.renewed((ROOT / "README.md").read_text(encoding="utf-8"), evidence)
    assert f"**{sign}**" in text and words in text and "0.8765 (" in text and "0.7654 (" in text
    citation = readme.abstract((ROOT / "CITATION.cff").read_text(encoding="utf-8"), evidence)
    assert f'abstract: "{sign} ' in citation and words in citation
    table = {row["name"]: row for row in verdict.beside_the_paper(evidence.test)}
    assert table["+ PRN, both: the full system"]["AUC PR"] == 0.8765 and table["+ PRN, both: the full system"]["gain"] == words
    assert table["HGN 1x"]["paper's AUC PR"] == PAPER["hgn_1x"]["average_precision"]
    assert verdict.history(evidence.openings)[0]["gain"] == words and verdict.history(evidence.openings)[0]["photographs"] == 9


def test_without_any_results_there_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("MAA_RESULTS", str(tmp_path))
    with pytest.raises(MaaError, match="clone of the repository"):
        verdict.evidence()


def test_without_an_opening_the_pages_say_so(swapped, readme):
    swapped(None)
    evidence = verdict.evidence()
    assert evidence.openings == () and verdict.history(()) == []
    front = glued("book/intro.md")
    assert front["front-mark"] == "[¬Re]" and front["front-photographs"] == "10 validation photographs"
    assert glued("book/not_reproduced.md")["not-judged"] == "10 validation photographs"
    assert "The test half was not opened." in readme.renewed((ROOT / "README.md").read_text(encoding="utf-8"), evidence)


def test_the_picture_of_the_front_page_shows_the_networks_that_ship(front):
    record = json.loads(front.RECORD.read_text())
    assert front.PICTURE.is_file() and record["shipped"] == front.shipped(), "cut it anew: python book/make/front.py DATA"


def test_the_lesions_of_a_window_are_told_apart(front):
    truth, called = np.zeros((2, 40, 60), bool)
    truth[5:9, 5:9] = called[7:11, 7:11] = True  # touched
    truth[20:24, 5:9] = True  # missed
    called[30:33, 40:43] = True  # nobody labelled it
    marks = front.rings(truth, called)
    assert [mark[0] for mark in marks] == ["found", "missed", "unlabelled"]
    assert marks[1][1:3] == (21.5, 6.5) and marks[2][1:3] == (31, 41)


def test_the_window_is_the_one_with_most_lesions(front):
    mask = np.zeros((1500, 2500), bool)
    for row, column in ((100, 100), (900, 1500), (950, 1600), (1000, 1700)):
        mask[row : row + 5, column : column + 5] = True
    count, row, column = front.richest(mask)
    assert count == 3 and row <= 900 and column <= 1500 and row + front.HEIGHT > 1000 and column + front.WIDTH > 1700
    assert front.richest(np.zeros((600, 800), bool)) == (0, 0, 0)


@pytest.mark.parametrize(
    ("shifts", "said"),
    [((0.02, 0.03), "better"), ((-0.02, -0.03), "worse"), ((0.02, -0.03), "not told apart"), ((0.0, 0.03), "not told apart")],
)
def test_another_first_stage_is_better_where_it_is_so_beside_every_run(shifts, said):
    rng = np.random.default_rng(0)
    own = rng.uniform(0.3, 0.6, 54)

    def results(values):
        by_image = {f"eye {number}": float(value) for number, value in enumerate(values)}
        row = {"average_precision": {"value": 0.4}, "by_image": by_image, "mean_of_images": float(np.mean(values))}
        return {"rows": dict.fromkeys(FIRST_STAGE, row)}

    runs = [
        results(own - shift + (rng.normal(0, 0.01, 54) if shift else rng.permutation(np.linspace(-0.05, 0.05, 54))))
        for shift in shifts
    ]
    table = verdict.beside_windows(results(own), runs)
    assert [line["name"] for line in table] == [ROWS[row] for row in FIRST_STAGE] and {line["verdict"] for line in table} == {
        said
    }
    for line in table:
        for gap, run in zip(line["differences"], runs):
            assert gap.value == pytest.approx(line["mean of images"] - run["rows"]["fused"]["mean_of_images"])
            assert gap.low < gap.value < gap.high
