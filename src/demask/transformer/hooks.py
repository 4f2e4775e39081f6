"""Hooks inside a transformer's blocks, for accelerators.

A block applies `BlockHook.select_tokens` to the input of its attention and its MLP, and
`BlockHook.restore_tokens` to their outputs before it adds them to the residual stream. `PassHooks`
makes the hook of each block and selects the tokens that a pass computes. The base classes change
nothing; accelerators derive from them.

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
    """Hooks of one block; no-ops by default."""

    def select_tokens(self, x_BND: Tensor) -> Tensor:
        """The tokens (B, M, D) that a branch computes.

        The image's tokens are the last ones, after a prefix of any length.
        """
        return x_BND

    def restore_tokens(self, x_BMD: Tensor) -> Tensor:
        """The output of a branch for all tokens (B, N, D), from that of the computed ones."""
        return x_BMD

    def select_rotary(self, rotary: Tensor) -> Tensor:
        """Rotary tables of the selected tokens: (2, N, K / 2) -> the same, or (2, B, M, K / 2)."""
        return rotary

    def select_extra(self, extra_BND: Tensor | None) -> Tensor | None:
        """As `select_tokens`, for an additional input of the values, if any."""
        return None if extra_BND is None else self.select_tokens(extra_BND)

    def attend(
        self, query_BHMK: Tensor, key_BHMK: Tensor, value_BHMK: Tensor, dropout: float = 0.0
    ) -> Tensor:
        """Attention of the computed tokens, (B, H, M, K)."""
        return F.scaled_dot_product_attention(query_BHMK, key_BHMK, value_BHMK, dropout_p=dropout)


NO_HOOK = BlockHook()
"""The hook that changes nothing."""


class PassHooks:
    """Hooks of one pass; no-ops by default."""

    def __call__(
        self, block: int, image_BND: Tensor, extra_BND: Tensor | None, grid: Grid
    ) -> BlockHook:
        """The hook of a block; called before the block.

        Args:
            block: index of the block.
            image_BND: the image's tokens in the block's input.
            extra_BND: additional input of the values, of the same length or with the prefix.
            grid: rows and columns of the tokens, which under feature compression are fewer than
                the ids.
        """
        return NO_HOOK

    def change_embeddings(self, x_BLD: Tensor) -> Tensor:
        """The embeddings of the image's ids (B, L, D), before positions and compression."""
        return x_BLD

    def select_input(self, x_BND: Tensor, prefix: int = 0) -> Tensor:
        """The tokens (B, M, D) of the first block's input that this pass computes.

        The first ``prefix`` tokens are not the image's and must be kept.
        """
        return x_BND

    def select_text(self, text_BTD: Tensor) -> Tensor:
        """As `select_input`, for a separate text stream: all of it, or nothing."""
        return text_BTD

    def restore_output(self, x_BMD: Tensor) -> Tensor:
        """The last hidden states of all tokens (B, N, D), for a head that mixes tokens.

        Those that this pass does not compute are the latest known ones.
        """
        return x_BMD

    def select_output(self, x_BLD: Tensor, grid: Grid) -> Tensor:
        """The ids (B, M, D) whose logits this pass returns, for such a head."""
        return x_BLD

    def output_grid(self, grid: Grid) -> Grid:
        """Rows and columns of the ids that the head predicts, instead of the image's."""
        return grid


NO_HOOKS = PassHooks()
"""No hooks."""


class HookableTransformer(Transformer, Protocol):
    """A transformer whose passes take hooks.

    ``grid_multiple`` is the number of ids along a side of one token. A pass that computes a subset
    of the tokens returns the logits and features of this subset.
    """

    def predict(
        self, ids_BL: Tensor, condition: Condition, step: Step, hooks: PassHooks = NO_HOOKS
    ) -> Prediction:
        """As `Transformer.predict`."""
        ...

    def predict_with_attention(
        self, ids_BL: Tensor, condition: Condition, step: Step, hooks: PassHooks = NO_HOOKS
    ) -> tuple[Prediction, Tensor]:
        """As ``predict``, with received attention; only some transformers have it."""
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
