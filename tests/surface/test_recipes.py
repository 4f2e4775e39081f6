"""Every recipe is one: it parses, and its sizes fit each other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from demask.config import load_toml, parse
from demask.sweeps.recipe import SweepRecipe
from demask.training.tasks import TRAININGS
from demask.training.tasks.masked import MaskedTraining
from demask.training.tasks.text import MeissonicRecipe
from demask.transformer.meissonic import Meissonic, MeissonicConfig

ROOT = Path(__file__).parents[2] / "recipes"
RECIPES = sorted(path for path in ROOT.rglob("*.toml") if path.name != "plan.toml")
TABLES = {"transformer": "masked", "meissonic": "masked"}
"""Tables of a recipe that are not named after their training."""
STAGES = [ROOT / "meissonic" / f"stage{n}.toml" for n in (1, 2, 3, 4)]
PIXELS = 16
"""Of a token of the published tokenizer."""


def name(recipe: Path) -> str:
    return recipe.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("recipe", RECIPES, ids=name)
def test_it_parses(recipe: Path) -> None:
    tables = load_toml(recipe)
    if recipe.parent.name == "sweeps":
        assert parse(SweepRecipe, tables, recipe)
        return
    (kind,) = {TABLES.get(table, table) for table in tables} & set(TRAININGS)
    assert parse(TRAININGS[kind].recipe(), tables, recipe)


def stage(path: Path) -> tuple[MaskedTraining, MeissonicRecipe]:
    recipe = parse(MaskedTraining, load_toml(path), path)
    assert recipe.meissonic is not None
    return recipe, recipe.meissonic


def config(recipe: MaskedTraining) -> MeissonicConfig:
    """What `MeissonicRecipe.config` makes of the published tokenizer and text encoder."""
    told = recipe.meissonic
    assert told is not None
    sizes = {n: getattr(told, n) for n in ("heads", "head_width", "blocks", "single_blocks")}
    height, width = recipe.views.sizes[0]
    return MeissonicConfig(
        vocabulary=8193,
        axes=told.axes,
        compress=told.compress,
        grid=(height // PIXELS, width // PIXELS),
        **sizes,
    )


@pytest.mark.parametrize("path", STAGES, ids=name)
def test_the_stages_train_the_published_network(path: Path) -> None:
    recipe, told = stage(path)
    published = MeissonicConfig()
    own = config(recipe)
    same = replace(published, vocabulary=8193, compress=own.compress, grid=own.grid)
    assert own == same
    multiple = PIXELS * (2 if told.compress else 1)
    assert all(h % multiple == w % multiple == 0 for h, w in recipe.views.sizes)
    area = recipe.views.size**2
    assert all(0.95 * area < h * w <= area for h, w in recipe.views.sizes)
    assert told.masking.ratio == "cosine"
    assert told.optim.factor(recipe.run.steps - 1, recipe.run.steps) == 1


def test_the_stages_are_those_of_the_paper() -> None:
    stages = [stage(path) for path in STAGES]
    facts = [
        (r.views.size, r.run.batch_size, r.run.steps, told.compress, told.text.frozen)
        for r, told in stages[:3]
    ]
    assert facts == [
        (256, 2048, 100_000, False, True),
        (512, 512, 100_000, False, True),
        (1024, 256, 42_000, True, True),
    ]
    assert [told.optim.learning_rate for _, told in stages[:3]] == [1e-4] * 3
    last = stages[3][1]
    assert last.optim.learning_rate < 1e-4
    assert not last.text.frozen
    assert config(stages[3][0]) == config(stages[2][0])


def test_each_stage_fits_what_it_starts_from() -> None:
    """All tensors of a stage but those of the compression are in the stage before."""
    with torch.device("meta"):
        shapes = [
            {n: tuple(t.shape) for n, t in Meissonic(config(stage(path)[0])).state_dict().items()}
            for path in STAGES
        ]
    assert shapes[0] == shapes[1]
    assert shapes[2] == shapes[3]
    new = {n for n in shapes[2] if shapes[1].get(n) != shapes[2][n]}
    assert {n.split(".")[0] for n in new} == {"down_block", "up_block"}
