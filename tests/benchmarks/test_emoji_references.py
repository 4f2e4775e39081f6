"""The judge of generated emoji: what it takes for right and for wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from emoji_references import Measure, color_seen
from figures import COUNT, ZORP, plain_drawings, write_zorps, zorp, zorps
from PIL import Image
from torch import Tensor

from demask.data.composition.colors import NAMES, PALETTE, name_colors
from demask.data.composition.composed import open_composed
from demask.data.composition.recolor import main_color, recolor
from demask.data.composition.render import PLAIN, Placement, render
from demask.data.transforms import to_tensor
from drawn import ROWS, write_drawings

SIZE = 32


@pytest.fixture(scope="module")
def measure(tmp_path_factory: pytest.TempPathFactory) -> Measure:
    folder = tmp_path_factory.mktemp("drawings")
    write_drawings(folder)
    return Measure(open_composed(f"emoji:{folder},1").catalog, SIZE)


def pixels(image: Image.Image) -> Tensor:
    return to_tensor(image, SIZE).flatten()[None]


def number_of(measure: Measure, concept: str) -> int:
    return measure.catalog.of_concept[concept][0]


def recolored(
    measure: Measure, concept: str, color: str, placement: Placement = PLAIN
) -> Image.Image:
    rgba_HW4 = measure.catalog.drawings[number_of(measure, concept)].rgba()
    main = main_color(rgba_HW4)
    assert main is not None
    return render(recolor(rgba_HW4, main, color), placement)


def test_each_drawing_is_its_own_nearest(measure: Measure) -> None:
    for name, *_ in ROWS:
        image = render(measure.catalog.drawings[number_of(measure, name)].rgba(), PLAIN)
        distance_N, (found,) = measure.nearest(pixels(image))
        assert measure.shows(found, name)
        assert float(distance_N) < 0.01


def test_equal_drawings_have_both_names(measure: Measure) -> None:
    arrow, keycap = (number_of(measure, name) for name in ("right arrow", "keycap 1"))
    assert measure.shows(arrow, "keycap 1")
    assert measure.shows(keycap, "right arrow")
    assert not measure.shows(arrow, "car")


def test_a_thing_is_known_in_a_colour_that_no_drawing_has(measure: Measure) -> None:
    for concept, color in (("car", "purple"), ("ring", "yellow"), ("car", "pink")):
        image = recolored(measure, concept, color)
        assert color_seen(image) == color
        (found,) = measure.nearest_of_any_color(pixels(image), [color])[1]
        assert measure.shows(found, concept)
    image = recolored(measure, "ring", "purple")
    (found,) = measure.nearest_of_any_color(pixels(image), ["purple"])[1]
    assert not measure.shows(found, "car"), "another thing of that colour is another thing"


def test_the_colour_seen_is_that_of_the_thing_on_any_background(measure: Measure) -> None:
    rgba_HW4 = measure.catalog.drawings[number_of(measure, "car")].rgba()
    for background in ((255, 255, 255), (60, 130, 220), (30, 30, 34)):
        assert color_seen(render(rgba_HW4, Placement(scale=0.8), background)) == "red"
    assert color_seen(Image.new("RGB", (SIZE, SIZE), "white")) == "grey", "nothing is there"


def test_the_style_is_that_of_the_nearest_drawing(measure: Measure) -> None:
    image = render(measure.catalog.drawings[number_of(measure, "ring")].rgba(), PLAIN)
    assert measure.style_of(pixels(image)[0], "ring") == "noto"


def test_there_are_twelve_different_zorps_with_one_eye(tmp_path: Path) -> None:
    drawn = zorps()
    assert len(drawn) == COUNT == 12
    assert len({image.tobytes() for image in drawn}) == COUNT
    assert [image.tobytes() for image in zorps()] == [image.tobytes() for image in drawn]
    for image in drawn:
        assert color_seen(image) == "purple" == NAMES[int(name_colors(np.array(ZORP)))]
        border = np.asarray(image)[[0, -1]]
        assert border.min() > 250, "nothing is cut off"
    assert color_seen(zorp(3, PALETTE["green"])) == "green"
    write_zorps(tmp_path)
    assert len(list(tmp_path.glob("*.png"))) == len(list(tmp_path.glob("*.txt"))) == COUNT
    assert (tmp_path / "0.txt").read_text().splitlines()[0] == "a zorp"


def test_there_are_twelve_different_plain_drawings() -> None:
    things = plain_drawings()
    assert len(things) == 12
    image_NP = torch.cat([pixels(image) for image in things.values()])
    apart = torch.cdist(image_NP, image_NP) + 99 * torch.eye(12)
    assert float(apart.min()) > 3
