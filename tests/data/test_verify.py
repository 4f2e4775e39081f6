from __future__ import annotations

import logging
from dataclasses import dataclass

import pytest
from PIL import Image

from demask.data.images import ImageSample, UnreadableImageError
from demask.data.verify import verify


@dataclass(frozen=True)
class Fragile:
    """Images of which some can't be read; the label is the index."""

    count: int
    bad: frozenset[int]
    class_names: tuple[str, ...] = ()
    fingerprint: str = "fragile"

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> ImageSample:
        if index in self.bad:
            raise UnreadableImageError(f"{index}.png: empty")
        return ImageSample(Image.new("RGB", (1, 1)), index, f"{index}.png")


def test_good_images_pass_as_they_are() -> None:
    images = Fragile(5, frozenset())
    assert verify(images) is images


def test_bad_images_are_skipped_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    done: list[int] = []
    with caplog.at_level(logging.WARNING):
        good = verify(Fragile(1500, frozenset({0, 3, 4, 1499})), progress=done.append)
    assert [good[i].label for i in range(4)] == [1, 2, 5, 6]
    assert len(good) == 1496
    assert done == [1024, 1500]
    (message,) = caplog.messages
    assert message.startswith("4 of 1500 images can't be read and are skipped: 0.png: empty; ")
    assert message.endswith("; 4.png: empty; ...")


def test_strict_refuses_the_first_bad_one() -> None:
    with pytest.raises(ValueError, match="unreadable image 2.png: empty"):
        verify(Fragile(9, frozenset({2, 7})), strict=True)


def test_only_bad_images_are_an_error() -> None:
    with pytest.raises(ValueError, match="none of the 2 images can be read: 0.png: empty"):
        verify(Fragile(2, frozenset({0, 1})))
