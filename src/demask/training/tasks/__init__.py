"""The trainings: a file for each in this folder, and a row of `TRAININGS`.

A tokenizer and a transformer that are trained into one folder are a model that `demask.load` reads.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from demask.registry import Table, unknown
from demask.training.engine.training import Training, TrainInputs, TrainRecipe


def _tokenizer() -> type[TrainRecipe]:
    from demask.training.tasks.tokenizer import TokenizerTraining

    return TokenizerTraining


def _masked() -> type[TrainRecipe]:
    from demask.training.tasks.masked import MaskedTraining

    return MaskedTraining


def _lora() -> type[TrainRecipe]:
    from demask.training.tasks.lora import LoraTraining

    return LoraTraining


def _classifier() -> type[TrainRecipe]:
    from demask.training.tasks.classifier import ClassifierTraining

    return ClassifierTraining


def _scorer() -> type[TrainRecipe]:
    from demask.training.tasks.scorer import ScorerTraining

    return ScorerTraining


def _self_guidance() -> type[TrainRecipe]:
    from demask.training.tasks.self_guidance import SelfGuidanceTraining

    return SelfGuidanceTraining


def _token_critic() -> type[TrainRecipe]:
    from demask.training.tasks.token_critic import TokenCriticTraining

    return TokenCriticTraining


def _shortcut() -> type[TrainRecipe]:
    from demask.training.tasks.shortcut import ShortcutTraining

    return ShortcutTraining


TRAININGS: Table[Training] = Table(
    "training",
    {
        "tokenizer": Training(
            "Train a tokenizer: images to tokens and back.",
            _tokenizer,
            ("data", "init"),
            folder="folder",
        ),
        "masked": Training(
            "Train a masked transformer on tokens.\n\n"
            "The images are tokenised once, by a trained tokenizer.",
            _masked,
            ("data", "init", "tokenizer"),
            folder="folder",
        ),
        "lora": Training(
            "Train LoRA adapters of a model of prompts.\n\nA few images with captions are enough.",
            _lora,
            ("model", "data"),
            held_out="all of --data",
            folder=None,
            result="folder",
        ),
        "classifier": Training(
            "Train a classifier for 'demask evaluate'.\n\n"
            "Its features and classes are used to evaluate generated images.",
            _classifier,
        ),
        "scorer": Training(
            "Train a scorer for 'demask compare'.\n\n"
            "It is a small network that scores how well an image fits a prompt.",
            _scorer,
        ),
        "self_guidance": Training(
            "Train the module of self-guidance for a model.\n\nThe model itself is frozen.",
            _self_guidance,
            ("model", "data"),
            folder="model",
        ),
        "token_critic": Training(
            "Train a Token-Critic for a model.\n\n"
            "It is a second network that distinguishes real tokens from generated ones.",
            _token_critic,
            ("model", "data"),
            folder="model",
        ),
        "shortcut": Training(
            "Train a shortcut for a model.\n\n"
            "It is a narrow block that replaces the transformer in some of the decoding steps. It "
            "is trained on images that the model generates; no others are needed.",
            _shortcut,
            ("model", "prompts"),
            folder="model",
        ),
    },
)


def train(name: str, recipe: TrainRecipe, out: Path, **inputs: Any) -> Path:
    """Train a network, or resume its training from the newest checkpoint in ``out``.

    Args:
        name: a row of `TRAININGS`.
        recipe: an object of the row's recipe class.
        out: the folder of the run; see `TrainInputs`.
        inputs: the other fields of `TrainInputs`, such as ``model="emoji"``.

    Returns:
        The path of the trained network.

    Raises:
        ValueError: an unknown training; a recipe of another one; an input that it does not take, or
            a missing model; data, a model or a checkpoint that does not fit; or a folder that holds
            another run.
    """
    from demask.training.engine.loop import Trainer
    from demask.training.start import start_from

    given = checked(name, recipe, out, inputs)
    task = recipe.task(given)
    if given.init:
        start_from(task.modules[task.main], given.init)
    return Trainer(task, recipe.run, out).fit()


def checked(name: str, recipe: TrainRecipe, out: Path, inputs: dict[str, Any]) -> TrainInputs:
    """The inputs of a training, if it takes them; see `train` for the errors."""
    training = TRAININGS[name]
    if not isinstance(recipe, expected := training.recipe()):
        raise ValueError(
            f"the training '{name}' needs a {expected.__name__}, not a {type(recipe).__name__}"
        )
    taken = {*training.inputs, *(("strict",) if "data" in training.inputs else ())}
    valid = [field.name for field in fields(TrainInputs) if field.name in taken]
    for key in inputs:
        if key not in valid:
            raise ValueError(unknown(f"input of the training '{name}'", key, valid))
    if "model" in valid and not inputs.get("model"):
        raise ValueError(f"the training '{name}' needs a model: model=\"NAME|PATH\"")
    return TrainInputs(out, **inputs)
