"""Sweeps of models of scenes: the scorer measures the rows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from demask.cli import demask
from demask.conditioning import ParsedCondition
from demask.evaluation.features import Features
from demask.evaluation.metrics import METRICS, measure, possible
from demask.evaluation.scenes_metrics import SCENE_METRICS
from demask.evaluation.scenes_scores import open_captions
from demask.scenes import class_scene, draw, parse_caption, sample
from demask.scenes.vocabulary import SHAPES
from demask.sweeps.scene_evaluator import SceneEvaluator, scene_prompts

RECIPE = Path(__file__).parents[2] / "recipes" / "sweeps" / "scenes_temperature.toml"
FIRST = 2_700_000_000


def pixels(scenes: list) -> torch.Tensor:
    return torch.from_numpy(np.stack([draw(scene) for scene in scenes]))


def test_prompts_are_half_open() -> None:
    prompts = scene_prompts(101)
    assert len(prompts) == 101
    left_open = set(open_captions(1))
    assert all((text in left_open) == (number % 2 == 1) for number, text in enumerate(prompts))
    assert len({parse_caption(text).kind for text in prompts[::2]}) == 6


def test_captions_are_measured_as_shares_and_distances() -> None:
    open_ones = tuple(open_captions(1))
    drawn = [sample(FIRST + i) for i in range(200)]
    drawn = [one for one in drawn if one.captions[0] not in open_ones]
    closed = [ParsedCondition(one.captions[0]) for one in drawn]
    # the same star under an open caption: right, and not diverse
    star = next(o for o in (sample(FIRST + i) for i in range(500)) if o.captions[0] == "a star")
    evaluator = SceneEvaluator(open_ones)
    seen = [evaluator.extract(pixels([one.scene for one in drawn]), closed)]
    seen += [evaluator.extract(pixels([star.scene] * 20), [ParsedCondition("a star")] * 20)] * 2
    values = {value.metric: value for value in evaluator.measure(seen)}
    assert values["scenes"].value == 1
    assert values["scenes"].low < 1
    assert values["scenes_distinct"].value == 1
    assert values["scenes_colour"].value == pytest.approx(1 - 1 / 9)
    assert "scenes_unseen" not in values
    assert set(values) <= set(SCENE_METRICS) <= set(METRICS)


def test_classes_are_measured() -> None:
    scenes = [class_scene(FIRST + i) for i in range(64)]
    parsed_conditions = [ParsedCondition(SHAPES[label], label) for _, label in scenes]
    evaluator = SceneEvaluator()
    seen = [evaluator.extract(pixels([scene for scene, _ in scenes]), parsed_conditions)]
    values = {value.metric: value for value in evaluator.measure(seen)}
    assert values["scenes"].value == 1
    assert values["scenes_number"].value < 0.6


def sweep(*words: object) -> Result:
    return CliRunner().invoke(demask, ["sweep", "--recipe", str(RECIPE), *map(str, words)])


def test_a_sweep_needs_no_reference(tmp_path: Path) -> None:
    words = ("--model", "emoji", "--out", tmp_path, "--only", "no guidance", "--set")
    result = sweep(*words, "measure.count=20", "settings.steps=1")
    assert result.exit_code == 0, result.output
    rows = json.loads((tmp_path / "results.json").read_text())
    assert len(rows) == 5
    assert (tmp_path / "by_temperature.png").is_file()
    assert {"scenes", "scenes_unseen", "scenes_clean"} <= {v["metric"] for v in rows[0]["values"]}


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--model", "cifar10"), "generates 32x32 pixels of 10 classes"),
        (("--model", "emoji", "--reference", "real"), "takes no other metrics"),
        (
            ("--model", "emoji", "--set", 'measure.metrics=["scenes", "kid"]'),
            "takes no other metrics",
        ),
    ],
)
def test_what_does_not_fit_is_refused(words: tuple, line: str, tmp_path: Path) -> None:
    result = sweep(*words, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert line in result.output
    assert not (tmp_path / "out").exists()


def test_features_have_no_metric_of_scenes() -> None:
    seen = Features(torch.zeros(8, 2), "example", "print", (64, 64))
    assert not set(SCENE_METRICS) & set(possible(seen))
    with pytest.raises(ValueError, match="the exact scorer of scenes measures it"):
        measure(seen, seen, ["scenes"])
