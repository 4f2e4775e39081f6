"""Which points are on the front, and what is asked of a model of prompts to find out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from demask.conditioning import ParsedCondition
from demask.config import parse
from demask.data.images import ImageSample
from demask.evaluation.extractors import load_extractor
from demask.preset_file import PresetFile
from demask.settings import Settings
from demask.sweeps.curves import points_of
from demask.sweeps.evaluators import evaluators
from demask.sweeps.front import Front, ParetoStatus, front_table
from demask.sweeps.front_plot import draw_front
from demask.sweeps.names import read_names
from demask.sweeps.recipe import SweepRecipe, Trial
from demask.sweeps.result import Result, Value
from demask.sweeps.runner import SweepRunner


def recipe(*methods: dict[str, object]) -> SweepRecipe:
    return parse(SweepRecipe, {"settings": {"steps": 2}, "methods": methods})


def result(steps: int, cpu: float, quality: float, spread: float, dtype: str = "float32") -> Result:
    row = Trial("plain", Settings(steps=steps), varied=("steps",), dtype=dtype)
    value = Value("frechet", "eyes", quality, quality - spread, quality + spread)
    return Result(row, (value,), float(steps), cpu, cpu, {"device": "cpu"})


def test_the_front_is_what_no_other_point_beats_at_both() -> None:
    results = [
        result(4, 1.0, 5.0, 0.1),
        result(8, 2.0, 3.0, 0.1),
        result(9, 2.5, 3.1, 0.1),  # slower and worse, but within the intervals
        result(10, 2.6, 4.0, 0.1),  # clearly worse
        result(11, 2.7, 3.0, 0.0),  # slower and no better
        result(64, 9.0, 2.9, 0.1),
    ]
    front = Front.of(points_of(results[::-1]), "frechet")
    found = {p.results[0].trial.settings.steps: front.status(p) for p in front.points}
    on, near, beaten = ParetoStatus.FRONT, ParetoStatus.NEAR, ParetoStatus.BEATEN
    assert found == {4: on, 8: on, 9: near, 10: beaten, 11: near, 64: on}
    assert list(found) == [4, 8, 9, 10, 11, 64]
    lines = front_table(front).splitlines()
    assert lines[2].startswith("| front | plain | 4 | float32 |")
    assert lines[4].startswith("| near | plain | 9 |")


def test_only_points_of_the_front_become_presets() -> None:
    results = [result(4, 1.0, 3.0, 0.1, "bfloat16"), result(8, 2.0, 4.0, 0.1)]
    front = Front.of(points_of(results), "frechet")
    named = front.to_preset("plain, steps 4, bfloat16")
    assert (named.settings.steps, named.dtype) == (4, "bfloat16")
    with pytest.raises(
        ValueError, match=r"steps 8, float32' is not on the front; the front consists of: plain"
    ):
        front.to_preset("plain, steps 8, float32")
    with pytest.raises(ValueError, match="is no point"):
        front.to_preset("plain")


def test_it_can_be_drawn(tmp_path: Path) -> None:
    front = Front.of(points_of([result(4, 1.0, 3.0, 0.1), result(8, 2.0, 2.5, 0.1)]), "frechet")
    draw_front(front, tmp_path / "front.png")
    assert (tmp_path / "front.png").stat().st_size > 1000


def test_a_method_may_have_rows_of_several_types(runner: SweepRunner, evaluator) -> None:
    method: dict[str, object] = {"name": "a", "grid": {"top_k": [3, 4]}, "dtypes": ["float64"]}
    with pytest.raises(ValueError, match="unknown dtype 'float64'"):
        recipe(method)
    rows = recipe({**method, "dtypes": ["float32", "bfloat16"]}).rows(PresetFile({}))
    assert [(row.settings.top_k, row.dtype) for row in rows] == [
        (3, "float32"),
        (3, "bfloat16"),
        (4, "float32"),
        (4, "bfloat16"),
    ]
    assert rows[3].label == "a, top_k 4, bfloat16"
    single, half = runner.generator(rows[0]), runner.generator(rows[1])
    assert single.transformer.embed.weight.dtype == torch.float32  # type: ignore[attr-defined]
    assert half.transformer.embed.weight.dtype == torch.bfloat16  # type: ignore[attr-defined]
    assert runner.path(rows[0]) != runner.path(rows[1])
    assert len(points_of([runner.measured(replace(rows[n], count=4)) for n in (0, 1)])) == 2


def test_the_conditions_are_a_part_of_the_key(runner: SweepRunner) -> None:
    row = Trial("a", Settings(steps=2), count=4)
    asked = replace(runner, condition_inputs=("cat", "dog"))
    assert asked.path(row) != runner.path(row)


@dataclass(frozen=True)
class Three:
    """A red, a green and again a red image, and a fourth whose name is left out."""

    class_names: tuple[str, ...] = ()
    fingerprint: str = "three"

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> ImageSample:
        colour = ("red", "green", "red", "blue")[index]
        name = ("apple", "pear", "cherry", "dark sky")[index]
        return ImageSample(Image.new("RGB", (8, 8), colour), 0, str(index), (name, "fruit"))


def test_names_are_found_by_the_nearest_image() -> None:
    eyes = load_extractor("pixels:size=4")
    names = read_names(Three(), (8, 8), [eyes], ["dark"])
    assert names.answers == {"apple": 0, "pear": 1, "cherry": 0}
    assert sorted(names.condition_inputs) == ["apple", "cherry", "pear"]
    (evaluator,) = evaluators(
        [eyes], names.features, names.fingerprint, (), ("retrieval",), 0, names.answers
    )
    colours = [(255, 0, 0), (250, 5, 5), (0, 0, 250), (0, 120, 0)]
    pixels_BHWC = torch.tensor(colours, dtype=torch.uint8)[:, None, None].expand(-1, 8, 8, -1)
    shown = [ParsedCondition(name) for name in ("apple", "cherry", "pear", "pear")]
    (value,) = evaluator.measure(
        [
            evaluator.extract(pixels_BHWC[:3], shown[:3]),
            evaluator.extract(pixels_BHWC[3:], shown[3:]),
        ]
    )
    assert (value.metric, value.value) == ("retrieval", 0.75)
    with pytest.raises(ValueError, match="reference with captions"):
        read_names(Three(), (8, 8), [eyes], ["a", "e"])
