"""Images composed of drawings: what is done to each, what captions say, and what is kept back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from demask.data import open_images
from demask.data.composition import composed, drawings, plan, rules
from demask.data.composition.colors import (
    BACKGROUNDS,
    NAMES,
    PALETTE,
    dominant_color,
    name_colors,
    without_color,
)
from demask.data.composition.composed import ComposedImages
from demask.data.composition.drawings import Drawing
from demask.data.composition.plan import Plan
from demask.data.composition.recolor import main_color, recolor
from demask.data.composition.render import PLAIN, Placement, fitting_scale, render
from demask.data.composition.words import Wording, colored
from demask.data.images import read_image
from drawn import PEBBLES, ROWS, car, png, row, write, write_drawings

COPIES = 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("drawings")
    write_drawings(root)
    return root


@pytest.fixture(scope="module")
def images(folder: Path) -> ComposedImages:
    opened = open_images(f"emoji:{folder},{COPIES}")
    assert isinstance(opened, ComposedImages)
    return opened


Planned = list[tuple[int, Drawing, Plan]]


@pytest.fixture(scope="module")
def planned(images: ComposedImages) -> Planned:
    """The images of all concepts but pebbles, and what is done to each."""
    return plans(images)


def plans(images: ComposedImages) -> Planned:
    found = ((i, *images.plan_of(i)) for i in interesting(images))
    return [(index, drawing, made) for index, drawing, _, made in found]


def interesting(images: ComposedImages) -> list[int]:
    """The images of all concepts but pebbles."""
    everything = range(len(images))
    concept = [images.catalog.drawings[images.source_of(i)[0]].concept for i in everything]
    return [i for i in everything if not concept[i].startswith("pebble")]


def seen_color(image: Image.Image) -> str:
    """The dominant colour of what differs from the border."""
    pixels = np.asarray(image, np.int16)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    mask = np.abs(pixels - np.median(border, 0)).max(-1) > 20
    return dominant_color(pixels[mask], np.ones(mask.sum()))


def test_an_image_is_a_function_of_its_index(folder: Path, images: ComposedImages) -> None:
    again = open_images(f"emoji:{folder},{COPIES}")
    assert again.fingerprint == images.fingerprint
    chosen = interesting(images)[::11]
    there = {i: images[i] for i in chosen}
    for index in reversed(chosen):
        other = again[index]
        assert other.captions == there[index].captions
        assert other.image.tobytes() == there[index].image.tobytes()
    assert len({p.image.tobytes() for p in there.values()}) > len(there) / 2
    fewer = open_images(f"emoji:{folder},2")
    assert fewer.fingerprint != images.fingerprint
    last = len(fewer) - 1
    assert fewer[last].captions == images[last].captions
    assert fewer[last].image.tobytes() == images[last].image.tobytes()


def test_copy_0_is_the_plain_drawing(images: ComposedImages) -> None:
    for index, number in enumerate(images.first[:40]):
        drawing = images.catalog.drawings[number]
        assert images.source_of(index) == (number, 0)
        assert images[index].image.tobytes() == read_image(drawing.data, "").tobytes()
        assert images[index].captions[0].split(",")[0] == drawing.concept


def test_variants_have_only_their_plain_copy(images: ComposedImages) -> None:
    variants = sum(d.variant for d in images.catalog.drawings)
    assert variants == 2
    assert len(images) == len(images.first) * COPIES - variants * (COPIES - 1)
    sources = [images.source_of(index) for index in range(len(images))]
    copies = {(n, copy) for n in images.changed for copy in range(COPIES)}
    assert set(sources) == copies | {(n, 0) for n in images.first}
    assert len(set(sources)) == len(sources)
    with pytest.raises(IndexError):
        images[len(images)]


def test_captions_name_the_colour_that_the_pixels_have(
    images: ComposedImages, planned: Planned
) -> None:
    changed, said = 0, 0
    for index, _, made in planned:
        if made.wording.color is None:
            continue
        image = images[index]
        changed, said = changed + (made.color is not None), said + 1
        assert seen_color(image.image) == made.wording.color, image.captions
        assert all(made.wording.color in caption for caption in image.captions)
    assert changed > 60
    assert said > changed


def test_captions_name_the_background(images: ComposedImages, planned: Planned) -> None:
    backgrounds = set()
    for index, _, made in planned:
        image = images[index]
        corner = np.asarray(image.image)[0, 0]
        name = NAMES[int(name_colors(corner))]
        assert name == (made.wording.background or "white")
        for caption in image.captions:
            assert (" background" in caption) == (made.wording.background is not None)
            assert made.wording.background is None or f"{name} background" in caption
        backgrounds.add(name)
    assert len(backgrounds) == len(BACKGROUNDS) + 1


def test_all_captions_of_an_image_say_the_same_of_it(
    images: ComposedImages, planned: Planned
) -> None:
    for index, drawing, made in planned[::5]:
        names = images.catalog.names[drawing.concept]
        assert names[0] == drawing.concept
        assert images[index].captions == tuple(made.wording.say(name) for name in names)


def test_half_of_the_captions_name_the_style(planned: Planned) -> None:
    captions = [made.wording.say(drawing.concept) for _, drawing, made in planned]
    named = [c for c in captions if c.endswith(" style")]
    assert 0.4 < len(named) / len(captions) < 0.6
    assert {c.split(", ")[1] for c in named} == {"noto style", "flat style", "twemoji style"}


def colors_said(planned: Planned) -> set[tuple[str, str]]:
    """All pairs of a thing and a colour that captions name."""
    return {(without_color(d.concept), p.wording.color) for _, d, p in planned if p.wording.color}


def test_held_out_pairs_never_occur(
    folder: Path, images: ComposedImages, planned: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = {(pair.thing, pair.color) for pair in images.catalog.held_out_pairs()}
    assert held
    assert not held & colors_said(planned)
    for pair in images.catalog.held_out_pairs():
        assert pair.prompt == colored(pair.concepts[0], pair.color)
    monkeypatch.setattr(composed, "HELD_OUT_PAIRS", 0.0)
    unkept = open_images(f"emoji:{folder},{COPIES}")
    assert held <= colors_said(plans(unkept)), "they would have occurred"


def test_a_colour_that_a_thing_has_by_nature_is_not_given_to_it(
    images: ComposedImages, planned: Planned
) -> None:
    assert images.catalog.natural_colors("apple") == {"red", "green"}
    said = {color for thing, color in colors_said(planned) if thing == "apple"}
    assert "purple" in said or "blue" in said
    assert not said & {"red", "green"}


def test_held_out_aliases_never_occur(images: ComposedImages, planned: Planned) -> None:
    held = images.catalog.held_out_aliases
    assert len(held) == 1  # a tenth of eleven
    concept, alias = held[0]
    assert alias not in images.catalog.names[concept]
    several = [images[i].captions for i, d, _ in planned if d.concept == concept]
    assert len(several) > COPIES
    assert not any(alias in caption for captions in several for caption in captions)


def test_held_out_drawings_are_another_source(folder: Path, images: ComposedImages) -> None:
    held = open_images(f"emoji:{folder},held-out")
    assert 0 < len(held) < 10
    assert not set(held.first) & set(images.first)
    assert len(held.first) + len(images.first) == 2 * (len(ROWS) + PEBBLES)
    for number in held.first:
        assert held.catalog.drawings[number].style == "twemoji", "each concept keeps its first"
    assert not any("background" in held[i].captions[0] for i in range(len(held)))


def test_only_what_stays_the_same_thing_is_mirrored_tilted_or_recoloured(planned: Planned) -> None:
    done: dict[str, set[str]] = {}
    for _, drawing, made in planned:
        kinds = done.setdefault(drawing.concept, set())
        kinds |= {"mirrored"} if made.placement.mirrored else set()
        kinds |= {"tilted"} if made.placement.degrees else set()
        kinds |= {"recoloured"} if made.color else set()
        said = {word for word in ("mirrored", "tilted") if word in made.wording.adjectives}
        assert said == kinds & said
        assert ("mirrored" in said) == made.placement.mirrored
        assert ("tilted" in said) == bool(made.placement.degrees)
    assert done["car"] == {"mirrored", "tilted", "recoloured"}
    assert done["ladder"] == {"mirrored", "tilted"}, "grey has no hue to change"
    assert done["raised hand"] == {"tilted"}
    assert done["raised hand light skin tone"] == set()
    assert done["right arrow"] == set()
    assert done["keycap 1"] == set()


@pytest.mark.parametrize(
    "name",
    [
        "keycap 5",
        "right arrow",
        "left arrow curving right",
        "waving hand",
        "backhand index pointing left",
        "rightwards hand",
        "raised fist",
        "crossed flags",
        "three o\u2019clock",
        "two thirty",
        "alarm clock",
        "musical note",
        "input latin letters",
        "woman running facing right",
        "hundred points",
        "newspaper",
        "magnifying glass tilted left",
        "waxing crescent moon",
        "ok button",
        "b button (blood type)",
        "calendar",
        "dollar banknote",
        "flag france",
        "registered",
        "hospital",
        "open book",
    ],
)
def test_what_has_a_direction_or_a_text_is_never_mirrored(name: str) -> None:
    assert not rules.mirrors(name)


@pytest.mark.parametrize("name", ["rocket", "fish", "teapot", "automobile", "elephant", "banana"])
def test_things_may_be_mirrored_and_recoloured(name: str) -> None:
    assert rules.mirrors(name)
    assert rules.recolors(name)


@pytest.mark.parametrize(
    "name",
    [
        "grinning face",
        "man cook",
        "waving hand",
        "rainbow flag",
        "keycap 5",
        "stop sign",
        "ok button",
        "family man boy",
        "warning",
        "aries",
        "sunrise over mountains",
        "left arrow",
        "leafy green",
    ],
)
def test_people_flags_and_signs_keep_their_colours(name: str) -> None:
    assert not rules.recolors(name)


def test_people_are_told_by_their_variants(images: ComposedImages) -> None:
    assert images.catalog.people == {"raised hand"}
    several = [("cook medium light skin tone", True), ("cook", False), ("pan", False)]
    assert rules.people(several) == {"cook"}


def test_each_drawing_is_tried_once_when_it_is_opened(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def counted(data: bytes, name: str) -> Image.Image:
        tried.append(name)
        return read_image(data, name)

    monkeypatch.setattr(drawings, "read_image", counted)
    opened = open_images(f"emoji:{folder},50")
    assert len(tried) == len(opened.catalog.drawings) < len(opened) / 40


def test_broken_drawings_are_left_out(
    tmp_path: Path, encode: Callable[..., bytes], caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = row("car", [], png(car("red")), False), row("bus", [], encode()[:30], False)
    write(tmp_path / "own-set/a.parquet", [good, bad])
    opened = open_images(f"emoji:{tmp_path},3")
    assert "1 of 2 images can't be read" in caplog.text
    assert len(opened) == 3
    assert opened.catalog.drawings[0].style == "own"
    with pytest.raises(ValueError, match=r"unreadable image a.parquet\[1\]"):
        open_images(f"emoji:{tmp_path},3", strict=True)


def test_mistakes_are_named(tmp_path: Path, folder: Path, encode: Callable[..., bytes]) -> None:
    for source in ("emoji:", f"emoji:{folder}", f"emoji:{folder},many", f"emoji:{folder},-1"):
        with pytest.raises(ValueError, match="valid: emoji:FOLDER,COPIES to train on"):
            open_images(source)
    with pytest.raises(ValueError, match="the number of copies must be at least 1, not 0"):
        open_images(f"emoji:{folder},0")
    with pytest.raises(ValueError, match="no such path"):
        open_images(f"emoji:{tmp_path}/none,2")
    pq.write_table(pa.table({"image": [{"bytes": encode()}]}), tmp_path / "no_names.parquet")
    with pytest.raises(ValueError, match="no parquet file with drawings"):
        open_images(f"emoji:{tmp_path},2")
    with pytest.raises(ValueError, match="has no column 'text'; it has: image"):
        open_images(f"emoji:{tmp_path}/no_names.parquet,2")


def test_colours_are_called_by_their_names() -> None:
    for name, color in PALETTE.items():
        assert NAMES[int(name_colors(np.array(color)))] == name
    for name, shades in BACKGROUNDS.items():
        assert {NAMES[int(name_colors(np.array(shade)))] for shade in shades} == {name}


@pytest.mark.parametrize("color", [c for c in PALETTE if c != "red"])
def test_recolouring_keeps_shading_highlights_and_other_colours(color: str) -> None:
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[..., 3] = 255
    pixels[:, :6, :3] = (220, 40, 40)
    pixels[1, :6, :3] = (150, 25, 25)  # a shadow
    pixels[0, 0, :3] = (255, 255, 255)  # a highlight
    pixels[:, 6, :3] = (40, 90, 220)
    pixels[:, 7, :3] = (128, 128, 128)
    pixels[7, 0, 3] = 90
    main = main_color(pixels)
    assert main is not None
    assert main.dominates
    made = recolor(pixels, main, color)
    assert (made[..., 3] == pixels[..., 3]).all()
    assert (made[:, 6:] == pixels[:, 6:]).all()
    assert (made[0, 0] == pixels[0, 0]).all()
    assert np.abs(made[4, 2, :3].astype(int) - PALETTE[color]).max() <= 8
    assert made[1, 2, :3].astype(int).sum() < made[4, 2, :3].astype(int).sum()


def test_transparent_pixels_never_show_as_a_rim() -> None:
    pixels = np.zeros((32, 32, 4), np.uint8)  # black where transparent
    pixels[8:24, 8:24] = (255, 255, 255, 255)
    for placement in (PLAIN, Placement(degrees=12, scale=0.8), Placement(mirrored=True, right=0.1)):
        assert np.asarray(render(pixels, placement)).min() >= 254


def test_a_mirror_image_is_one(images: ComposedImages) -> None:
    pixels = images.catalog.drawings[0].rgba()
    plain, mirrored = (np.asarray(render(pixels, Placement(mirrored=m))) for m in (False, True))
    assert (mirrored == plain[:, ::-1]).all()
    assert (mirrored != plain).any()


@pytest.mark.parametrize("degrees", [-15.0, 7.0, 15.0])
def test_a_tilted_drawing_is_not_cut_off(degrees: float) -> None:
    pixels = np.full((64, 64, 4), 255, np.uint8)
    pixels[..., :3] = 0
    scale = fitting_scale(pixels[..., 3], degrees)
    image = np.asarray(render(pixels, Placement(degrees=degrees, scale=scale))).astype(float) / 255
    covered = (1 - image[..., 0]).sum() / 64**2
    assert covered == pytest.approx(scale**2, rel=0.01)
    assert fitting_scale(pixels[..., 3], 0.0) == pytest.approx(1, abs=0.011)


def test_a_small_drawing_stays_inside_wherever_it_stands(planned: Planned) -> None:
    moved = 0
    for _, drawing, made in planned:
        if made.wording.place is None:
            continue
        moved, rgba_HW4 = moved + 1, drawing.rgba()
        area = (np.asarray(render(rgba_HW4, made.placement)) < 250).any(-1).sum()
        whole = (rgba_HW4[..., 3] > 0).sum() * made.placement.scale**2
        assert area > 0.93 * whole, made
        x, y = plan.PLACES[made.wording.place]
        assert np.sign([made.placement.right, made.placement.down]).tolist() == [x, y]
    assert moved > 25


def test_words_stand_in_their_order() -> None:
    wording = Wording(("small", "tilted"), "green", "on the left", "orange", "flat")
    expected = "small tilted green car on the left on an orange background, flat style"
    assert wording.say("red car") == expected
    assert Wording().say("red car") == "red car"
    assert colored("light blue heart", "red") == "red heart"
    assert colored("two hearts", "purple") == "two purple hearts"
    assert colored("orange", "blue") == "blue orange", "the fruit"
