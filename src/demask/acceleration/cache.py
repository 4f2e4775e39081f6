"""The cache of a pass, and the subset of tokens that a local pass recomputes.

Shape legend: B batch, L ids, N tokens of the image, S sequence (a prefix of text or class, then
the image's tokens), M rows that are computed, D width, H heads, K channels of a head, R rows of
all images, V codebook, X any shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from demask.layouts import plane
from demask.types import Condition, Grid, Step


@dataclass(frozen=True)
class TokenSubset:
    """A subset of the rows of every image, padded to the same number M.

    Images with fewer rows are padded with other rows of their own. Padding is computed but never
    stored or read, so an image does not depend on its batch.

    Attributes:
        index_BM: distinct rows of a sequence of ``length``.
        real_BM: False at padding.
        length: the length of the sequence.
    """

    index_BM: Tensor
    real_BM: Tensor
    length: int

    @classmethod
    def of(cls, queried_BN: Tensor) -> TokenSubset:
        """The subset that a mask selects."""
        count_B = queried_BN.sum(-1)
        most = int(count_B.max())
        index_BM = (~queried_BN).byte().argsort(dim=-1, stable=True)[:, :most]
        real_BM = torch.arange(most, device=queried_BN.device) < count_B[:, None]
        return cls(index_BM, real_BM, queried_BN.shape[1])

    def after(self, prefix: int) -> TokenSubset:
        """The same rows, shifted by a prefix that is included in the subset."""
        batch, device = len(self.index_BM), self.index_BM.device
        first_BP = torch.arange(prefix, device=device).expand(batch, -1)
        some_BP = self.real_BM.any(-1, keepdim=True).expand(-1, prefix)
        return TokenSubset(
            torch.cat([first_BP, self.index_BM + prefix], dim=1),
            torch.cat([some_BP, self.real_BM], dim=1),
            self.length + prefix,
        )

    def ids(self, grid: Grid, side: int, parts: int = 1) -> TokenSubset:
        """The ids of these tokens, each of which covers ``side`` x ``side`` positions.

        They are ordered as in a grid of ``side`` rows with the tokens side by side; the ``parts``
        ids of a position are neighbours.
        """
        columns = grid[1] // side
        within = torch.arange(side, device=self.index_BM.device)
        row_BM, column_BM = self.index_BM // columns, self.index_BM % columns
        down = (row_BM * side)[:, None, :, None] + within[:, None, None]
        right = (column_BM * side)[:, None, :, None] + within
        own = torch.arange(parts, device=self.index_BM.device)
        index = ((down * grid[1] + right) * parts)[..., None] + own
        real = self.real_BM[:, None, :, None, None].expand_as(index)
        return TokenSubset(index.flatten(1), real.flatten(1), grid[0] * grid[1] * parts)

    def parts(self, count: int) -> list[TokenSubset]:
        """Split into equal parts of the batch."""
        chunks = zip(self.index_BM.chunk(count), self.real_BM.chunk(count), strict=True)
        return [TokenSubset(index_BM, real_BM, self.length) for index_BM, real_BM in chunks]

    def flat(self, length: int) -> Tensor:
        """Indices (B, M) of the rows in the concatenated sequences of a batch.

        Args:
            length: S of each sequence; surplus tokens form a prefix.
        """
        start_B = torch.arange(len(self.index_BM), device=self.index_BM.device) * length
        return self.index_BM + start_B[:, None] + (length - self.length)

    @cached_property
    def source_R(self) -> Tensor | None:
        """Indices of the rows that are not padding; None if all are."""
        if bool(self.real_BM.all()):
            return None
        return self.real_BM.flatten().nonzero()[:, 0]

    def take(self, x_BSX: Tensor) -> Tensor:
        """Gather the rows, (B, M, X)."""
        flat_R = self.flat(x_BSX.shape[1]).flatten()
        return x_BSX.flatten(0, 1).index_select(0, flat_R).unflatten(0, self.index_BM.shape)

    def put(self, x_BMX: Tensor, into_BSX: Tensor) -> None:
        """Write the rows, except padding, into a contiguous tensor in place."""
        flat_R, x_RX = self.flat(into_BSX.shape[1]).flatten(), x_BMX.flatten(0, 1)
        if self.source_R is not None:
            flat_R, x_RX = flat_R[self.source_R], x_RX[self.source_R]
        assert into_BSX.is_contiguous(), "a copy would be written into"
        into_BSX.flatten(0, 1).index_copy_(0, flat_R, x_RX)

    def among(self, x_BMX: Tensor, old_BSX: Tensor) -> Tensor:
        """A copy of a tensor with these rows replaced, except padding."""
        mixed_BSX = old_BSX.clone(memory_format=torch.contiguous_format)
        self.put(x_BMX, mixed_BSX)
        return mixed_BSX


def pooled(mask_BL: Tensor, grid: Grid, side: int, parts: int = 1) -> Tensor:
    """Tokens (B, N) with any of ``side`` x ``side`` positions' ``parts`` ids in a mask."""
    if parts > 1:
        mask_BL = mask_BL.unflatten(1, (-1, parts)).any(-1)
    if side == 1:
        return mask_BL
    cells = mask_BL.unflatten(1, (grid[0] // side, side, grid[1] // side, side))
    return cells.any(4).any(2).flatten(1)


@dataclass
class PassCache:
    """The cache of one pass of a guidance.

    Attributes:
        seen: input of the pass, ids (B, L) or vectors (B, S, D).
        condition: condition of the pass.
        grid: rows and columns of the ids.
        full: step index of the last full pass.
        latest: step index of the last pass.
        features_BSD: the last hidden states, without a separate text stream.
        logits_BLV: the latest logits of every row, or None.
        attention_BL: received attention in the last full pass, or None.
        keys: (B, S, H, K) of each block, contiguous.
        values: as the keys.
    """

    seen: Tensor
    condition: Condition
    grid: Grid
    full: int
    latest: int
    features_BSD: Tensor
    logits_BLV: Tensor | None
    attention_BL: Tensor | None
    keys: list[Tensor]
    values: list[Tensor]

    def matches(self, seen: Tensor, condition: Condition, step: Step) -> bool:
        """Whether it belongs to these images and an earlier step of the same loop."""
        conditions = condition.tensors
        return (
            self.seen.shape == seen.shape
            and self.grid == plane(step.layout)
            and self.latest <= step.index
            and self.condition.tensors.keys() == conditions.keys()
            and all(torch.equal(self.condition[name], conditions[name]) for name in conditions)
        )

    def changed(self, seen: Tensor) -> Tensor:
        """Positions at which an input differs from the last pass, (B, L) or (B, S)."""
        differs = self.seen != seen
        return differs.any(-1) if differs.ndim == 3 else differs

    def only(self, queried_B: Tensor, caches: PassCache) -> PassCache:
        """This cache for some images, and the older one for the others."""

        def mixed(new: Tensor, old: Tensor) -> Tensor:
            return torch.where(along(queried_B, new), new, old)

        def found(new: Tensor | None, old: Tensor | None) -> Tensor | None:
            return new if new is None or old is None else mixed(new, old)

        return replace(
            self,
            seen=mixed(self.seen, caches.seen),
            features_BSD=mixed(self.features_BSD, caches.features_BSD),
            logits_BLV=found(self.logits_BLV, caches.logits_BLV),
            attention_BL=found(self.attention_BL, caches.attention_BL),
            keys=[mixed(*pair) for pair in zip(self.keys, caches.keys, strict=True)],
            values=[mixed(*pair) for pair in zip(self.values, caches.values, strict=True)],
        )


def along(mask_B: Tensor, x_BX: Tensor) -> Tensor:
    """Reshape a mask of images so that it broadcasts over a tensor."""
    return mask_B[(...,) + (None,) * (x_BX.ndim - 1)]


def split_parts(x: Tensor | None, parts: int) -> list[Tensor] | list[None]:
    """Split a batch into equal parts; None becomes a list of None."""
    return [None] * parts if x is None else list(x.chunk(parts))


def join_parts(parts: list[Tensor | None]) -> Tensor | None:
    """Concatenate the parts; None if any part is None."""
    found = [part for part in parts if part is not None]
    if len(found) < len(parts):
        return None
    return found[0] if len(found) == 1 else torch.cat(found)


def look_up(
    memory: Mapping[str, PassCache], seen: Tensor, condition: Condition, step: Step
) -> tuple[list[Condition], list[PassCache]]:
    """The condition of each part of a batch, and the caches of the parts that have a valid one.

    Args:
        memory: caches by pass name.
        seen: input of all parts.
        condition: condition of all parts.
        step: its ``pass_names`` name the parts; there is at least one.
    """
    size = len(seen) // len(step.pass_names)
    conditions = [
        condition.take(slice(i * size, (i + 1) * size)) for i in range(len(step.pass_names))
    ]
    caches = [
        kept
        for name, one, words in zip(
            step.pass_names, seen.chunk(len(conditions)), conditions, strict=True
        )
        if (kept := memory.get(name)) and kept.matches(one, words, step)
    ]
    return conditions, caches
