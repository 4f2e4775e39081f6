"""The seam inside a transformer's blocks, where an accelerator may look in.

A block computes its attention and its MLP on what `Seam.take` makes of their input, and adds to its
residual stream what `Seam.give` makes of their result. `Seams` says what happens around the blocks:
which tokens a pass computes at all. As they stand both do nothing, and the blocks are those of the
papers; an accelerator derives its own from them.

Shape legend: B batch, N tokens (a prefix of text or class, then the picture's), M of them that are
computed, T text tokens, D width, H heads, K channels of a head.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor

from demask.types import Condition, Grid, Prediction, Step, Transformer


class Seam:
    """What an accelerator does inside one block; by default nothing."""

    def take(self, x_BND: Tensor) -> Tensor:
        """The tokens (B, M, D) that a branch computes, out of all.

        The picture's tokens are the last ones, whatever stands before them.
        """
        return x_BND

    def give(self, x_BMD: Tensor) -> Tensor:
        """What a branch says of all tokens (B, N, D), out of those that it computed."""
        return x_BMD

    def turn(self, rotary: Tensor) -> Tensor:
        """Rotary tables of the tokens of `take`: (2, N, K / 2) -> the same, or (2, B, M, K / 2)."""
        return rotary

    def take_extra(self, extra_BND: Tensor | None) -> Tensor | None:
        """As `take`, for a second input of the values, where there is one."""
        return None if extra_BND is None else self.take(extra_BND)

    def attend(
        self, query_BHMK: Tensor, key_BHMK: Tensor, value_BHMK: Tensor, dropout: float = 0.0
    ) -> Tensor:
        """What each of the computed tokens gathers, (B, H, M, K), heads apart."""
        return F.scaled_dot_product_attention(query_BHMK, key_BHMK, value_BHMK, dropout_p=dropout)


PLAIN = Seam()
"""The seam that nobody looks into."""


class Seams:
    """What an accelerator does in one pass; by default nothing."""

    def __call__(self, block: int, image_BND: Tensor, extra_BND: Tensor | None, grid: Grid) -> Seam:
        """The seam of a block, asked for before it.

        Args:
            block: counts all blocks, first to last.
            image_BND: the picture's tokens in the block's input.
            extra_BND: the second input of its values, as long or with the prefix in front.
            grid: rows and columns of the tokens, which under feature compression are fewer than
                the ids.
        """
        return PLAIN

    def enter(self, x_BND: Tensor, prefix: int = 0) -> Tensor:
        """The tokens (B, M, D) that this pass computes, out of the first block's input.

        The first ``prefix`` tokens are not the picture's; they stay.
        """
        return x_BND

    def enter_text(self, text_BTD: Tensor) -> Tensor:
        """As `enter`, for a text in a stream of its own: all of it, or none."""
        return text_BTD

    def leave(self, grid: Grid) -> Grid:
        """Rows and columns of the ids that the head is asked for, in place of the picture's."""
        return grid


plain = Seams()
"""An ordinary pass."""


class Seamed(Transformer, Protocol):
    """A transformer whose passes can be looked into.

    ``grid_multiple`` is how many ids a side one of its tokens has. A pass that leaves tokens out
    answers with the logits and the features of those that it computed.
    """

    def predict(
        self, ids_BL: Tensor, condition: Condition, step: Step, seams: Seams = plain
    ) -> Prediction:
        """As `Transformer.predict`."""
        ...

    def attended(
        self, ids_BL: Tensor, condition: Condition, step: Step, seams: Seams = plain
    ) -> tuple[Prediction, Tensor]:
        """As ``predict``, with the attention that tokens receive; only some transformers tell."""
        ...

    def second_pass(
        self,
        extra_values: Sequence[Tensor],
        condition: Condition,
        step: Step,
        blank: bool,
        seams: Seams = plain,
    ) -> Iterator[Tensor]:
        """As `feature_selection.Base.second_pass`."""
        ...
