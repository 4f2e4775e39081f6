"""Block hooks of local steps: full passes record keys and values, local passes reuse them.

Shape legend: B batch, N sequence (a prefix of text or class, then the image's tokens), M of them
that are computed, S the whole sequence, T text tokens, D width, H heads, K channels of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor

from demask.acceleration.cache import PassCache, TokenSubset
from demask.transformer.hooks import BlockHook, PassHooks
from demask.types import Grid


class FullPass(PassHooks):
    """Hooks of a full pass that record keys and values, (B, S, H, K) of each block."""

    def __init__(self) -> None:
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    def __call__(
        self, block: int, image_BND: Tensor, extra_BND: Tensor | None, grid: Grid
    ) -> BlockHook:
        return Recorder(self)


class Recorder(BlockHook):
    """Records the keys and values of one block."""

    def __init__(self, whole: FullPass) -> None:
        self.whole = whole

    def attend(
        self, query_BHMK: Tensor, key_BHMK: Tensor, value_BHMK: Tensor, dropout: float = 0.0
    ) -> Tensor:
        self.whole.keys.append(key_BHMK.transpose(1, 2).contiguous())
        self.whole.values.append(value_BHMK.transpose(1, 2).contiguous())
        return super().attend(query_BHMK, key_BHMK, value_BHMK, dropout)


class LocalPass(PassHooks):
    """Hooks of a pass that computes a subset of tokens and no separate text stream.

    Attributes:
        tokens: subset of the image's tokens.
        rows: the same subset with the prefix.
        parts: ``rows`` of each part of the batch.
        caches: the cache of each part.
        side: ids along a token's side.
    """

    def __init__(self, tokens: TokenSubset, caches: list[PassCache], side: int) -> None:
        self.tokens = self.rows = tokens
        self.caches, self.side = caches, side
        self.parts = tokens.parts(len(caches))
        self.rotary: Tensor | None = None

    def __call__(
        self, block: int, image_BND: Tensor, extra_BND: Tensor | None, grid: Grid
    ) -> BlockHook:
        return LocalHook(self, block)

    def select_input(self, x_BND: Tensor, prefix: int = 0) -> Tensor:
        self.rows = self.tokens.after(prefix)
        self.parts = self.rows.parts(len(self.caches))
        return self.rows.take(x_BND)

    def select_text(self, text_BTD: Tensor) -> Tensor:
        return text_BTD[:, :0]

    def restore_output(self, x_BMD: Tensor) -> Tensor:
        chunks = zip(self.parts, x_BMD.chunk(len(self.caches)), self.caches, strict=True)
        return torch.cat([rows.among(new, kept.features_BSD) for rows, new, kept in chunks])

    def select_output(self, x_BLD: Tensor, grid: Grid) -> Tensor:
        return self.tokens.ids(grid, self.side).take(x_BLD)

    def output_grid(self, grid: Grid) -> Grid:
        return self.side, self.side * self.tokens.index_BM.shape[1]


class LocalHook(BlockHook):
    """Writes the keys and values of the subset into the cache, then attends to the whole cache."""

    def __init__(self, local: LocalPass, block: int) -> None:
        self.local, self.block = local, block

    def select_rotary(self, rotary: Tensor) -> Tensor:
        if self.local.rotary is None:
            rows = self.local.rows
            self.local.rotary = rotary[:, rows.index_BM + (rotary.shape[1] - rows.length)]
        return self.local.rotary

    def select_extra(self, extra_BND: Tensor | None) -> Tensor | None:
        return None if extra_BND is None else self.local.rows.take(extra_BND)

    def attend(
        self, query_BHMK: Tensor, key_BHMK: Tensor, value_BHMK: Tensor, dropout: float = 0.0
    ) -> Tensor:
        caches = self.local.caches
        parts = [x.chunk(len(caches)) for x in (query_BHMK, key_BHMK, value_BHMK)]
        gathered = []
        for kept, rows, query, key, value in zip(caches, self.local.parts, *parts, strict=True):
            keys, values = kept.keys[self.block], kept.values[self.block]
            rows.put(key.transpose(1, 2), keys)
            rows.put(value.transpose(1, 2), values)
            pair = keys.transpose(1, 2), values.transpose(1, 2)
            gathered.append(super().attend(query, *pair, dropout))
        return gathered[0] if len(gathered) == 1 else torch.cat(gathered)
