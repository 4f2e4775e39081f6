"""Hooks inside a transformer's blocks, for accelerators.

A block computes its attention and its MLP on what `BlockHook.select_tokens` makes of their input,
and adds to its residual stream what `BlockHook.restore_tokens` makes of their result. `PassHooks`
says what happens around the blocks: which tokens a pass computes at all. As they stand both do
nothing, and the blocks are those of the papers; an accelerator derives its own from them.

Shape legend: B batch, N tokens (a prefix of text or class, then the image's), M of them that are
computed, T text tokens, D width, H heads, K channels of a head.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor

from demask.types import Condition, Grid, Prediction, Step, Transformer


class BlockHook:
    """What an accelerator does inside one block; by default nothing."""

    def select_tokens(self, x_BND: Tensor) -> Tensor:
        """The tokens (B, M, D) that a branch computes, out of all.

        The image's tokens are the last ones, whatever stands before them.
        """
        return x_BND

    def restore_tokens(self, x_BMD: Tensor) -> Tensor:
        """What a branch says of all tokens (B, N, D), out of those that it computed."""
        return x_BMD

    def select_rotary(self, rotary: Tensor) -> Tensor:
        """Rotary tables of the selected tokens: (2, N, K / 2) -> the same, or (2, B, M, K / 2)."""
        return rotary

    def select_extra(self, extra_BND: Tensor | None) -> Tensor | None:
        """As `select_tokens`, for a second input of the values, where there is one."""
        return None if extra_BND is None else self.select_tokens(extra_BND)

    def attend(
        self, query_BHMK: Tensor, key_BHMK: Tensor, value_BHMK: Tensor, dropout: float = 0.0
    ) -> Tensor:
        """What each of the computed tokens gathers, (B, H, M, K), heads apart."""
        return F.scaled_dot_product_attention(query_BHMK, key_BHMK, value_BHMK, dropout_p=dropout)


NO_HOOK = BlockHook()
"""The hook that changes nothing."""


class PassHooks:
    """What an accelerator does in one pass; by default nothing."""

    def __call__(
        self, block: int, image_BND: Tensor, extra_BND: Tensor | None, grid: Grid
    ) -> BlockHook:
        """The hook of a block, asked for before it.

        Args:
            block: counts all blocks, first to last.
            image_BND: the image's tokens in the block's input.
            extra_BND: the second input of its values, as long or with the prefix in front.
            grid: rows and columns of the tokens, which under feature compression are fewer than
                the ids.
        """
        return NO_HOOK

    def select_input(self, x_BND: Tensor, prefix: int = 0) -> Tensor:
        """The tokens (B, M, D) that this pass computes, out of the first block's input.

        The first ``prefix`` tokens are not the image's; they stay.
        """
        return x_BND

    def select_text(self, text_BTD: Tensor) -> Tensor:
        """As `select_input`, for a text in a stream of its own: all of it, or none."""
        return text_BTD

    def output_grid(self, grid: Grid) -> Grid:
        """Rows and columns of the ids that the head is asked for, in place of the image's."""
        return grid


NO_HOOKS = PassHooks()
"""An ordinary pass."""


class HookableTransformer(Transformer, Protocol):
    """A transformer whose passes can be looked into.

    ``grid_multiple`` is how many ids a side one of its tokens has. A pass that leaves tokens out
    answers with the logits and the features of those that it computed.
    """

    def predict(
        self, ids_BL: Tensor, condition: Condition, step: Step, hooks: PassHooks = NO_HOOKS
    ) -> Prediction:
        """As `Transformer.predict`."""
        ...

    def predict_with_attention(
        self, ids_BL: Tensor, condition: Condition, step: Step, hooks: PassHooks = NO_HOOKS
    ) -> tuple[Prediction, Tensor]:
        """As ``predict``, with the attention that tokens receive; only some transformers tell."""
        ...

    def second_pass(
        self,
        extra_values: Sequence[Tensor],
        condition: Condition,
        step: Step,
        blank: bool,
        hooks: PassHooks = NO_HOOKS,
    ) -> Iterator[Tensor]:
        """As `feature_selection.Base.second_pass`."""
        ...
