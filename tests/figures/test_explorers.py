"""The explorers move without Python: the links and the frames are in the widget state that a page embeds."""

import base64
import io
import json
import re

import ipywidgets as widgets
import numpy as np
import pytest
from ipywidgets.embed import embed_minimal_html
from PIL import Image

from maa.evaluation import curves
from maa.figures import explorers, patch_explorer

pytestmark = [
    pytest.mark.filterwarnings("error"),
    pytest.mark.filterwarnings("ignore:The `ipykernel.comm.Comm` class:DeprecationWarning"),  # ipywidgets 7 uses it
]


@pytest.fixture(autouse=True)
def clean():
    yield
    widgets.Widget.close_all()


@pytest.fixture(scope="module")
def scene():
    """A photograph of 120 x 160 pixels with two lesions and a map that is right about most of them."""
    rng = np.random.default_rng(0)
    image = rng.integers(60, 120, (120, 160, 3), dtype=np.uint8)
    truth = np.zeros((120, 160), bool)
    truth[40:50, 50:60] = truth[80:88, 100:110] = True
    return image, np.clip(rng.beta(1, 12, truth.shape) + 0.5 * truth * rng.random(truth.shape), 0, 1), truth


@pytest.fixture
def threshold(scene):
    return explorers.threshold_explorer(*scene, window=(20, 40, 90), thresholds=[0.1, 0.2, 0.4])


def linked(explorer):
    """(source, its trait) of the stack, from the state that a page would carry."""
    if not hasattr(widgets, "Stack"):
        pytest.skip("ipywidgets 7 turns tabs instead")
    state = widgets.Widget.get_manager_state()["state"]
    (stack,) = (k for k, v in state.items() if v["model_name"] == "StackModel")
    ((source, trait),) = (
        v["state"]["source"]
        for v in state.values()
        if v["model_name"] in ("DirectionalLinkModel", "LinkModel")
        and v["state"]["target"] == [f"IPY_MODEL_{stack}", "selected_index"]
    )
    return state, state[stack]["state"], state[source.removeprefix("IPY_MODEL_")], trait


def test_the_state_of_a_page_holds_link_and_frames(threshold):
    state, stack, source, trait = linked(threshold)
    assert (source["model_name"], trait) == ("SelectionSliderModel", "index")
    assert list(source["state"]["_options_labels"]) == ["0.1", "0.2", "0.4"]
    frames = [state[child.removeprefix("IPY_MODEL_")]["state"]["value"] for child in stack["children"]]
    assert frames == [frame.html for frame in threshold.frames]
    assert stack["selected_index"] == source["state"]["index"]


def test_a_page_can_be_embedded_without_a_kernel(threshold):
    page = io.StringIO()
    embed_minimal_html(page, views=[threshold.widget], title="one page")
    text = page.getvalue()
    assert text.count("data:image/webp;base64,") == len(threshold.frames) and "DirectionalLinkModel" in text


def test_frames_are_pictures_with_words(threshold):
    for frame in (*threshold.frames, threshold.static):
        picture = Image.open(io.BytesIO(frame.webp))
        assert picture.format == "WEBP" and picture.width <= 800
        assert re.fullmatch(r'<img alt="[^"<>]{20,}" src="data:[^"]+" style="[^"]+">', frame.html)
    assert len({frame.webp for frame in threshold.frames}) == 3
    assert sum(len(f.html) for f in (*threshold.frames, threshold.static)) < 300_000, "bytes that it adds to a page"


def test_alternative_text_is_escaped():
    frame = explorers.Frame("a", 'less than < and "quoted" words', b"")
    assert 'alt="less than &lt; and &quot;quoted&quot; words"' in frame.html


def test_operating_points_equal_a_count_over_the_field_of_view(scene):
    _, probability, truth = scene
    fov = np.zeros(truth.shape, bool)
    fov[:100] = True
    thresholds = np.array([0.0, float(probability[45, 55]), 0.3, 2.0])
    precision, recall = curves.operating_points(probability, truth, thresholds, fov)
    for t, p, r in zip(thresholds, precision, recall):
        found = (probability >= t) & fov
        hits = (found & truth).sum()
        assert r == hits / (truth & fov).sum()
        assert p == hits / found.sum() if found.any() else np.isnan(p)


def test_threshold_numbers_are_of_the_whole_photograph_and_spoken(scene, threshold):
    _image, probability, truth = scene
    found = probability >= 0.2
    words = (
        f"threshold 0.2: precision {(found & truth).sum() / found.sum():.2f}, recall {(found & truth).sum() / truth.sum():.2f}"
    )
    assert words in threshold.frames[1].alt


def test_threshold_starts_at_the_best_f1(scene):
    explorer = explorers.threshold_explorer(*scene, window=(20, 40, 90))
    assert 5 <= len(explorer.frames) <= 15
    thresholds = [float(f.label) for f in explorer.frames]
    precision, recall = curves.operating_points(scene[1], scene[2], thresholds)
    _state, stack, _, _ = linked(explorer)
    assert stack["selected_index"] == np.argmax(2 * precision * recall / (precision + recall))


def test_no_threshold_calls_everything(scene):
    image, probability, truth = scene
    missed = truth & (np.arange(160) < 56)  # most of one lesion has no probability at all
    explorer = explorers.threshold_explorer(image, np.where(missed, 0, probability), truth)
    assert all(float(frame.label) > 0 for frame in explorer.frames)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"probability": np.zeros((3, 3))}, "probability must have"),
        ({"truth": np.zeros((120, 160), bool)}, "no annotated pixel"),
        ({"thresholds": [0.2, 0.1]}, "rise"),
        ({"thresholds": []}, "rise"),
        ({"window": (100, 0, 90)}, "window is"),
    ],
)
def test_threshold_explorer_refuses(scene, change, words):
    with pytest.raises(ValueError, match=words):
        explorers.threshold_explorer(**{**dict(zip(("image", "probability", "truth"), scene)), **change})


def test_scale_explorer_has_a_button_for_each_map(scene):
    image, probability, truth = scene
    explorer = explorers.scale_explorer(image, {"1x": probability, "0.5x": probability / 2}, truth, (20, 40, 90))
    _, stack, source, trait = linked(explorer)
    assert (source["model_name"], trait) == ("ToggleButtonsModel", "index")
    assert list(source["state"]["_options_labels"]) == ["photograph", "1x", "0.5x"] == [f.label for f in explorer.frames]
    assert len(stack["children"]) == 3 and "1x, 0.5x" in explorer.static.alt
    assert source["state"]["description"], "a control says what it moves"
    with pytest.raises(ValueError, match="at least one"):
        explorers.scale_explorer(image, {})


def test_training_scrubber_scrubs():
    angle = np.linspace(0, 1, 3)[:, None] * np.arange(20)
    points = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    explorer = explorers.training_scrubber(
        points, np.arange(20) % 2, [0, 5, 10], ["active 1.0", "active 0.5", "active 0.1"], circle=True
    )
    state, _stack, source, trait = linked(explorer)
    assert list(source["state"]["_options_labels"]) == ["0", "5", "10"] and trait == "index"
    # The theme's icon script breaks the Play widget, and with it every link behind it.
    assert not any(v["model_name"] == "PlayModel" for v in state.values())
    assert explorer.frames[1].alt == "Embedding of 20 patches at epoch 5, active 0.5."


def test_training_scrubber_says_what_it_counts():
    explorer = explorers.training_scrubber(np.zeros((2, 4, 2)) + np.arange(4)[:, None], [0, 0, 1, 1], [20, 200], unit="step")
    _, _, source, _ = linked(explorer)
    assert source["state"]["description"] == "step" and explorer.frames[1].alt == "Embedding of 4 patches at step 200."


def test_an_old_ipywidgets_turns_tabs_instead(scene, monkeypatch):
    monkeypatch.delattr(widgets, "Stack", raising=False)
    image, probability, truth = scene
    explorer = explorers.scale_explorer(image, {"1x": probability}, truth, (20, 40, 90))
    state = widgets.Widget.get_manager_state()["state"]
    (tab,) = (k for k, v in state.items() if v["model_name"] == "TabModel")
    (link,) = (v["state"] for v in state.values() if v["model_name"] == "DirectionalLinkModel")
    assert link["target"] == [f"IPY_MODEL_{tab}", "selected_index"]
    tabs = explorer.widget.children[1]
    assert [tabs.get_title(index) for index in range(2)] == ["photograph", "1x"] and len(state[tab]["state"]["children"]) == 2
    assert tabs.selected_index == 0


def test_training_scrubber_keeps_its_axes_still(monkeypatch):
    seen = []
    monkeypatch.setattr(explorers, "_encode", lambda figure: seen.append([a.get_xlim() for a in figure.axes]) or b"x")
    points = np.random.default_rng(0).normal(size=(3, 30, 2)) * np.array([1, 2, 5])[:, None, None]
    explorers.training_scrubber(points, np.arange(30) % 2)
    assert len({limits for figure in seen for limits in figure}) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((np.zeros((3, 5)), np.zeros(5)), r"\(T, N, 2\)"),
        ((np.zeros((3, 5, 2)), np.zeros(4)), "labels must have 5"),
        ((np.zeros((3, 5, 2)), np.zeros(5), [1]), "epochs must have 3"),
        ((np.zeros((3, 5, 2)), np.zeros(5), None, ["a"]), "captions must have 3"),
    ],
)
def test_training_scrubber_refuses(arguments, words):
    with pytest.raises(ValueError, match=words):
        explorers.training_scrubber(*arguments)


def test_displaying_shows_the_static_picture_and_the_widget(threshold, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    threshold._ipython_display_()
    assert shown[0].data == threshold.static.html and shown[1] is threshold.widget


@pytest.fixture(scope="module")
def patches():
    """Points, kinds, thumbnails of one grey level each, and probabilities, of 24 patches."""
    rng = np.random.default_rng(0)
    thumbnails = np.repeat(np.arange(24, dtype=np.uint8) * 10, 15 * 15 * 3).reshape(24, 15, 15, 3)
    return rng.normal(size=(24, 2)), ["MA"] * 8 + ["rim"] * 8 + ["vessel & fork"] * 8, thumbnails, rng.permutation(24) / 24


def data_of(drawing):
    return json.loads(re.search(r"data = (\{.*\});", drawing.html)[1].replace("<\\/", "</"))


def test_a_patch_map_is_drawn_without_its_script(patches):
    drawing = patch_explorer.patch_map(*patches, alt="Three kinds.")
    before, _script = drawing.html.split("<script>")
    assert before.count("<title>") == 24 and "<title>vessel &amp; fork: the network gives" in before
    assert 'role="img" aria-label="Three kinds. Marks: 8 MA, 8 rim, 8 vessel &amp; fork."' in before
    assert 'type="range" min="0" max="23"' in before, "a slider reaches every patch from the keyboard"
    assert "http" not in drawing.html.replace("http://www.w3.org", ""), "it needs no network"
    assert drawing._repr_html_() == drawing.html


def test_a_patch_map_shows_the_patch_it_points_to(patches):
    points, _, thumbnails, probability = patches
    data = data_of(patch_explorer.patch_map(*patches))
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(data["sheet"].split(",")[1]))))
    for n in (0, 7, 19, 20, 23):  # across the end of a row
        row, column = divmod(n, data["columns"])
        assert abs(int(sheet[row * 15 + 7, column * 15 + 7, 0]) - int(thumbnails[n, 7, 7, 0])) <= 4
    assert np.all(np.diff(probability[data["order"]]) > 0), "the slider goes from the lowest probability to the highest"
    place = np.array(data["points"])
    assert place.min() >= 20 and place[:, 0].max() <= 620 and place[:, 1].max() <= 460
    assert np.corrcoef(place[:, 0], points[:, 0])[0, 1] > 0.999 and np.corrcoef(place[:, 1], points[:, 1])[0, 1] < -0.999


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kinds": ["MA"]}, "kinds must have 24"),
        ({"kinds": list("abcdef") * 4}, "5 kinds at most"),
        ({"thumbnails": np.zeros((3, 5, 5, 3), np.uint8)}, "thumbnails must have 24"),
        ({"points": np.zeros((24, 3))}, r"\(N, 2\)"),
    ],
)
def test_patch_map_refuses(patches, change, words):
    with pytest.raises(ValueError, match=words):
        patch_explorer.patch_map(**{**dict(zip(("points", "kinds", "thumbnails", "probability"), patches)), **change})
