"""`demask inpaint` and `demask outpaint`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from demask.cli.inpaint import draw_box


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image.convert("RGB"))


def test_a_box_and_its_mask_generate_the_same(
    run: Callable, model: str, photo: Path, tmp_path: Path
) -> None:
    mask = Image.new("L", (24, 16), 0)
    mask.paste(255, (0, 0, 8, 8))
    mask.save(tmp_path / "mask.png")
    areas = {"box": ["--box", "0,0,8,8"], "mask": ["--mask", tmp_path / "mask.png"]}
    for name, area in areas.items():
        words = ["inpaint", "--model", model, "--image", photo, "--class", "cat", "-n", 2]
        result = run(*words, *area, "--steps", 4, "--out", tmp_path / name)
        assert result.exit_code == 0, result.stderr
        assert result.stdout == f"2 images in {tmp_path / name}\n"
        assert (tmp_path / name / "contact_sheet.png").exists()
    before, after = pixels(photo), pixels(tmp_path / "box/000001.png")
    np.testing.assert_array_equal(after, pixels(tmp_path / "mask/000001.png"))
    np.testing.assert_array_equal(after[:, 16:], before[:, 16:])
    assert (after[:8, :8] != before[:8, :8]).any()


def test_transparency_outside_the_box_is_kept(run: Callable, model: str, tmp_path: Path) -> None:
    image = Image.new("RGBA", (16, 16), (10, 200, 30, 255))
    image.paste((90, 0, 250, 0), (8, 0, 16, 16))
    image.save(tmp_path / "layer.png")
    words = ["inpaint", "--model", model, "--image", tmp_path / "layer.png", "--box", "0,0,4,4"]
    result = run(*words, "--class", "cat", "--steps", 1, "--feather", 0, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    with Image.open(tmp_path / "out" / "000000.png") as edited:
        np.testing.assert_array_equal(np.array(edited)[4:], np.array(image)[4:])
    with Image.open(tmp_path / "out" / "contact_sheet.png") as sheet:
        assert (90, 0, 250) not in sheet.convert("RGB").get_flattened_data()


def test_strength_generates_variations(
    run: Callable, model: str, photo: Path, tmp_path: Path
) -> None:
    words = ["inpaint", "--model", model, "--image", photo, "--strength", 0.5, "-n", 2]
    assert run(*words, "--steps", 2, "--out", tmp_path / "out").exit_code == 0
    first, second = (pixels(tmp_path / f"out/00000{seed}.png") for seed in (0, 1))
    assert first.shape == second.shape == (16, 24, 3)
    assert (first != second).any()


def test_outpaint_enlarges(run: Callable, model: str, photo: Path, tmp_path: Path) -> None:
    words = ["outpaint", "--model", model, "--image", photo, "--left", 8, "--bottom", 4]
    result = run(*words, "--class", "cat", "ship", "--steps", 2, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    for name, prompt in (("000000.png", "cat"), ("000001.png", "ship")):
        with Image.open(tmp_path / "out" / name) as image:
            assert image.size == (32, 20)
            assert image.text["prompt"] == prompt
    assert not (tmp_path / "out/000002.png").exists()


def test_a_box_is_white_inside() -> None:
    box = np.array(draw_box("1,2,4,3", (5, 4)))
    assert box[2, 1:4].tolist() == [255, 255, 255]
    assert box.sum() == 3 * 255


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "nothing is to regenerate: give one of --mask, --box and --strength"),
        (["--box", "0,0,8,8", "--strength", "0.5"], "--box and --strength exclude each other: "),
        (["--mask", "a.png", "--box", "0,0,8,8"], "--mask and --box exclude each other: give one"),
        (["--box", "0,0,8"], "LEFT,TOP,RIGHT,BOTTOM"),
        (["--box", "0,0,25,8"], "24x16"),
        (["--box", "8,0,8,8"], "24x16"),
        (["--box", "0,0,8,8", "--strength-of", "steps"], "--strength-of belongs to --strength"),
        (["--strength", "0.5", "--strength-of", "pixels"], "unknown strength_of 'pixels'"),
        (["--strength", "2"], "0 (change nothing) to 1 (all), not 2.0"),
        (["--box", "0,0,8,8", "--class", "frog"], "unknown class 'frog'"),
        (["--box", "0,0,8,8", "--feather", "-1"], "-1"),
        (["--mask", "missing.png"], "missing.png: No such file or directory"),
    ],
)
def test_inpaint_refuses(
    refused: Callable, model: str, photo: Path, tmp_path: Path, words: list[str], said: str
) -> None:
    out = tmp_path / "out"
    line = refused("inpaint", "--model", model, "--image", photo, "--out", out, *words)
    assert said in line
    assert not out.exists()


def test_a_mask_of_another_size_names_both(
    refused: Callable, model: str, photo: Path, tmp_path: Path
) -> None:
    Image.new("L", (16, 16), 255).save(tmp_path / "mask.png")
    line = refused("inpaint", "--image", photo, "--mask", tmp_path / "mask.png")
    assert "16x16" in line
    assert "24x16" in line


def test_an_image_that_is_none(refused: Callable, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"not an image")
    assert str(broken) in refused("inpaint", "--image", broken, "--strength", 0.5)
    assert str(broken) in refused("outpaint", "--image", broken, "--left", 4)
    assert str(broken) in refused("reconstruct", broken)


@pytest.mark.parametrize("words", [[], ["--left", "-4"]])
def test_outpaint_needs_a_margin(
    refused: Callable, model: str, photo: Path, words: list[str]
) -> None:
    refused("outpaint", "--model", model, "--image", photo, *words)
