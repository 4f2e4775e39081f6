"""Files that people really have are read right, through the one reader of images and of masks."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from demask.data import open_images
from demask.data.color import to_8_bits
from demask.data.images import UnreadableImageError, read_image, read_mask_bytes
from demask.data.masks import read_mask

FIELD = Path(__file__).parents[1] / "field"


def read(name: str) -> np.ndarray:
    return np.asarray(read_image((FIELD / name).read_bytes(), name)).astype(int)


def mask(name: str) -> np.ndarray:
    return np.asarray(read_mask_bytes((FIELD / name).read_bytes(), name))


def encoded(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, options.pop("format", "PNG"), **options)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["plain.png", "white_on_transparent.png", "openai_hole.png"])
def test_a_mask_means_the_same_in_every_convention(name: str) -> None:
    expected = np.zeros((32, 32), np.uint8)
    expected[8:16, 8:16] = 255
    assert np.array_equal(mask(f"masks/{name}"), expected)


def test_a_mask_that_could_be_read_both_ways_is_refused() -> None:
    alpha = np.zeros((16, 16), np.uint8)
    alpha[4:8] = 255
    for grey in (0, 128):
        layer = Image.new("RGBA", (16, 16), (grey, grey, grey, 0))
        layer.putalpha(Image.fromarray(alpha))
        with pytest.raises(ValueError, match=r"hole\.png: it can be read in two ways; valid: "):
            read_mask_bytes(encoded(layer), "hole.png")
    empty = Image.new("RGBA", (16, 16), (255, 255, 255, 0))
    with pytest.raises(ValueError, match="two ways"):
        read_mask_bytes(encoded(empty), "empty.png")


def test_one_colour_with_a_hole_is_read_where_that_is_the_convention() -> None:
    layer = Image.new("RGBA", (16, 16), (0, 0, 0, 255))
    layer.paste((0, 0, 0, 0), (0, 0, 8, 16))
    with pytest.raises(ValueError, match="two ways"):
        read_mask(layer)
    assert np.asarray(read_mask(layer, prefer_hole=True))[:, :8].min() == 255
    strokes = Image.open(FIELD / "masks" / "white_on_transparent.png")
    assert np.array_equal(np.asarray(read_mask(strokes, prefer_hole=True)), mask("masks/plain.png"))


def test_a_mask_with_an_alpha_channel_that_is_opaque_is_black_and_white() -> None:
    opaque = Image.open(FIELD / "masks" / "plain.png").convert("RGBA")
    assert np.array_equal(
        np.asarray(read_mask_bytes(encoded(opaque), "opaque")), mask("masks/plain.png")
    )


def test_sixteen_bits_are_scaled_to_eight() -> None:
    assert np.array_equal(mask("images/mask16.png"), mask("images/mask8.png"))
    grey = read("images/grey16.png")
    raw = np.asarray(Image.open(FIELD / "images" / "grey16.png")).astype(float)
    assert np.abs(grey[..., 0] - raw / 257).max() <= 0.5
    assert np.array_equal(grey[..., 0], grey[..., 2])


@pytest.mark.parametrize("largest", [1.0, 255.0, 65535.0])
def test_floating_point_images_keep_their_range(largest: float) -> None:
    values = np.linspace(0, largest, 64, dtype=np.float32).reshape(8, 8)
    made = read_image(encoded(Image.fromarray(values), format="TIFF"), "float.tif")
    expected = np.linspace(0, 255, 64).reshape(8, 8)
    assert np.abs(np.asarray(made)[..., 0] - expected).max() <= 0.51


def test_floating_point_images_of_no_known_range_are_refused() -> None:
    for value in (-1.0, 1e6, float("nan")):
        bad = encoded(Image.fromarray(np.full((4, 4), value, np.float32)), format="TIFF")
        with pytest.raises(UnreadableImageError, match="floating-point"):
            read_image(bad, "bad.tif")


def test_a_colour_profile_is_applied() -> None:
    wide, srgb = read("profile/wide.png"), read("profile/srgb.png")
    assert np.abs(wide - srgb).max() <= 2
    unread = np.asarray(Image.open(FIELD / "profile" / "wide.png").convert("RGB")).astype(int)
    assert np.abs(unread - srgb).max() > 10  # the profile matters
    again = read_image((FIELD / "profile" / "wide.png").read_bytes(), "wide")
    assert "icc_profile" not in again.info


def test_a_broken_profile_is_ignored() -> None:
    plain = Image.open(FIELD / "images" / "rgb.png").convert("RGB")
    made = read_image(encoded(plain, icc_profile=b"no profile"), "broken")
    assert np.array_equal(np.asarray(made), np.asarray(plain))


def test_transparency_survives_a_profile_until_it_is_composed() -> None:
    wide = Image.open(FIELD / "profile" / "wide.png")
    layer = wide.convert("RGBA")
    layer.putalpha(0)
    made = read_image(encoded(layer, icc_profile=wide.info["icc_profile"]), "clear")
    assert np.asarray(made).min() == 255


@pytest.mark.parametrize(
    ("name", "turns"), [("exif6.jpg", -1), ("cmyk.jpg", 0), ("palette.png", 0)]
)
def test_other_modes_show_what_the_rgb_file_shows(name: str, turns: int) -> None:
    expected = np.rot90(read("images/rgb.png"), turns)
    assert np.abs(read(f"images/{name}") - expected).mean() < 16


def test_a_message_does_not_name_a_buffer() -> None:
    with pytest.raises(UnreadableImageError) as caught:
        read_image(b"no image", "bad.png")
    assert str(caught.value) == "bad.png: cannot identify image file"


def test_eight_bits_are_left_alone() -> None:
    image = Image.new("L", (2, 2), 7)
    assert to_8_bits(image) is image


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("hf_split", ["thing a", "thing b", "thing c"]),
        ("unicode_forms", ["coffee"]),
        ("double_ending", ["thing a.png", "thing b.png", "thing c.png"]),
        ("backslash", ["thing a", "thing b", "thing c"]),
    ],
)
def test_captions_as_other_programs_write_them(folder: str, expected: list[str]) -> None:
    images = open_images(FIELD / "captions" / folder)
    assert [images[i].captions[0] for i in range(len(images))] == expected


def test_a_table_in_each_folder(tmp_path: Path) -> None:
    for name in ("cats", "dogs"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (4, 4)).save(tmp_path / name / "1.png")
        (tmp_path / name / "metadata.csv").write_text(f"file_name,text\n1.png,one of the {name}\n")
    images = open_images(tmp_path)
    assert [images[i].captions for i in range(2)] == [("one of the cats",), ("one of the dogs",)]
    (tmp_path / "metadata.csv").write_text("file_name,text\ncats/1.png,a cat\ndogs/1.png,a dog\n")
    with pytest.raises(ValueError, match=r"another table has captions of cats/1\.png"):
        open_images(tmp_path)


def test_captions_in_two_text_files_are_refused(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "a.png.txt").write_text("other")
    with pytest.raises(ValueError, match=r"both hold captions of a\.png"):
        open_images(tmp_path)


@pytest.mark.parametrize("name", ["captions.json", "notes.txt"])
def test_a_file_that_may_hold_captions_is_named(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    open_images(tmp_path)
    assert not caplog.records
    (tmp_path / name).write_text("what?")
    open_images(tmp_path)
    assert name in caplog.text
