"""Every plot draws without a warning, prints the numbers it is given and refuses what does not fit."""

import xml.etree.ElementTree as ElementTree
from itertools import combinations
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from maa import figures
from maa.evaluation import curves

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(autouse=True)
def style():
    with mpl.rc_context():
        figures.use_style()
        yield


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def scene(rng):
    """A photograph of 90 x 120 pixels with two lesions, and a probability map that finds one of them."""
    image = rng.integers(60, 120, (90, 120, 3), dtype=np.uint8)
    truth = np.zeros((90, 120), bool)
    truth[20:26, 30:36] = truth[60:64, 80:86] = True
    probability = np.where(truth, 0.1, 0.02)
    probability[20:26, 30:36] = 0.9
    return image, truth, probability


def texts(figure: Figure) -> str:
    """All words that a figure shows."""
    figure.draw_without_rendering()
    return "\n".join(t.get_text() for t in figure.findobj(mpl.text.Text) if t.get_visible())


def legend(figure: Figure) -> list[str]:
    return [t.get_text() for box in figure.findobj(mpl.legend.Legend) for t in box.get_texts()]


# -- palette ---------------------------------------------------------------------------------------------------

# Machado, Oliveira, Fernandes (IEEE TVCG 2009), severity 1.0, on linear RGB.
VISION = {
    "normal": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]])


def linear(colour):
    c = np.array(to_rgb(colour))
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(colour, vision):
    x = XYZ @ np.clip(np.array(VISION[vision]) @ linear(colour), 0, 1) / [0.95047, 1, 1.08883]
    f = np.where(x > 0.008856, np.cbrt(x), 7.787 * x + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("colours", [figures.PALETTE, figures.ERROR_INK], ids=["palette", "errors"])
def test_colours_differ_for_every_kind_of_vision(vision, colours):
    for one, other in combinations(colours, 2):
        distance = np.linalg.norm(lab(colours[one], vision) - lab(colours[other], vision))
        assert distance >= 25, f"{one} and {other} are {distance:.1f} apart for {vision} vision"


def test_the_simulation_knows_red_from_green_only_with_normal_vision():
    def apart(vision):
        return np.linalg.norm(lab("#C04040", vision) - lab("#707000", vision))

    assert apart("normal") > 3 * apart("deutan")


@pytest.mark.parametrize("name", figures.PALETTE)
def test_palette_stands_out_from_white(name):
    assert 1.05 / (XYZ[1] @ linear(figures.PALETTE[name]) + 0.05) >= 3


def test_outlines_differ_in_dash_where_colours_are_close_for_a_deutan():
    for one, other in combinations(figures.LESION_INK.values(), 2):
        apart = np.linalg.norm(lab(one[0], "deutan") - lab(other[0], "deutan"))
        assert apart >= 25 or one[1] != other[1], (one, other)


def test_one_font_size_throughout():
    sizes = {v for k, v in figures.STYLE.items() if k.endswith(("size",)) and k not in ("figure.figsize", "lines.markersize")}
    assert sizes == {10}


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("HGN 1x", "1x"),
        ("HGN 0.5x", "0.5x"),
        ("HGN geometric", "fused"),
        ("HGN + PRN", "refined"),
        ("U-Net", "paper"),
        ("0.5×", "0.5x"),
        ("1x", "1x"),
    ],
)
def test_roles(name, role):
    assert figures.role_of(name) == role


# -- photographs -----------------------------------------------------------------------------------------------


def test_photograph_counts_its_lesions_and_zooms(scene):
    image, truth, _ = scene
    fov = np.ones(truth.shape, bool)
    fov[:, :3] = False
    figure = figures.photograph(image, {"MA": truth, "SE": ~fov}, fov, [(10, 20, 40), (40, 60, 40)], pixels_per_degree=20)
    assert isinstance(figure, Figure) and len(figure.axes) == 3
    assert legend(figure) == ["microaneurysms (2)", "soft exudates", "field of view"]
    assert figure.axes[1].images[0].get_array().shape == (40, 40, 3)
    assert np.array_equal(figure.axes[1].images[0].get_array(), image[10:50, 20:60])
    assert "1°" in texts(figure)


def test_a_large_photograph_is_shrunk_and_small_lesions_survive():
    image = np.full((2000, 3000, 3), 90, np.uint8)
    truth = np.zeros((2000, 3000), bool)
    truth[1000, 1500] = True
    assert figures.shrink(truth, 3, np.max).sum() == 1
    shown = figures.photograph(image, {"MA": truth}).axes[0]
    assert shown.images[0].get_array().shape == (666, 1000, 3)
    assert any(len(path.vertices) for c in shown.collections for path in c.get_paths())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image": np.zeros((4, 4), np.uint8)}, "uint8 RGB"),
        ({"image": np.zeros((4, 4, 3))}, "uint8 RGB"),
        ({"lesions": {"MA": np.zeros((3, 4), bool)}}, "mask of MA must have the image's height"),
        ({"lesions": {"XX": np.zeros((90, 120), bool)}}, "'XX'"),
        ({"fov": np.zeros((3, 4), bool)}, "fov"),
        ({"zooms": [(80, 0, 40)]}, "within the image of 90 x 120"),
    ],
)
def test_photograph_refuses(scene, change, words):
    with pytest.raises(ValueError, match=words):
        figures.photograph(**{"image": scene[0], **change})


def test_probability_overlay_shows_the_map_and_is_clear_where_nothing_is(scene):
    image, truth, probability = scene
    figure = figures.probability_overlay(image, probability, truth, [(0, 0, 60)])
    heat = figure.axes[0].images[1]
    assert np.allclose(heat.get_array(), probability)
    assert heat.get_alpha()[22, 32] == 1 and heat.get_alpha()[0, 0] < 0.1
    assert "probability of MA" in texts(figure)
    with pytest.raises(ValueError, match="probability must have"):
        figures.probability_overlay(image, probability[:-1])


def test_map_row_has_a_picture_for_each_map(scene):
    image, truth, probability = scene
    figure = figures.map_row(image, {"1x": probability, "0.5x": probability, "fused": probability}, truth)
    assert [ax.get_title(loc="left") for ax in figure.axes if ax.get_visible()] == ["photograph", "1x", "0.5x", "fused"]
    with pytest.raises(ValueError, match="at least one"):
        figures.map_row(image, {})


def test_error_colours_and_counts(scene):
    image, truth, probability = scene
    predicted = probability > 0.5
    predicted[0, :7] = True
    colours = figures.error_colours(image, predicted, truth)
    for (row, column), name in {(22, 32): "true positive", (0, 0): "false positive", (61, 81): "false negative"}.items():
        assert np.allclose(colours[row, column], np.array(to_rgb(figures.ERROR_INK[name])) * 255, atol=1)
    assert len(set(colours[89, 119])) == 1  # elsewhere grey
    assert legend(figures.error_map(image, predicted, truth)) == [
        "true positive (36 px)",
        "false positive (7 px)",
        "false negative (24 px)",
    ]


# -- patches ---------------------------------------------------------------------------------------------------


def test_patch_grid_frames_and_titles(rng):
    patches = rng.integers(0, 255, (5, 8, 8, 3), dtype=np.uint8)
    figure = figures.patch_grid(patches, [1, 0, 1, 0, 0], list("abcde"), columns=3)
    shown = [ax for ax in figure.axes if ax.get_visible()]
    assert len(shown) == 5 and [ax.get_title() for ax in shown] == list("abcde")
    assert to_rgb(shown[0].spines["top"].get_edgecolor()) == to_rgb(figures.PALETTE["MA"])
    assert shown[0].spines["top"].get_linestyle() != shown[1].spines["top"].get_linestyle()
    with pytest.raises(ValueError, match="labels must have 5 entries"):
        figures.patch_grid(patches, [1, 0])
    with pytest.raises(ValueError, match=r"\(N, S, S, 3\)"):
        figures.patch_grid(patches[0])


def test_patch_at_both_scales_shows_the_two_fields_of_one_pixel(scene):
    image, truth, _ = scene
    figure = figures.patch_at_both_scales(image, truth, image[::2, ::2], truth[::2, ::2], (42, 50), 16)
    surroundings, native, half = figure.axes
    assert [p.get_width() for p in surroundings.patches] == [16, 32]
    assert np.array_equal(native.images[0].get_array(), image[34:50, 42:58])
    assert np.array_equal(half.images[0].get_array(), image[::2, ::2][13:29, 17:33])
    assert legend(figure) == ["annotated MA"]
    with pytest.raises(ValueError, match="centre must lie 24 pixels"):
        figures.patch_at_both_scales(image, truth, image[::2, ::2], truth[::2, ::2], (2, 50), 16)


def test_lesion_sizes_prints_medians_and_fields(rng):
    areas = np.pi * np.array([4.0, 5.0, 6.0]) ** 2
    figure = figures.lesion_sizes(areas, areas * 4, {"1x": 33, "0.5x": 66})
    assert legend(figure) == [
        "real: 3 lesions, median 10.0 px",
        "phantom: 3 lesions, median 20.0 px",
        "receptive field 1x: 33 px",
        "receptive field 0.5x: 66 px",
    ]
    for bad in ({}, {"real_areas": []}, {"real_areas": [0.0]}):
        with pytest.raises(ValueError, match="above zero"):
            figures.lesion_sizes(**bad)


# -- curves ----------------------------------------------------------------------------------------------------


def test_precision_recall_prints_the_average_precision_given():
    recall, precision = np.array([0, 0.5, 1]), np.array([1, 0.8, 0.1])
    figure = figures.precision_recall(
        {"HGN 1x": (recall, precision, 0.4321), "HGN 0.5x": (recall[::-1], precision[::-1], 0.5)},
        {"HGN 1x": (0.5, 0.8), "paper, HGN 1x": (0.4626, 0.2970)},
        prevalence=0.001,
    )
    assert legend(figure) == ["HGN 1x: AP 0.432", "HGN 0.5x: AP 0.500", "paper, HGN 1x", "chance: AP 0.0010"]
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert np.array_equal(lines["HGN 0.5x: AP 0.500"].get_xdata(), recall)
    assert lines["HGN 1x: AP 0.432"].get_linestyle() != lines["HGN 0.5x: AP 0.500"].get_linestyle()
    assert to_rgb(lines["paper, HGN 1x"].get_color()) == to_rgb(figures.PALETTE["paper"])
    for bad in ((recall, precision[:2], 0), ([0, 1, 0.5], precision, 0), ([], [], 0)):
        with pytest.raises(ValueError, match="of x must"):
            figures.precision_recall({"x": bad})


def test_iso_f1_lines_have_the_f1_that_they_say():
    lines = figures.precision_recall({"1x": ([0, 1], [1, 0], 0.5)}).axes[0].lines
    for line, f1 in zip(lines, (0.2, 0.4, 0.6, 0.8)):
        recall, precision = line.get_data()
        assert np.allclose(2 * precision * recall / (precision + recall), f1)


def test_a_long_curve_is_thinned_and_keeps_its_ends():
    x = np.sort(np.random.default_rng(0).random(100_000))
    thin, y = figures.thin(x, x**2)
    assert len(thin) <= 1501 and thin[0] == x[0] and thin[-1] == x[-1] and np.array_equal(y, thin**2)


def test_a_plot_draws_into_the_axes_given():
    figure = Figure()
    ax = figure.subplots()
    assert figures.precision_recall({"1x": ([0, 1], [1, 0], 0.5)}, ax=ax) is figure and len(figure.axes) == 1


def test_a_notebook_does_not_crop_the_room_of_a_legend_away(scene):
    image, truth = scene[0], scene[1]
    figure = figures.map_row(image, {"1x": truth.astype(float)}, truth)
    figure.canvas.draw()
    whole = figure.get_tightbbox().bounds
    assert whole[2] >= figure.get_figwidth() and whole[3] >= figure.get_figheight()


def test_training_history_has_a_panel_for_each_quantity():
    steps = np.arange(5)
    figure = figures.training_history(steps, {"train": steps, "validation": steps}, {"AUC PR": steps / 5}, steps / 5)
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["loss", "metric", "active triplets"]
    assert legend(figure) == ["train", "validation", "AUC PR"]
    assert len(figures.training_history(steps, {"train": steps}).axes) == 1
    ours, theirs = figures.training_history(steps, {"0.5x": steps, "0.5x, IDRiD": steps}, metric="AP").axes[0].lines
    assert ours.get_color() == theirs.get_color() == figures.PALETTE["0.5x"] and ours.get_linestyle() != theirs.get_linestyle()
    with pytest.raises(ValueError, match="train must have 5 entries"):
        figures.training_history(steps, {"train": steps[:3]})


def test_froc_score_is_the_mean_at_the_seven_stops():
    false = 2.0 ** np.arange(-3, 4)
    assert legend(figures.froc({"HGN 1x": (false, np.arange(1, 8) / 10)})) == ["HGN 1x: score 0.400"]
    # A curve that begins at 3 false detections finds nothing at the five stops below.
    assert legend(figures.froc({"HGN 1x": ([3.0], [0.7])})) == ["HGN 1x: score 0.200"]
    with pytest.raises(ValueError, match="must rise"):
        figures.froc({"HGN 1x": ([2, 1], [0, 1])})


def test_reliability_error_weighs_by_count_and_drops_empty_bins():
    figure = figures.reliability({"1x": ([0.1, 0.5, 0.9], [0.2, np.nan, 0.5], [3, 0, 1])})
    assert "1x: calibration error 0.1750" in legend(figure)
    with pytest.raises(ValueError, match="no pixel in any bin"):
        figures.reliability({"1x": ([0.1], [0.1], [0])})


# -- triplets, sampling, embedding -----------------------------------------------------------------------------


def circle(degrees):
    return np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], axis=1)


def test_triplet_geometry_prints_distances_and_loss():
    before, after = circle([0, 180, 60]), circle([0, 60, 180])
    figure = figures.triplet_geometry(before, after, [1, 1, 0], (0, 1, 2), 0.5)
    assert [ax.get_xlabel() for ax in figure.axes] == [
        "to positive 2.00, to negative 1.00\nloss 1.50",
        "to positive 1.00, to negative 2.00\nloss 0.00",
    ]
    assert {"anchor", "positive", "negative"} <= set(texts(figure).split("\n"))
    assert legend(figure) == ["healthy (1)", "MA (2)", "margin 0.5"]
    with pytest.raises(ValueError, match="anchor, positive, negative"):
        figures.triplet_geometry(before, after, [1, 0, 0], (0, 1, 2), 0.5)
    with pytest.raises(ValueError, match="same points"):
        figures.triplet_geometry(before, after[:2], [1, 1, 0], (0, 1, 2), 0.5)


def test_effective_sample_size_of_uniform_and_of_one():
    assert np.allclose(curves.effective_sample_size([[1, 1, 1, 1], [0, 7, 0, 0], [1, 1, 0, 0]]), [4, 1, 2])


def test_sampler_concentration_draws_the_diagonal_for_uniform_sampling():
    figure = figures.sampler_concentration(np.array([np.ones(100), np.r_[np.ones(10), np.zeros(90)]]))
    uniform, concentrated = figure.axes[1].lines
    assert np.allclose(uniform.get_xdata(), uniform.get_ydata())
    assert np.interp(10, *concentrated.get_data()) == pytest.approx(100)
    assert np.allclose(figure.axes[2].lines[0].get_ydata(), [100, 10])
    assert legend(figure) == ["epoch 0", "epoch 1"]
    for bad, words in (
        (np.ones(3), r"\(E, N\)"),
        (-np.ones((2, 3)), "not negative"),
        (np.zeros((1, 3)), "positive sum"),
        (np.full((1, 3), np.nan), "finite"),
    ):
        with pytest.raises(ValueError, match=words):
            figures.sampler_concentration(bad)


def test_most_drawn_shows_the_heaviest_first():
    patches = np.arange(4, dtype=np.uint8)[:, None, None, None] * np.ones((1, 6, 6, 3), np.uint8)
    figure = figures.most_drawn(patches, [1, 5, 2, 0], count=2)
    assert [int(ax.images[0].get_array()[0, 0, 0]) for ax in figure.axes] == [1, 2]
    assert [ax.get_title() for ax in figure.axes] == ["2.5×", "1.0×"]


def test_embedding_scatter_counts_classes_errors_and_thumbnails(rng):
    points, labels = rng.normal(size=(40, 2)), np.arange(40) % 4 == 0
    thumbnails = rng.integers(0, 255, (40, 8, 8, 3), dtype=np.uint8)
    figure = figures.embedding_scatter(points, labels, thumbnails, np.arange(40) < 3, "a title")
    assert legend(figure) == ["healthy (30)", "MA (10)", "wrong (3)"]
    assert len(figure.findobj(mpl.offsetbox.OffsetImage)) == 24
    assert "a title" in texts(figure)
    with pytest.raises(ValueError, match=r"\(N, 2\)"):
        figures.embedding_scatter(points[:, :1], labels)
    with pytest.raises(ValueError, match="entries"):
        figures.embedding_scatter(points, labels[:-1])
    with pytest.raises(ValueError, match="thumbnails"):
        figures.embedding_scatter(points, labels, thumbnails[:-1])


def test_neighbours_are_framed_by_their_class(rng):
    patches = rng.integers(0, 255, (2, 3, 8, 8, 3), dtype=np.uint8)
    figure = figures.neighbours(patches[:, 0], [1, 0], patches, [[1, 0, 1], [0, 0, 1]], np.arange(6).reshape(2, 3) / 10)
    assert [ax.get_title() for ax in figure.axes] == ["query", "0.00", "0.10", "0.20", "query", "0.30", "0.40", "0.50"]
    frames = [to_rgb(ax.spines["left"].get_edgecolor()) == to_rgb(figures.PALETTE["MA"]) for ax in figure.axes]
    assert frames == [True, True, False, True, False, False, False, True]
    with pytest.raises(ValueError, match="found must be"):
        figures.neighbours(patches[:, 0], [1, 0], patches[:1], [[1, 0, 1]], [[1, 2, 3]])


# -- results ---------------------------------------------------------------------------------------------------


def test_table_intervals_prints_both_numbers_and_what_is_missing():
    figure = figures.table_intervals(
        [("HGN 1x", 0.3374, 0.3512, (0.28, 0.42)), ("HGN + PRN", None, 0.47, None), ("U-Net", None, None, None)],
        "AUC PR, validation",
    )
    words = texts(figure)
    for line in ("0.351  (paper 0.337)", "0.470  (paper not read)", "not run  (paper not read)", "AUC PR, validation"):
        assert line in words
    assert list(figure.axes[0].lines[0].get_xdata()) == [0.28, 0.42]
    with pytest.raises(ValueError, match="interval of HGN 1x"):
        figures.table_intervals([("HGN 1x", None, 0.5, (0.1, 0.2))])
    with pytest.raises(ValueError, match="at least one"):
        figures.table_intervals([])


def test_ablation_prints_means_and_differences():
    words = texts(figures.ablation({"full": [0.4, 0.5], "no triplet": [0.40]}, "full"))
    assert "0.450" in words and "0.400  (-0.050)" in words
    with pytest.raises(ValueError, match="baseline must be one of 'full'"):
        figures.ablation({"full": [1]}, "none")
    with pytest.raises(ValueError, match="'b' has none"):
        figures.ablation({"a": [1], "b": []}, "a")


# -- the diagram -----------------------------------------------------------------------------------------------


def test_pipeline_diagram_has_a_title_a_description_its_own_ground_and_every_stage():
    root = ElementTree.parse(Path(__file__).parents[2] / "book/_static/pipeline.svg").getroot()
    space = "{http://www.w3.org/2000/svg}"
    assert root.find(f"{space}title").text and len(root.find(f"{space}desc").text) > 100
    words = {t.text for t in root.iter(f"{space}text")}
    assert {
        "photograph",
        "HGN 1x",
        "HGN 0.5x",
        "fused map",
        "hypotheses",
        "PRN",
        "triplet loss",
        "selective sampling",
        "refined map",
    } <= words
    ground = root.find(f"{space}rect")
    width, height = map(float, root.get("viewBox").split()[2:])
    assert float(ground.get("width")) >= width - 2 and float(ground.get("height")) >= height - 2
    for role in ("1x", "0.5x", "fused", "refined", "MA", "healthy"):
        assert figures.PALETTE[role] in ElementTree.tostring(root, encoding="unicode")
