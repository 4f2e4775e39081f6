"""A search improves on its start, remembers what it tried, and is not fooled by luck."""

from __future__ import annotations

from dataclasses import replace

import pytest

from demask.preset_file import PresetFile, read_presets, write_presets
from demask.settings import Settings
from demask.sweeps.runner import SweepRunner
from demask.sweeps.search import Search, Tried
from demask.sweeps.space import Curves, Dimension, Steps, searchable, values_of
from demask.sweeps.sweep import loss
from demask.sweeps.tune import Tuning, tune

START = Settings(steps=4, choice_temperature=3.0, guidance_scale=2.0)
TUNING = Tuning(budget=5, refine=2, count=6, finalists=2, final_count=8)
ALL = ("schedule", "choice_temperature", "temperature", "guidance_scale")


def test_what_can_be_searched_depends_on_the_settings() -> None:
    assert searchable(START) == ALL
    assert searchable(Settings()) == ALL[:3]
    assert searchable(Settings(order="halton")) == ("schedule", "temperature")
    assert searchable(START, ["choice_temperature"]) == ("choice_temperature",)
    with pytest.raises(ValueError, match="part to search of order 'halton' 'choice_temperature'"):
        searchable(Settings(order="halton"), ["choice_temperature"])


def test_curves_begin_near_the_start() -> None:
    curves = Curves(START, ALL)
    point = {name: d.start for name, d in curves.dimensions.items()}
    assert all(d.low <= d.start <= d.high for d in curves.dimensions.values())
    began, wanted = values_of(curves.settings(point)), values_of(START)
    for name in ("choice_temperature", "temperature"):
        assert began[name] == pytest.approx(wanted[name])
    assert began["schedule"] == pytest.approx(wanted["schedule"], abs=0.07)
    assert began["guidance_scale"][-1] == wanted["guidance_scale"][-1] == 2


def test_curves_that_a_search_found_are_where_the_next_begins() -> None:
    found = Curves(START, ALL).settings(
        {
            "schedule_power": 3.1,
            "choice_temperature": 7.0,
            "choice_temperature_power": 0.5,
            "temperature": 1.3,
            "temperature_end": 0.6,
            "guidance_extra": 0.7,
            "guidance_power": 2.0,
        }
    )
    starts = {name: d.start for name, d in Curves(found, ALL).dimensions.items()}
    assert starts["schedule_power"] == 3.1
    assert starts["temperature_end"] == 0.6
    assert starts["choice_temperature_power"] == 0.5
    assert starts["guidance_extra"] == pytest.approx(0.7)


def test_steps_begin_at_the_start_and_keep_ratios_falling() -> None:
    steps = Steps(START, ALL)
    assert len(steps.dimensions) == 3 + 3 + 4 + 4
    same, wanted = values_of(steps.settings({})), values_of(START)
    for name in ALL:
        assert same[name] == pytest.approx(wanted[name], abs=2e-3)
    wild = steps.settings({"schedule_0": -2.0, "schedule_1": 2.0, "choice_temperature_0": 1.0})
    ratios = values_of(wild)["schedule"]
    assert ratios == sorted(ratios, reverse=True)
    assert ratios[-1] == 0
    assert values_of(wild)["choice_temperature"][0] == pytest.approx(
        wanted["choice_temperature"][0] * 2.71828, rel=1e-3
    )


@pytest.mark.parametrize("count", [3, 14])
def test_the_search_finds_a_valley(count: int) -> None:
    dimensions = {f"x{k}": Dimension(0.1, 10.0, 5.0) for k in range(count)}

    def height(point: dict[str, float]) -> float:
        return sum((value - 2) ** 2 for value in point.values()) / count

    search, tried = Search(dimensions, seed=0), []
    for _ in range(10):
        point = search.ask()
        tried.append(Tried(point, height(point)))
        search.tell(tried[-1].loss)
    assert tried[0].point == dict.fromkeys(dimensions, 5.0)
    assert min(t.loss for t in tried) < 0.75 * tried[0].loss
    assert all(0.1 <= value <= 10 for t in tried for value in t.point.values())
    resumed = Search(dimensions, seed=0, tried=tried)
    assert resumed.ask() not in [t.point for t in tried]


def test_a_search_is_never_worse_than_its_start(runner: SweepRunner) -> None:
    tuned = tune(runner, START, TUNING)
    assert [e.stage.split()[0] for e in tuned.log] == ["start", *["curves"] * 4, *["steps"] * 2]
    assert tuned.log[0].settings == START
    assert loss(tuned.best, "frechet") <= loss(tuned.start, "frechet")
    assert len(tuned.finalists) == 3
    assert {(r.trial.count, r.trial.seed) for r in tuned.finalists} == {(8, 2_000_000)}
    assert tuned.start.trial.settings == START


def test_the_same_search_goes_on(runner: SweepRunner, evaluator) -> None:
    first = tune(runner, START, replace(TUNING, budget=3, refine=0))
    evaluator.looked.clear()
    again = tune(runner, START, replace(TUNING, budget=3, refine=0))
    assert evaluator.looked == []
    assert again.best == first.best
    longer = tune(runner, START, replace(TUNING, budget=5, refine=0))
    assert longer.log[:3] == first.log
    assert len(longer.log) == 5
    (log,) = runner.folder.glob("search-*.jsonl")
    other = tune(runner, START.updated(steps=3), replace(TUNING, budget=2, refine=0))
    assert len(other.log) == 2
    log.write_text("{}\n")
    with pytest.raises(ValueError, match="no log of a search; delete it"):
        tune(runner, START, TUNING)


def test_what_was_found_can_be_saved(runner: SweepRunner, tmp_path) -> None:
    named = tune(runner, START, replace(TUNING, budget=2, refine=0)).to_preset()
    write_presets(tmp_path / "presets.toml", PresetFile({"steps4": named}))
    assert read_presets(tmp_path / "presets.toml")["steps4"] == named
    assert named.scores[0].endswith("extractor mean, 8 images of seeds 2000000 to 2000007")
    assert "8.0 forwards" in named.scores[-1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"budget": 0}, "budget must be at least 1"),
        ({"refine": -1}, "refine must be at least 0"),
        ({"metric": "fid"}, "unknown metric 'fid'"),
    ],
)
def test_a_budget_is_checked(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TUNING, **change)
