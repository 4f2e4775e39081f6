"""Types shared by all parts of Demask.

Shape legend: B batch, L tokens, V codebook, D width, H W rows and columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch

if TYPE_CHECKING:
    from torch import Tensor

Grid = tuple[int, int]
"""Rows and columns of a token grid; L = rows * columns, in row-major order."""


@dataclass(frozen=True)
class Condition:
    """The condition of a batch: named tensors whose first dimension is B.

    A class-conditional model reads ``class_ids`` (B), a text model its text states. The decode loop
    and the guidances only slice, repeat and join conditions.
    """

    tensors: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def take(self, index: slice | Tensor) -> Condition:
        """The conditions of a part of the batch."""
        return Condition({name: tensor[index] for name, tensor in self.tensors.items()})

    def to(self, device: torch.device | str) -> Condition:
        """A copy on another device."""
        return Condition({name: tensor.to(device) for name, tensor in self.tensors.items()})

    @staticmethod
    def join(parts: Sequence[Condition]) -> Condition:
        """Concatenate several batches."""
        return Condition({name: torch.cat([p[name] for p in parts]) for name in parts[0].tensors})


@dataclass(frozen=True)
class Step:
    """The position in the decode loop at which a prediction is made.

    Attributes:
        index: 0 for the first step, ``steps - 1`` for the last.
        steps: the number of steps.
        grid: rows and columns of the token grid.
        mask_ratio_B: the fraction of masked tokens of each image.
        rows_BL: the positions whose logits are required; accelerators may skip the others. None
            means all.
        pass_names: the passes of a guidance that form the batch, as equal parts in this order:
            ``conditional`` and the name of the reference. Accelerators cache each pass under its
            name; with (), the pass is not cached.
        generators: one random generator per image, for a one-step generator, whose input is random;
            None for all others.
    """

    index: int
    steps: int
    grid: Grid
    mask_ratio_B: Tensor
    rows_BL: Tensor | None = None
    pass_names: tuple[str, ...] = ("conditional",)
    generators: Sequence[torch.Generator] | None = None

    @property
    def progress(self) -> float:
        """The fraction r of the loop that is done after this step (0 < r <= 1)."""
        return (self.index + 1) / self.steps


@dataclass(frozen=True)
class Prediction:
    """A model's prediction for a batch of partly masked images.

    Attributes:
        logits_BLV: unnormalised log-probabilities over the codebook, without special tokens.
        features: the last hidden states (B, tokens, D), or None.
    """

    logits_BLV: Tensor
    features: Tensor | None = None


MICRO_CONDITIONS = ("width", "height", "crop_top", "crop_left", "score")
"""Micro-conditions of a text-to-image model, in the order of its input (Meissonic, section 2.3)."""

USUAL_SCORE = 6.0
"""The preference score of images without a known one."""

Predict = Callable[["Tensor", Condition, Step], Prediction]
"""A model or a guided model: ``(ids_BL, condition, step) -> Prediction``."""


@runtime_checkable
class Guided(Protocol):
    """A `Predict` under guidance, whose scale can be changed."""

    def __call__(self, ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
        """The guided prediction."""
        ...

    def at(self, scale: float) -> Predict:
        """The same guidance at a constant scale: 0 is the reference, 1 is off."""
        ...


@dataclass(frozen=True)
class DecodeState:
    """The state of the decode loop after a step.

    Attributes:
        step: the step.
        ids_BL: the tokens; masked ones hold ``mask_id``.
        known_BL: positions of tokens given by the user, which never change.
        unmasked_now_BL: the positions that this step unmasked.
        mask_id: the id of a masked token.
        logits_BLV: the logits that this step sampled from, after guidance and corrections; None
            before the first step.
        guided_BLV: the guided logits before corrections; None before the first step.
        queried_BL: the positions that were masked when these logits were predicted.
        previous: the state before this step, with its own ``previous`` removed; or None.
    """

    step: Step
    ids_BL: Tensor
    known_BL: Tensor
    unmasked_now_BL: Tensor
    mask_id: int
    logits_BLV: Tensor | None = None
    guided_BLV: Tensor | None = None
    queried_BL: Tensor | None = None
    previous: DecodeState | None = None

    @property
    def masked_BL(self) -> Tensor:
        """The masked positions."""
        return self.ids_BL == self.mask_id

    @property
    def decoded_BL(self) -> Tensor:
        """The positions that the loop has decoded: neither masked nor known."""
        return ~(self.masked_BL | self.known_BL)


class Tokenizer(Protocol):
    """Pixels <-> ids."""

    codebook_size: int
    downsampling: int

    def encode(self, image_BCHW: Tensor) -> Tensor:
        """Images in [0, 1] -> ids (B, H, W), ``downsampling`` times smaller a side."""
        ...

    def decode(self, ids_BHW: Tensor) -> Tensor:
        """Ids (B, H, W) -> images (B, 3, h, w) in [0, 1]."""
        ...


class Transformer(Protocol):
    """Ids + condition -> logits. Its ``predict`` is a `Predict`.

    Attributes:
        codebook_size: V.
        mask_id: the id of a masked token.
        grid: rows and columns that it was trained on.
        resizable: whether it takes other grids.
        grid_multiple: the sides of other grids are multiples of this.
    """

    codebook_size: int
    mask_id: int
    grid: Grid
    resizable: bool
    grid_multiple: int

    def predict(self, ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
        """The distribution over the codebook at every position."""
        ...
