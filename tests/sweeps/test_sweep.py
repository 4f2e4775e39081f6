"""A sweep measures each row once, and the best of each method on other seeds."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from demask.config import ConfigError, parse
from demask.preset_file import Preset, PresetFile
from demask.settings import Settings
from demask.sweeps.recipe import SweepRecipe
from demask.sweeps.result import Value
from demask.sweeps.runner import SweepRunner
from demask.sweeps.sweep import Progress, best_point, loss, read_results, sweep

RECIPE = {
    "measure": {"count": 9, "seeds": [0, 50]},
    "settings": {"steps": 2},
    "methods": [
        {"name": "plain", "grid": {"temperature": [0, 1, 3.5], "choice_temperature": [2]}},
        {"name": "guided", "settings": {"guidance_scale": 2.0}, "facts": {"epochs": 3}},
    ],
    "final": {"count": 12, "seeds": [1000], "by": "frechet"},
}


def recipe(**changes: object) -> SweepRecipe:
    return parse(SweepRecipe, {**RECIPE, **changes})


def test_rows_are_the_grid_under_each_seed() -> None:
    rows = recipe().rows(PresetFile({}))
    assert [(r.method, r.settings.temperature, r.seed) for r in rows] == [
        *(("plain", t, seed) for t in (0.0, 1.0, 3.5) for seed in (0, 50)),
        *(("guided", 1.0, seed) for seed in (0, 50)),
    ]
    assert all(row.settings.steps == 2 for row in rows)
    assert rows[0].facts == {"temperature": 0, "choice_temperature": 2}
    assert rows[-1].facts == {"epochs": 3}
    assert rows[0].label == "plain, temperature 0.0, choice_temperature 2.0"


def test_a_method_may_start_at_a_preset() -> None:
    methods = [{"name": "named", "settings": {"preset": "fast"}, "grid": {"top_k": [3, 4]}}]
    presets = PresetFile({"fast": Preset(Settings(steps=3, schedule="linear"))})
    rows = recipe(methods=methods, settings={}, final=None).rows(presets)
    assert {row.settings.schedule for row in rows} == {"linear"}
    assert [row.settings.top_k for row in rows] == [3, 3, 4, 4]
    with pytest.raises(ValueError, match="method 'named': unknown preset 'fast'"):
        recipe(methods=methods).rows(PresetFile({}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": []}, "at least one of"),
        ({"methods": [{"name": "a", "grid": {"steps": []}}]}, "no values for steps"),
        ({"methods": [{"name": "a", "grid": {"stps": [1]}}]}, "did you mean 'steps'"),
        ({"methods": [{"name": "a", "settings": {"schedule": "cosin"}}]}, "'cosine'"),
        ({"methods": [{"name": "a", "settings": {"steps": "8"}}]}, "steps"),
        ({"measure": {"count": 1}}, "at least 2 images"),
        ({"measure": {"seeds": []}}, "at least one seed"),
        ({"measure": {"cuont": 1}}, "did you mean 'count'"),
        ({"measure": {"metrics": ["fid"]}}, "unknown metric 'fid'"),
        ({"final": {"by": "fid"}}, "unknown metric 'fid'"),
        ({"measure": {"metrics": ["kid"]}}, "unknown metric of the final 'frechet'. Valid: kid"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        recipe(**change)


def test_only_some_methods() -> None:
    assert {m.name for m in recipe().only(("guided",)).methods} == {"guided"}
    assert recipe().only(()) == recipe()
    with pytest.raises(ValueError, match="did you mean 'guided'"):
        recipe().only(("gided",))


def test_each_row_is_measured_once(runner: SweepRunner, evaluator) -> None:
    results = sweep(runner, recipe(), PresetFile({}))
    assert len(results) == 8 + 2
    assert sorted(evaluator.looked) == sorted(
        [*[(4, 16, 16, 3), (4, 16, 16, 3), (1, 16, 16, 3)] * 8, *[(4, 16, 16, 3)] * 6]
    )
    assert sorted(evaluator.classes[:9]) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    files = sorted((runner.folder / "rows").iterdir())
    assert len(files) == 10
    evaluator.looked.clear()
    assert sweep(runner, recipe(), PresetFile({})) == results
    assert read_results(runner.folder) == results
    assert evaluator.looked == []
    files[0].unlink()
    sweep(runner, recipe(), PresetFile({}))
    assert len(evaluator.looked) == 3


def test_an_interrupted_sweep_goes_on(runner: SweepRunner, evaluator) -> None:
    def stop(result: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(runner, recipe(), PresetFile({}), Progress(end=stop))
    assert len(list((runner.folder / "rows").iterdir())) == 1
    evaluator.looked.clear()
    assert len(sweep(runner, recipe(), PresetFile({}))) == 10
    assert len(evaluator.looked) == 7 * 3 + 2 * 3


def test_a_new_name_measures_nothing_again(runner: SweepRunner, evaluator) -> None:
    sweep(runner, recipe(final=None), PresetFile({}))
    evaluator.looked.clear()
    renamed = [{**RECIPE["methods"][0], "name": "MaskGIT"}, RECIPE["methods"][1]]
    results = sweep(runner, recipe(final=None, methods=renamed), PresetFile({}))
    assert evaluator.looked == []
    assert {r.trial.method for r in results} == {"MaskGIT", "guided"}


def test_the_key_holds_all_that_a_number_depends_on(runner: SweepRunner, evaluator) -> None:
    row = recipe().rows(None)[0]
    paths = {
        runner.path(row),
        runner.path(replace(row, seed=1)),
        runner.path(replace(row, count=10)),
        runner.path(replace(row, settings=row.settings.updated(top_k=3))),
    }
    evaluator.fingerprint = "b"
    paths.add(runner.path(row))
    evaluator.fingerprint = "a"
    runner.fingerprints.clear()
    transformer = runner.generators[(), None].transformer
    transformer.head.bias.data += 1
    paths.add(runner.path(row))
    runner.fingerprints.clear()
    is_single = transformer.head.bias.dtype == torch.float32
    transformer.to(torch.float64 if is_single else torch.float32)  # the same numbers
    paths.add(runner.path(row))
    assert len(paths) == 7


def test_the_final_rows_are_the_best_on_other_seeds(runner: SweepRunner) -> None:
    results = sweep(runner, recipe(), PresetFile({}))
    finals = [r for r in results if r.trial.final]
    assert [(r.trial.method, r.trial.count, r.trial.seed) for r in finals] == [
        ("plain", 12, 1000),
        ("guided", 12, 1000),
    ]
    plain = [r for r in results if r.trial.method == "plain" and not r.trial.final]
    means = {
        t: sum(loss(r, "frechet") for r in plain if r.trial.settings.temperature == t)
        for t in (0.0, 1.0, 3.5)
    }
    assert finals[0].trial.settings.temperature == min(means, key=means.__getitem__)


def test_of_some_metrics_more_is_better(runner: SweepRunner) -> None:
    results = sweep(runner, recipe(final=None, measure={"count": 9}), PresetFile({}))
    best = best_point(results, "recall")
    assert best.values[1].value == max(r.values[1].value for r in results)
    with pytest.raises(ValueError, match="'kid' was not measured; valid: frechet, recall"):
        best_point(results, "kid")


def test_an_unbiased_distance_below_0_is_better_than_one_above(runner: SweepRunner) -> None:
    (found, *_) = sweep(runner, recipe(final=None, measure={"count": 9}), PresetFile({}))
    numbers = [-0.002, 0.0, 0.001, 0.5]
    results = [replace(found, values=(Value("kid", "a", v, v, v),)) for v in numbers]
    losses = [loss(result, "kid") for result in results]
    assert losses == sorted(losses)
    assert len(set(losses)) == 4
    nought = replace(found, values=(Value("frechet", "a", 0.0, 0.0, 0.0),))
    assert loss(nought, "frechet") < loss(found, "frechet")


def test_forwards_are_counted(runner: SweepRunner) -> None:
    plain, *_, guided = sweep(runner, recipe(final=None), PresetFile({}))
    assert plain.forwards == 2
    assert guided.forwards == 4
    assert plain.seconds > 0
    assert plain.cpu_seconds > 0
    late = recipe(final=None).rows(None)[-1]
    late = replace(late, settings=late.settings.updated(guidance_schedule="interval:start=0.5"))
    assert runner.measured(late).forwards == 3
    assert "predict" not in vars(runner.generators[(), None].transformer)


def test_settings_that_the_model_cannot_use_are_found_first(runner: SweepRunner, evaluator) -> None:
    methods = [*RECIPE["methods"], {"name": "long", "settings": {"steps": 17}}]
    with pytest.raises(ValueError, match="1 to 16"):
        sweep(runner, recipe(methods=methods), PresetFile({}))
    assert evaluator.looked == []


def test_the_table_and_the_facts_are_written(runner: SweepRunner) -> None:
    results = sweep(runner, recipe(), PresetFile({}))
    table = (runner.folder / "table.md").read_text()
    assert table.index("## Final") < table.index("## Search")
    head = next(line for line in table.splitlines() if line.startswith("| method"))
    assert "frechet, mean" in head
    assert table.count("| plain |") == 7
    assert "    demask sweep --recipe x" in table
    facts = json.loads((runner.folder / "results.json").read_text())[0]["facts"]
    assert facts["command"] == "demask sweep --recipe x"
    assert facts["date"].startswith("20")
    assert set(facts["networks"]) == {"transformer", "tokenizer"}
    assert results[0].trial.settings == Settings(steps=2, temperature=0.0, choice_temperature=2.0)


def test_a_broken_result_is_said_to_be_one(runner: SweepRunner) -> None:
    sweep(runner, recipe(final=None), PresetFile({}))
    path = next((runner.folder / "rows").iterdir())
    path.write_text("{}")
    with pytest.raises(ValueError, match="holds no result; delete it"):
        sweep(runner, recipe(final=None), PresetFile({}))
