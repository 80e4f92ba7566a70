"""Tests of maa.segmentation.summary: a page that stands alone, escapes what it is given and stays small, and one picture of all."""

import io
import re
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from maa.inference import FULL_SCALE
from maa.segmentation import OUTLINE, Segmentation
from maa.segmentation.summary import CROPS, FEW, Entry, contact_sheet, entry, fitting, font, page, ringed, sizes

NASTY = "<script>alert('1')</script> \"Müller\" & 100%#?"


def segmentation(name="eye", spots=3, warnings=(), shape=(300, 400)):
    probability = np.zeros(shape, np.uint16)
    for spot in range(spots):
        probability[20 + 40 * spot : 26 + 40 * spot, 2:8] = FULL_SCALE - 1000 * spot
    image = np.full((*shape, 3), (150, 80, 40), np.uint8)
    return Segmentation(name, image, np.ones(shape, bool), probability, "prn_full", 0.5, warnings=tuple(warnings))


def drawn(name="eye", spots=3, warnings=(), many=1):
    return entry(segmentation(name, spots, warnings), f"{name}.jpg", f"{name}_overlay.jpg", *sizes(many))


class Reader(HTMLParser):
    """What a page holds: its elements with their attributes, and its text."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.text, self.sentences = [], [], "", []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.open += [] if tag in ("img", "input", "meta") else [tag]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data
            self.sentences += [" ".join(data.split())] if data.strip() else []

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def read():
    entries = [drawn(NASTY, 6, ["Out of focus: <b>x</b>."]), drawn("clean", 0)]
    return Reader(page(entries, {"Weights": "<i>mine</i>"}, ["bad & worse.jpg is no image."], ["Passed over."]))


def test_page_is_well_formed_and_says_what_it_has_to(read):
    assert read.open == []
    for words in ("6 lesions in 2 photographs", "no diagnosis", "Out of focus: <b>x</b>.", "<i>mine</i>", "Passed over.",
                  "bad & worse.jpg is no image.", "1 of 2 photographs carries a warning", NASTY):  # fmt: skip
        assert words in read.text, words


def test_page_reads_from_top_to_bottom(read):
    found = "6 lesions in 2 photographs"
    assert read.sentences == [
        f"{found}, found by maa", found, "For research and teaching only. This is no diagnosis and no medical device. What is marked may be no lesion, and what is not "
        "marked may be one.",
        "1 of 2 photographs carries a warning.", "1 could not be used: see the end of the page.",
        "What was run", "Weights", "<i>mine</i>",
        "All photographs", "photograph", "lesions", "highest score", "warnings", NASTY, "6", "1.00", "1", "clean", "0", "none", "none",
        "A", "lesion", "is a connected group of pixels whose probability reaches the threshold; its", "score",
        "is the highest probability in it. Beside this page:", "lesions.csv", ", one row a lesion;", "photographs.csv",
        ", one row a photograph;", "contact_sheet.jpg",
        ", all overlays in one picture; and for each photograph its overlay, mask and probability map at full size.",
        "What is known of the networks' errors, and the limits of the warnings, were measured on photographs of one camera and one clinic "
        "(IDRiD: Kowa VX-10 alpha, 50 degrees); for other cameras no figure is known.",
        "One by one", NASTY, "6 lesions", "Warning", "Out of focus: <b>x</b>.", "The most probable, with their scores:",
        "1.00", "0.98", "0.97", "0.95", f"File: {NASTY}.jpg", "clean", "0 lesions",
        "What could not be used", "bad & worse.jpg is no image.", "Notes", "Passed over.",
    ]  # fmt: skip


def test_page_escapes_names_and_links_to_the_overlays(read):
    assert read.all("script") == read.all("b") == read.all("i") == []
    links = [unquote(link["href"]) for link in read.all("a")]
    assert f"{NASTY}_overlay.jpg" in links and "clean_overlay.jpg" in links
    anchors = {link[1:] for link in links if link.startswith("#")}
    assert anchors == {section["id"] for section in read.all("section")} == {"photograph-1", "photograph-2"}


def test_page_needs_no_network_and_every_picture_has_an_alternative_text(read):
    pictures = read.all("img")
    assert len(pictures) == 2 + CROPS
    assert all(picture["src"].startswith("data:image/jpeg;base64,") and picture["alt"] for picture in pictures)
    assert "no lesion marked" in pictures[-1]["alt"] and "row" in pictures[1]["alt"]
    assert not [link for link in read.all("a") if re.match("[a-z]+:", link["href"])]
    assert not read.all("link")


def luminance(colour):
    channels = (
        [int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)] if len(colour) == 6 else [int(c * 2, 16) / 255 for c in colour]
    )
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_colours_of_both_themes_can_be_read():
    themes = re.findall(r":root \{([^}]*)\}", page([], {}, [], []))
    assert len(themes) == 3
    for theme in themes:
        value = {name: luminance(colour) for name, colour in re.findall(r"--(\w+): #(\w+)", theme)}
        for front, back in (("text", "page"), ("text", "card"), ("soft", "page"), ("soft", "card"), ("link", "page"), ("link", "card"),
                            ("warn", "warnbg"), ("text", "warnbg")):  # fmt: skip
            light, dark = sorted((value[front], value[back]), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (front, back)


def test_crops_are_the_most_probable_lesions_centred_even_at_the_frame():
    crops = drawn(spots=6).crops
    assert len(crops) == CROPS
    scores = [float(re.search(r"score ([\d.]+)", words)[1]) for words, _ in crops]
    assert scores == sorted(scores, reverse=True) and scores[0] == 1
    square = np.asarray(Image.open(io.BytesIO(crops[0][1])))
    side = square.shape[0]
    assert square.shape[:2] == (112, 112)
    assert square[: side // 3, : side // 4].max() < 40, "beyond the frame it is black"
    assert square[side // 2, side // 2].max() > 100


def test_thumbnail_has_a_ring_around_each_lesion():
    found = segmentation(spots=2)
    picture = np.asarray(ringed(found, 200)).astype(int)
    cyan = np.abs(picture - OUTLINE).sum(axis=2) < 30
    assert picture.shape == (150, 200, 3)
    assert cyan[5:18, 0:9].any() and cyan[25:38, 0:9].any() and not cyan[60:].any()


def test_pictures_are_smaller_where_there_are_many():
    assert sizes(FEW) > sizes(FEW + 1)
    rng = np.random.default_rng(0)
    noisy = segmentation(shape=(600, 800))
    noisy.image[:] = rng.normal(100, 12, noisy.image.shape).clip(0, 255)  # harder to compress than any retina
    for many, kilobytes in ((1, 130), (1000, 40)):
        one = entry(noisy, "a.jpg", "a_overlay.jpg", *sizes(many))
        assert len(page([one], {}, [], [])) - len(page([], {}, [], [])) < 1000 * kilobytes


@pytest.mark.parametrize("count", [1, 2, 7, 101])
def test_contact_sheet_shows_every_photograph(count):
    shown = [drawn(f"photograph number {number}", 1, ["Too dark."] * (number == 0), count) for number in range(min(count, 7))]
    sheet = np.asarray(contact_sheet((shown * count)[:count]))
    retina = (np.abs(sheet.astype(int) - (150, 80, 40)).sum(axis=2) < 20).sum()
    cell = 320 if count <= FEW else 200
    assert retina > 0.9 * count * cell * cell * 0.75
    assert sheet.shape[1] < 4 * sheet.shape[0] + 640


def test_long_names_are_cut_in_the_middle():
    face = font(20)
    name = "a very long name of a photograph, as they come from a hospital's archive, right"
    cut = fitting(name, face, 300)
    assert face.getlength(cut) <= 300 and cut.startswith("a very") and cut.endswith("right") and "…" in cut
    assert fitting("short", face, 300) == "short"


def test_an_entry_forgets_the_photograph():
    fields = {type(value) for value in vars(drawn()).values()}
    assert fields <= {str, int, float, tuple, bytes} and Entry.__annotations__
