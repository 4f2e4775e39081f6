"""The types of a row of the table of trainings; importing them does not import torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from demask.training.engine.config import TrainConfig
    from demask.training.engine.task import Task

Input = Literal["data", "init", "model", "prompts", "tokenizer"]


@dataclass(frozen=True)
class TrainInputs:
    """The inputs of a training besides its recipe.

    Attributes:
        out: the folder of the run: checkpoints, token caches and the trained network.
        strict: raise an error for an unreadable image, which is skipped otherwise.
        init: a checkpoint whose tensors are the initial weights; None = random weights.
        model: the model to adapt, or whose auxiliary network is trained: a shipped model, a folder
            that training wrote, a transformer with a tokenizer in the same folder, or a folder or
            hub id in Meissonic's layout.
        prompts: prompts of the images that a text-to-image model generates for its own training.
        tokenizer: the checkpoint of the tokenizer; None = the one in ``out``.
    """

    out: Path
    strict: bool = False
    init: str | None = None
    model: str = ""
    prompts: tuple[str, ...] = ()
    tokenizer: Path | None = None


class TrainRecipe(Protocol):
    """A recipe file of a training: a frozen dataclass with a field for each table of the file."""

    @property
    def run(self) -> TrainConfig:
        """The length, batches and reports of the run."""
        ...

    def task(self, inputs: TrainInputs) -> Task:
        """Open the data, seed torch with the seed of the run and build what is trained.

        Raises:
            ValueError: data, a model or a checkpoint is missing or does not fit.
        """
        ...


@dataclass(frozen=True)
class Training:
    """A row of `demask.training.tasks.TRAININGS`; ``demask train`` has a command for each.

    Attributes:
        help: what it trains, as the help of its command.
        recipe: imports and returns the class of its recipe.
        inputs: its inputs besides the recipe. ``data`` stands for ``--data``, ``--held-out`` and
            ``--strict``, and for a field ``data`` of the recipe. With ``model``, a model is
            required and the recipe is optional.
        held_out: the default of ``--held-out``, for its help.
        folder: the default of ``--out`` in ``runs/``: the name of the recipe's ``folder``, of the
            ``recipe`` or of the ``model``; None = ``--out`` is required.
        result: what the command prints: the path of the trained ``file`` or of its ``folder``.
    """

    help: str
    recipe: Callable[[], type[TrainRecipe]]
    inputs: tuple[Input, ...] = ("data",)
    held_out: str = "a part of --data"
    folder: Literal["folder", "recipe", "model"] | None = "recipe"
    result: Literal["file", "folder"] = "file"
