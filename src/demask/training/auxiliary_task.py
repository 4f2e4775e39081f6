"""The base class of trainings of an auxiliary network of a frozen class-conditional model.

Shape legend: B batch, L tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from demask.checkpoint.lora import base_fingerprint
from demask.data.tokens import TokenCache
from demask.training.engine.identity import describe
from demask.training.engine.task import Task, check_classes
from demask.training.masking import drop_classes
from demask.types import Tokenizer


class AuxiliaryTask(Task):
    """Trains an auxiliary network of a frozen class-conditional model, on cached tokens.

    Args:
        recipe: the configuration, with a field ``class_dropout``.
        base: the model; its parameters are frozen.
        tokens: the tokens of the training images.
        held_out: the tokens of the held-out images.
        tokenizer: decodes the samples.

    Raises:
        ValueError: the images do not have as many classes as the model.
    """

    def __init__(
        self,
        recipe: Any,
        base: nn.Module,
        tokens: TokenCache,
        held_out: TokenCache,
        tokenizer: Tokenizer,
    ) -> None:
        check_classes(tokens, base)
        self.tokens, self.held_out, self.tokenizer = tokens, held_out, tokenizer
        self.examples = len(tokens)
        self.build(recipe, base)

    def build(self, recipe: Any, base: nn.Module) -> None:
        """Freeze the model; a subclass builds the network that is trained."""
        self.recipe, self.frozen = recipe, base.eval().requires_grad_(False)
        self.fingerprint = base_fingerprint(base)

    def identity(self) -> str:
        """The recipe, the model and the token cache."""
        return describe(
            task=self.main,
            recipe=self.recipe,
            base=self.fingerprint,
            tokens=self.tokens.fingerprint,
        )

    def read(self, indices: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Ids (B, L) of a random view of each image, and class ids (B), some of them dropped."""
        view_B = torch.randint(self.tokens.views, indices.shape, generator=generator)
        ids_BL, class_ids_B = self.tokens.read(indices, view_B)
        null = getattr(self.frozen, "null_class", None)
        return ids_BL, drop_classes(class_ids_B, null, self.recipe.class_dropout, generator)
