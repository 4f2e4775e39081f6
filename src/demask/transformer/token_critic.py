"""Token-Critic: says of every token of an image whether it is real or a model's guess.

Shape legend: B batch, L tokens, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from demask.transformer.layers import rotary_2d
from demask.transformer.modern_maskgit import Block, ModernMaskGITConfig, start_small
from demask.transformer.norm import RMSNorm
from demask.types import Condition, Grid, Step


@dataclass(frozen=True)
class TokenCriticConfig(ModernMaskGITConfig):
    """Sizes of a `TokenCritic`: those of the model whose blocks it has, but smaller."""

    width: int = 128
    depth: int = 4
    mlp_width: int = 256


class TokenCritic(nn.Module):
    """Whole ids + class -> how real each token looks (arXiv 2209.04439, section 3.1).

    The blocks of our MaskGIT with one number a token at the end. It sees no masked tokens: the
    model's guesses stand in their places.
    """

    def __init__(self, config: TokenCriticConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.embed = nn.Embedding(config.codebook_size, width)
        self.embed_class = nn.Embedding(config.num_classes + 1, width)
        self.modulate = nn.Linear(width, 6 * width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = RMSNorm(width, eps=1e-6)
        self.head = nn.Linear(width, 1)
        self.reset()

    def reset(self) -> None:
        """Initialise; see `start_small`."""
        start_small(self)

    def forward(self, ids_BL: Tensor, class_ids_B: Tensor, grid: Grid | None = None) -> Tensor:
        """The log-odds (B, L) that a token is real.

        Args:
            ids_BL: codes, none of them masked.
            class_ids_B: classes, ``num_classes`` for any.
            grid: rows and columns of the ids; by default those of the training.
        """
        shared_B6D = self.modulate(F.silu(self.embed_class(class_ids_B))).unflatten(-1, (6, -1))
        head_width = self.config.width // self.config.heads
        rotary = rotary_2d(grid or self.config.grid, head_width, ids_BL.device)
        x_BLD = self.embed(ids_BL)
        for block in self.blocks:
            x_BLD = block(x_BLD, shared_B6D, rotary)
        real_BL1: Tensor = self.head(self.norm(x_BLD))
        return real_BL1[..., 0]

    def score(self, ids_BL: Tensor, condition: Condition, step: Step) -> Tensor:
        """As `forward`, of what the decode loop knows; the condition holds ``class_ids`` (B)."""
        return self(ids_BL, condition["class_ids"], step.grid)

    def take_over(self, base: nn.Module) -> list[str]:
        """Copy what fits from a model of the same codes: its embeddings and its first blocks.

        Returns:
            The names of the tensors that were taken over.
        """
        given = dict(base.state_dict())
        if "embed.weight" in given:
            given["embed.weight"] = given["embed.weight"][: self.config.codebook_size]
        own = self.state_dict()
        fitting = {
            name: tensor
            for name, tensor in given.items()
            if name in own and own[name].shape == tensor.shape and not name.startswith("head.")
        }
        self.load_state_dict(fitting, strict=False)
        return sorted(fitting)
