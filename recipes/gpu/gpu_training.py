"""One training of a plan, with its recipe changed for the device, until a time."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gpu_files import shrink
from gpu_plan import Stage

from demask.checkpoint.load import load_model
from demask.config import load_toml, override, parse
from demask.training.data import DataConfig, token_caches
from demask.training.tasks import TRAININGS
from demask.training.tasks import train as run_training

log = logging.getLogger("demask.gpu")

MOST_STEPS = 1_000_000
READERS = 4


@dataclass(frozen=True)
class Places:
    """The folders of a stage.

    Attributes:
        out: the folder of the training.
        tokenizer: the file of its tokenizer.
        model: the model for which it is trained.
    """

    out: Path
    tokenizer: Path
    model: Path


def train(stage: Stage, work: Path, sources: tuple[str, str], end: float) -> None:
    """Train until a time, or resume the training.

    Args:
        stage: the stage of the training.
        work: the folder of all stages.
        sources: the sources of the training and of the held-out images.
        end: the time of the end, in seconds of `time.time`.
    """
    out = work / stage.folder
    tokenizer = (work / stage.tokenizer if stage.tokenizer else out) / "tokenizer.safetensors"
    places = Places(out, tokenizer, work / stage.model)
    recipe = recipe_of(stage, sources)
    if stage.kind == "masked":
        cache_tokens(recipe, places)
    seconds = max(1.0, end - time.time())
    try:
        begin(stage, recipe, places, seconds)
    except Exception as error:
        if not recipe.run.compile:
            raise
        log.warning("%s: without compilation, as it failed: %s", stage.name, str(error)[:300])
        recipe = replace(recipe, run=replace(recipe.run, compile=False))
        begin(stage, recipe, places, max(1.0, end - time.time()))
    if stage.shrink:
        shrink(out, work / stage.shrink)


def recipe_of(stage: Stage, sources: tuple[str, str]) -> Any:
    """The recipe of a stage with its changes and its images."""
    readers = min(READERS, os.cpu_count() or 1)
    changes = [f"run.steps={MOST_STEPS}", f"run.readers={readers}", 'run.tracker="none"']
    path = Path(stage.recipe)
    table = override(load_toml(path), [*changes, *stage.changes])
    recipe: Any = parse(TRAININGS[row_of(stage)].recipe(), table, path)
    names = recipe.data.class_names
    return replace(recipe, data=DataConfig(sources[0], sources[1], class_names=names))


def row_of(stage: Stage) -> str:
    """The name of a stage's training in `TRAININGS`."""
    return stage.kind.replace("-", "_")


def cache_tokens(recipe: Any, places: Places) -> None:
    """Build the token caches of a training before its time is counted."""
    pixels = load_model(str(places.tokenizer)).float().eval()
    images, held_out = recipe.data.open(strict=False)
    token_caches(pixels, images, held_out, recipe.views, places.out)


def begin(stage: Stage, recipe: Any, places: Places, seconds: float) -> None:
    """Train for some seconds."""
    recipe = replace(recipe, run=replace(recipe.run, seconds=seconds))
    inputs: dict[str, Any] = {
        "masked": {"tokenizer": places.tokenizer},
        "self-guidance": {"model": str(places.model)},
    }
    run_training(row_of(stage), recipe, places.out, **inputs.get(stage.kind, {}))
