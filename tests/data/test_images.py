from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from demask.data.images import ImageSample, Subset, UnreadableImageError, read_image
from demask.fingerprint import fingerprint


def encoded(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("RGB", (1, 2, 3), (1, 2, 3)),
        ("L", 77, (77, 77, 77)),
        ("1", 1, (255, 255, 255)),
        ("RGBA", (255, 0, 0, 0), (255, 255, 255)),
        ("RGBA", (255, 0, 0, 255), (255, 0, 0)),
        ("LA", (0, 0), (255, 255, 255)),
        ("I;16", 65535, (255, 255, 255)),
        ("I;16", 257 * 10, (10, 10, 10)),
    ],
)
def test_every_mode_becomes_rgb_on_white(mode: str, colour: object, expected: tuple) -> None:
    image = read_image(encoded(Image.new(mode, (3, 2), colour)), "x")
    assert image.mode == "RGB"
    assert image.size == (3, 2)
    assert image.getpixel((2, 1)) == expected


def test_half_transparent_is_half_white() -> None:
    red, green, blue = read_image(encoded(Image.new("RGBA", (1, 1), (0, 0, 0, 128))), "x").getpixel(
        (0, 0)
    )
    assert red == green == blue == pytest.approx(127, abs=1)


def test_a_palette_with_a_transparent_colour() -> None:
    image = Image.new("P", (2, 1), 0)
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((1, 0), 1)
    rgb = read_image(encoded(image, transparency=0), "x")
    assert [rgb.getpixel((x, 0)) for x in range(2)] == [(255, 255, 255), (0, 255, 0)]


def test_a_turned_photo_stands_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    buffer = io.BytesIO()
    Image.new("RGB", (8, 4)).save(buffer, "JPEG", exif=exif)
    assert read_image(buffer.getvalue(), "x").size == (4, 8)


def test_broken_bytes_name_the_image() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    whole = encoded(Image.fromarray(noise))
    for data in (b"", None, b"no image", whole[: len(whole) // 2], whole[:20]):
        with pytest.raises(UnreadableImageError, match=r"^cat\.png: "):
            read_image(data, "cat.png")


def test_a_decompression_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(Image.new("RGB", (40, 40)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(UnreadableImageError, match=r"bomb\.png: .*pixels"):
        read_image(data, "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1600)
    assert read_image(data, "bomb.png").size == (40, 40)


@dataclass(frozen=True)
class Numbers:
    """Images whose label is their index."""

    count: int
    class_names: tuple[str, ...] = ("a", "b")
    fingerprint: str = "numbers"

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> ImageSample:
        return ImageSample(Image.new("RGB", (1, 1)), index, str(index))


def test_a_subset_keeps_the_order_of_its_indices() -> None:
    subset = Subset(Numbers(10), [7, 2])
    assert [subset[i].label for i in range(len(subset))] == [7, 2]
    assert subset.class_names == ("a", "b")
    assert subset.fingerprint != Subset(Numbers(10), [2, 7]).fingerprint
    assert subset.fingerprint == Subset(Numbers(10), (7, 2)).fingerprint


def test_fingerprints_tell_where_a_part_ends() -> None:
    assert fingerprint("ab", "c") != fingerprint("a", "bc")
    assert fingerprint("a", 1) == fingerprint("a", 1)
