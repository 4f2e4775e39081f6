"""`demask reconstruct`."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from demask.cli.reconstruct import cut
from demask.data.transforms import psnr, to_pixels


def test_psnr_is_that_of_the_bytes() -> None:
    black, grey = (to_pixels(Image.new("RGB", (4, 4), (n, n, n))) for n in (0, 10))
    assert psnr(black, grey, 255) == pytest.approx(20 * math.log10(255 / 10))
    assert psnr(black / 255, grey / 255, 1) == pytest.approx(20 * math.log10(255 / 10))
    assert psnr(black, black, 255) == math.inf


def test_cut_takes_the_middle() -> None:
    image = Image.new("RGB", (11, 8))
    image.putpixel((1, 0), (255, 0, 0))
    middle = cut(image, 4, Path("x"))
    assert middle.size == (8, 8)
    assert middle.getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("source", ["model", "tokenizer"])
def test_each_image_and_the_mean(
    run: Callable, model: str, photo: Path, tmp_path: Path, source: str
) -> None:
    words = {
        "model": ["--model", model],
        "tokenizer": ["--tokenizer", f"{model}/tokenizer.safetensors"],
    }
    result = run("reconstruct", photo, photo, *words[source], "--out", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    first, second, mean = result.stdout.splitlines()
    assert first == second
    assert first.endswith(str(photo))
    assert mean.split()[:2] == first.split()[:2]
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["000000_image.png", "000001_image.png"]


def test_refuses(refused: Callable, model: str, tmp_path: Path) -> None:
    small = tmp_path / "small.png"
    Image.new("RGB", (3, 8)).save(small)
    assert "3x8 pixels are less than one token" in refused("reconstruct", small, "--model", model)
    transformer = f"{model}/transformer.safetensors"
    assert "not a tokenizer" in refused("reconstruct", small, "--tokenizer", transformer)


def test_a_transparent_image_is_on_white(run: Callable, model: str, tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "a.png")
    Image.new("RGB", (8, 8), "white").save(tmp_path / "b.png")
    places = [tmp_path / name for name in ("a.png", "b.png")]
    result = run("reconstruct", *places, "--model", model, "--out", tmp_path / "out")
    first, second, _mean = result.stdout.splitlines()
    assert first.split()[0] == second.split()[0]
