"""What the command line measures can be measured from Python, and comes back as records."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import demask
from demask.generator import Generator
from tiny import tiny_generator, tiny_text_generator


@pytest.fixture(scope="module")
def generator() -> Generator:
    return tiny_generator()


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("real") / "real.npz"
    np.savez(path, np.random.default_rng(0).integers(0, 256, (24, 16, 16, 3), np.uint8))
    return path


def test_a_model_is_measured_and_the_record_writes_itself(
    generator: Generator, real: Path, tmp_path: Path
) -> None:
    shown: list[tuple[str, int, int]] = []

    @contextmanager
    def progress(doing: str, total: int) -> Iterator[Callable[[int], None]]:
        yield lambda done: shown.append((doing, total, done))

    result = demask.evaluate(
        generator,
        real,
        conditions=["cat", "ship"],
        num_images=20,
        seed=5,
        steps=2,
        extractors="pixels:4",
        metrics=["kid", "precision"],
        resamples=3,
        cache=tmp_path,
        progress=progress,
    )
    assert [score.metric for score in result.scores] == ["kid", "precision"]
    kid = result["kid"]
    assert kid.low < kid.value < kid.high
    assert ("features of the samples", 20, 20) in shown
    assert (result.samples["count"], result.reference["count"]) == (20, 24)
    assert result.samples["settings"]["steps"] == 2
    assert result.options == {"metrics": ("kid", "precision"), "resamples": 3, "seed": 5}
    with pytest.raises(FrozenInstanceError):
        result.seed = 3
    tables = json.loads(result.write(tmp_path / "a.json").read_text())
    assert tables["scores"][0]["value"] == kid.value
    rows = list(csv.DictReader(io.StringIO(result.write(tmp_path / "a.csv").read_text())))
    assert [(row["metric"], float(row["value"])) for row in rows] == [
        (score.metric, score.value) for score in result.scores
    ]
    # the same images from a file give the same numbers
    images = generator.generate(["cat", "ship"], num_images=20, seed=5, steps=2)
    np.savez(tmp_path / "same.npz", np.stack([np.array(image.image) for image in images]))
    again = demask.evaluate(
        tmp_path / "same.npz", real, extractors=["pixels:4"], metrics="kid", cache=tmp_path
    )
    assert again["kid"].value == pytest.approx(kid.value, abs=1e-9)


def test_mistakes_are_found_before_an_image_is_generated(
    generator: Generator, real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_arguments: object) -> None:
        raise AssertionError("it generates")

    monkeypatch.setattr(Generator, "decode", never)
    wrong = [
        ({"reference": None}, "name the real images"),
        ({"reference": tmp_path / "none.npz"}, "none.npz"),
        ({"metrics": "fid"}, "unknown metric 'fid'"),
        ({"extractors": "pixel"}, "did you mean 'pixels'"),
        ({"steps": "2"}, "steps must be a whole number of at least 1, not '2'"),
        ({"num_inference_steps": 2}, "Demask calls it steps"),
        ({"conditions": "cow"}, "unknown class 'cow'"),
        ({"metrics": ["scenes", "kid"]}, "cannot be combined"),
        ({"metrics": "scenes"}, "needs no reference"),
        ({"samples": real, "steps": 3}, "settings are for a generator"),
    ]
    for changes, message in wrong:
        request = {"samples": generator, "reference": real, "extractors": "pixels:4", **changes}
        with pytest.raises((ValueError, OSError), match=message) as caught:
            demask.evaluate(**request)
        assert "\n" not in str(caught.value)


class Brightness:
    """A scorer from outside: bright images are liked."""

    name, fingerprint, notice = "brightness", "1", "a toy"

    def __init__(self, device: str = "cpu") -> None:
        self.device = device

    def __call__(self, image_BCHW: torch.Tensor, texts: list[str]) -> torch.Tensor:
        return image_BCHW.double().mean((1, 2, 3))


def test_settings_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from demask.evaluation.scorers import SCORERS

    monkeypatch.setattr(SCORERS, "_rows", dict(SCORERS._rows))
    SCORERS.add("brightness", Brightness)
    model, prompts = tiny_text_generator(), ["red apple", "green apple", "blue heart"]
    variants = {"few": {"steps": 1}, "more": {"steps": 4, "order": "halton"}}
    result = demask.compare(model, variants, prompts, 2, scorers="brightness", resamples=10)
    base, other = result.outcomes
    assert (base.variant, base.paired, other.variant) == ("few", None, "more")
    images = [
        model.generate(prompts, 6, steps=steps, order=order)
        for steps, order in ((1, "confidence"), (4, "halton"))
    ]
    means = [np.mean([np.array(image.image) / 255 for image in some]) for some in images]
    assert [base.mean, other.mean] == pytest.approx(means)
    assert json.loads(result.to_json())["settings"] == variants
    rows = list(csv.DictReader(io.StringIO(result.to_csv())))
    assert [row["variant"] for row in rows] == ["few", "more"]
    assert result.write(tmp_path / "rows.csv").read_text() == result.to_csv()
    with pytest.raises(ValueError, match=r"written as \.json or \.csv"):
        result.write(tmp_path / "rows.txt")
    with pytest.raises(ValueError, match="unknown scorer 'bright'"):
        demask.compare(model, variants, prompts, scorers="bright")
    with pytest.raises(ValueError, match="stepz"):
        demask.compare(model, {"a": {"stepz": 1}, "b": {}}, prompts, scorers="brightness")


def test_images_in_a_folder_are_measured(real: Path, tmp_path: Path) -> None:
    for number in range(12):
        Image.new("RGB", (16, 16), (number * 20, 0, 0)).save(tmp_path / f"{number}.png")
    result = demask.evaluate(
        tmp_path, real, extractors="pixels:4", metrics="precision", resamples=0
    )
    assert (result.samples["count"], result["precision"].low) == (12, None)
