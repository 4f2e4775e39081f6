"""Token-Critic: classifies every token of an image as real or generated.

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
    """Sizes of a `TokenCritic`: as of a `ModernMaskGIT`, usually smaller."""

    width: int = 128
    depth: int = 4
    mlp_width: int = 256


class TokenCritic(nn.Module):
    """Complete ids + class -> log-odds that each token is real (arXiv 2209.04439, section 3.1).

    The blocks of `ModernMaskGIT` with one output per token. Its input has no masked tokens: they
    are filled with the model's samples.
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
            class_ids_B: class ids; ``num_classes`` is the null class.
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
        """As `forward`, with a condition that holds ``class_ids`` (B)."""
        return self(ids_BL, condition["class_ids"], step.layout.grid)

    def take_over(self, base: nn.Module) -> list[str]:
        """Copy embeddings and first blocks of a model, as far as their shapes match.

        Returns:
            The names of the copied tensors.
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
