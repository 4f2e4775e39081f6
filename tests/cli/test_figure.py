"""`demask figure`: rows of images that differ by one thing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from demask.cli.figure import in_turn, read_variant
from demask.data import open_images
from demask.data.images import ImageSample
from demask.sampling.edit import keep
from demask.sweeps.gallery import Variant, guess, one_step, same_seeds, sheet
from tiny import CLASS_NAMES, tiny_generator

TILE = 128 + 4


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for number, name in enumerate(CLASS_NAMES):
        (tmp_path / "data" / name).mkdir(parents=True)
        for shade in (0, 1):
            image = Image.new("RGB", (20, 16), (80 * number, 100 * shade, 50))
            image.save(tmp_path / "data" / name / f"{shade}.png")
    return tmp_path / "data"


def rows_of(path: Path, rows: int) -> list[np.ndarray]:
    """The part of a figure that holds images, a row each."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    return [pixels[-TILE * (k + 1) : pixels.shape[0] - TILE * k] for k in range(rows)][::-1]


def test_the_same_seeds_under_several_settings(run: Callable, model: str, tmp_path: Path) -> None:
    out = tmp_path / "a" / "figure.png"
    variants = ("plain", "sharp: temperature=0.2 steps=3", "plain again: top_p=1")
    words = ("figure", "seeds", "--model", model, "--class", "cat", "dog", "-n", 4, "--seed", 5)
    result = run(*words, "--variant", *variants, "--out", out)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"{out}\n"
    plain, sharp, again = rows_of(out, 3)
    left = plain.shape[1] - 4 * TILE
    assert np.array_equal(plain[:, left:], again[:, left:])
    assert not np.array_equal(plain[:, left:], sharp[:, left:])
    assert not np.array_equal(plain[:, :left], sharp[:, :left])


def test_one_step_from_a_tenth_of_the_tokens(
    run: Callable, model: str, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "one_step.png"
    words = ("figure", "one-step", "--model", model, "--data", data, "-n", 3, "--mask-ratio", 0.75)
    result = run(
        *words, "--method", "classifier_free", "spatial", "--guidance-scale", 60, "--out", out
    )
    assert result.exit_code == 0, result.stderr
    rows = rows_of(out, 8)
    left = rows[0].shape[1] - 3 * TILE
    grey = [(row[:, left:] == 128).all(-1).mean() for row in rows]
    assert grey[2] == pytest.approx(0.75 * 128**2 / TILE**2, abs=0.08)
    plain, reference, guided = (row[:, left:] for row in rows[3:6])
    assert not np.array_equal(plain, guided)
    assert not np.array_equal(reference, guided)


def test_what_the_commands_refuse(
    refused: Callable, model: str, data: Path, tmp_path: Path
) -> None:
    out = ("--model", model, "--out", tmp_path / "x.png")
    assert "should look like setting=value" in refused("figure", "seeds", *out, "--variant", "a: b")
    assert "NAME: setting" in refused("figure", "seeds", *out, "--variant", ":steps=3")
    assert "unknown setting 'stps'" in refused("figure", "seeds", *out, "--variant", "a:stps=3")
    hide = ("figure", "one-step", *out, "--data", data)
    assert "has no self_guidance network" in refused(*hide)
    assert "--first must be from 0 to 5" in refused(*hide, "--first", 6)
    assert "at least 1, not 0" in refused(*hide, "-n", 0)
    assert "from 0 (change nothing) to 1" in refused(*hide, "--mask-ratio", 1.5)


def test_a_variant_is_read() -> None:
    text = "twice: guidance_scale=4 schedule=power:2.5 corrections=['informed'] preset=fast"
    settings = {"guidance_scale": 4, "schedule": "power:2.5", "corrections": ["informed"]}
    assert read_variant(text) == Variant("twice", {**settings, "preset": "fast"})
    assert read_variant("plain") == Variant("plain", {})


def test_images_are_of_each_class_in_turn(data: Path) -> None:
    images = open_images(data)
    assert [p.label for p in in_turn(images, 0, 3)] == [0, 1, 2]
    assert len(in_turn(images, 0, 9)) == 6
    assert len(in_turn(images, 4, 2)) == 2


def test_no_more_images_are_read_than_needed(data: Path) -> None:
    images, read = open_images(data), []

    class Nameless:
        class_names = ()
        fingerprint = ""

        def __len__(self) -> int:
            return len(images)

        def __getitem__(self, index: int) -> ImageSample:
            read.append(index)
            return replace(images[index], label=-1)

    assert len(in_turn(Nameless(), 1, 3)) == 3
    assert read == [1, 2, 3]


def test_what_is_right_is_counted() -> None:
    generator = tiny_generator()
    ids_BHW = torch.zeros(2, 4, 4, dtype=torch.long)
    known_BHW = torch.ones(2, 4, 4, dtype=torch.bool)
    known_BHW[:, 0] = False
    canvas = keep(ids_BHW, known_BHW, generator.transformer.mask_id)
    name, _ = guess(generator, "one", canvas, ids_BHW.flatten(1), [0, 1], 0, {})
    job = generator.jobs([0, 1], 2, 0, steps=1, temperature=0.0)
    *_, state = generator.decode(next(job), canvas)
    share = (state.ids_BL[:, :4] == 0).double().mean()
    assert name == f"one\n{float(share):.1%} of codes right"


def test_nothing_makes_no_figure() -> None:
    generator = tiny_generator()
    with pytest.raises(ValueError, match="at least one variant"):
        same_seeds(generator, [])
    with pytest.raises(ValueError, match="no images"):
        one_step(generator, [], [], [])
    with pytest.raises(ValueError, match="at least one image"):
        sheet([], [])
