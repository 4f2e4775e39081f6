"""The lines of the images, and the images themselves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from demask.settings import Settings
from demask.sweeps.curves import Curve, against, against_cost, points_of, trade_off, varied
from demask.sweeps.plot import draw_all, line, panels
from demask.sweeps.recipe import Trial
from demask.sweeps.result import Result, Value


def result(
    method: str, frechet: float, *, seed: int = 0, final: bool = False, **settings: object
) -> Result:
    facts = {k: float(v) for k, v in settings.items() if isinstance(v, int | float)}
    row = Trial(method, Settings().updated(**settings), (), facts, tuple(settings), 1000, seed)
    row = Trial(**{**vars(row), "final": final})
    values = [
        Value(metric, extractor, number, 0.95 * number, 1.05 * number)
        for extractor in ("conv", "patches")
        for metric, number in (
            ("frechet", frechet),
            ("recall", 1 / (2 + frechet)),
            ("precision", 0.5 + 1 / (9 + frechet)),
        )
    ]
    return Result(row, tuple(values), 2.0 * row.settings.steps, row.settings.steps / 500, 0.03, {})


RESULTS = [
    *(
        result(
            "plain",
            20 - s / 2 + 9 * (t - 0.8) ** 2 + abs(n - 4),
            temperature=t,
            choice_temperature=n,
            steps=s,
        )
        for t in (0.6, 0.8, 1.0)
        for n in (2.0, 4.0, 8.0)
        for s in (8, 18)
    ),
    *(
        result("guided", 9 + (g - 2) ** 2, seed=seed, guidance_scale=g)
        for g in (1.5, 2.0, 3.0)
        for seed in (0, 9)
    ),
    result("alone", 15),
]
FINALS = [result("plain", 11, final=True, temperature=0.8), result("guided", 8, final=True)]


def test_points_are_averaged_over_seeds() -> None:
    points = points_of(RESULTS)
    assert len(points) == 18 + 3 + 1
    both = [result("a", 4, seed=0), result("a", 6, seed=5)]
    (point,) = points_of(both)
    assert point.mean("frechet", "conv") == 5
    assert point.mean("frechet", "conv", "low") == pytest.approx(4.75)
    assert point.mean("kid", "conv") is None


def test_a_line_goes_along_the_temperature_at_its_best_otherwise() -> None:
    plain, guided, alone = trade_off(points_of(RESULTS), "frechet")
    assert plain.label == "plain, by temperature"
    assert plain.notes == ("0.6", "0.8", "1")
    assert {(p.number("choice_temperature"), p.number("steps")) for p in plain.points} == {
        (4.0, 18.0)
    }
    assert guided.notes == ("1.5", "2", "3")
    assert alone.label == "alone"
    assert len(alone.points) == 1


def test_what_varies_may_be_an_axis() -> None:
    points = points_of(RESULTS)
    assert varied(points) == ["temperature", "choice_temperature", "steps", "guidance_scale"]
    (plain,) = against(points, "choice_temperature", "frechet")
    assert [p.number("choice_temperature") for p in plain.points] == [2, 4, 8]
    assert {p.number("temperature") for p in plain.points} == {0.8}
    assert [len(c.points) for c in against_cost(points, "frechet")] == [2, 1, 1]


def test_facts_that_are_no_settings_may_be_an_axis() -> None:
    rows = [result("tuned", 10 - n) for n in (1, 2, 4)]
    rows = [
        Result(**{**vars(r), "trial": Trial(**{**vars(r.trial), "facts": {"thousands": n}})})
        for r, n in zip(rows, (1.0, 2.0, 4.0), strict=True)
    ]
    points = points_of(rows)
    assert len(points) == 3
    (curve,) = against(points, "thousands", "frechet")
    assert [p.number("thousands") for p in curve.points] == [1, 2, 4]


def test_an_interval_may_end_at_0() -> None:
    (point,) = points_of([replace(result("a", 4), values=(Value("kid", "conv", 2, 0.0, 5.0),))])
    _, ((axes,),) = panels(1, 1)
    line(axes, Curve("a", (point,), ("",)), 0, lambda p: 1.0, "kid", "conv")
    (bars,) = axes.containers[0].lines[2]
    assert bars.get_segments()[0].tolist() == [[1, 0], [1, 5]]


def test_every_image_is_drawn(tmp_path: Path) -> None:
    paths = draw_all([*RESULTS, *FINALS], tmp_path)
    assert [path.stem for path in paths] == [
        "quality_diversity",
        "by_temperature",
        "by_choice_temperature",
        "by_steps",
        "by_guidance_scale",
        "cost",
        "final_quality_diversity",
        "final_cost",
    ]
    for path in paths:
        with Image.open(path) as image:
            assert image.format == "PNG"
            assert image.width > 500
            assert len(set(image.convert("L").resize((64, 64)).get_flattened_data())) > 10
    assert draw_all([], tmp_path / "none") == []
