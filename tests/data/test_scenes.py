"""Scenes as a source of images."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

from demask.data import open_images
from demask.data.scenes import SceneImages
from demask.scenes import draw, sample
from demask.scenes.vocabulary import KINDS, SHAPES


def image_bytes(index: int) -> bytes:
    """An image of a source opened in whatever process this runs in."""
    return open_images("scenes:1000000000,50")[index].image.tobytes()


def test_image_i_is_that_of_seed_plus_i() -> None:
    images = open_images("scenes:40,30")
    assert len(images) == 30
    drawn = sample(67)
    image = images[27]
    assert np.array_equal(np.asarray(image.image), draw(drawn.scene))
    assert image.captions == drawn.captions
    assert images.class_names == KINDS
    assert KINDS[image.label] == drawn.requirement.kind
    assert image.name == "scenes:67"
    with pytest.raises(IndexError, match="30 of 30"):
        images[30]


def test_another_process_sees_the_same() -> None:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        there = list(pool.map(image_bytes, (3, 1)))
    assert there == [image_bytes(3), image_bytes(1)]


def test_the_class_is_the_shape_of_every_object() -> None:
    order = SHAPES[::-1]
    plain, renamed = (
        open_images("scenes_classes:0,20", class_names=names) for names in (None, order)
    )
    assert plain.class_names == SHAPES
    assert renamed.class_names == order
    for first, second in zip(plain, renamed, strict=True):
        assert SHAPES[first.label] == order[second.label]
        assert first.captions == ()


def test_nothing_is_tried_at_opening(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: SceneImages, index: int) -> None:
        raise AssertionError(f"scene {index} was drawn")

    monkeypatch.setattr(SceneImages, "__getitem__", refuse)
    assert len(open_images("scenes:0,200000", strict=True)) == 200000


def test_fingerprints() -> None:
    sources = ["scenes:0,10", "scenes:1,10", "scenes:0,11", "scenes_unseen:0,10"]
    sources.append("scenes_classes:0,10")
    assert len({open_images(source).fingerprint for source in sources}) == len(sources)
    assert open_images(sources[0]).fingerprint == open_images(sources[0]).fingerprint


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("scenes:", "valid: scenes:SEED,COUNT"),
        ("scenes:5", "valid: scenes:SEED,COUNT"),
        ("scenes:-1,5", "valid: scenes:SEED,COUNT"),
        ("scenes_unseen:0,1,2", "valid: scenes_unseen:SEED,COUNT"),
        ("scenes:0,0", "at least one scene"),
        ("scenes:999999999,2", "0 to 999999999 .training."),
        ("scenes:3000000000,1", "2000000000 to 2999999999 .held out."),
        ("scenes_of:0,5", "no such path"),
    ],
)
def test_bad_sources_are_refused(source: str, line: str) -> None:
    with pytest.raises(ValueError, match=line):
        open_images(source)
    assert len(open_images("scenes:999999999,1")) == 1


def test_columns_and_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="no caption columns"):
        open_images("scenes:0,5", caption_columns=["text"])
    with pytest.raises(ValueError, match="class"):
        open_images("scenes_classes:0,5", class_names=["circle"])
