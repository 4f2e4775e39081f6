"""The few types that every part of Demask shares.

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
    """What each image of a batch should show: named tensors whose first dimension is B.

    A class-conditional model reads ``class_ids`` (B); a text model reads its text states. The
    decode loop and the guidances only ever slice, repeat and join conditions.
    """

    tensors: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def take(self, index: slice | Tensor) -> Condition:
        """The conditions of some images of the batch."""
        return Condition({name: tensor[index] for name, tensor in self.tensors.items()})

    def to(self, device: torch.device | str) -> Condition:
        """The same conditions on another device."""
        return Condition({name: tensor.to(device) for name, tensor in self.tensors.items()})

    @staticmethod
    def join(parts: Sequence[Condition]) -> Condition:
        """One batch out of several."""
        return Condition({name: torch.cat([p[name] for p in parts]) for name in parts[0].tensors})


@dataclass(frozen=True)
class Step:
    """Where the decode loop stands when it asks for a prediction.

    Attributes:
        index: 0 for the first step, ``steps - 1`` for the last.
        steps: how many steps the loop makes.
        grid: rows and columns of the token grid.
        mask_ratio_B: the fraction of each image's tokens that is still masked.
        rows_BL: the positions whose logits will be read (an accelerator may skip the others),
            or None for all.
        pass_names: what the equal parts of the batch are to a guidance, in order: the
            ``conditional`` pass, and by what name it calls its reference. An accelerator that
            remembers keeps them apart, and forgets a pass without a name, ().
    """

    index: int
    steps: int
    grid: Grid
    mask_ratio_B: Tensor
    rows_BL: Tensor | None = None
    pass_names: tuple[str, ...] = ("conditional",)

    @property
    def progress(self) -> float:
        """The fraction r of the loop that is done once this step is over (0 < r <= 1)."""
        return (self.index + 1) / self.steps


@dataclass(frozen=True)
class Prediction:
    """What a model thinks of a partly masked image.

    Attributes:
        logits_BLV: unnormalised log-probabilities over the codebook, without special tokens.
        features: the last hidden states (B, tokens, D), for methods that reuse them; or None.
    """

    logits_BLV: Tensor
    features: Tensor | None = None


MICRO_CONDITIONS = ("width", "height", "crop_top", "crop_left", "score")
"""What a text-to-image model is told of an image beside its words, in the order in which it reads
them (Meissonic, arXiv 2410.08261, section 2.3)."""

USUAL_SCORE = 6.0
"""The preference score of an image of which none is known."""

Predict = Callable[["Tensor", Condition, Step], Prediction]
"""A model: ``(ids_BL, condition, step) -> Prediction``. A guidance is Predict -> Predict."""


@runtime_checkable
class Guided(Protocol):
    """A `Predict` under guidance, which can be asked at another scale, too."""

    def __call__(self, ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
        """The guided prediction."""
        ...

    def at(self, scale: float) -> Predict:
        """The same guidance at one scale in every step: 0 is its reference alone, 1 is off."""
        ...


@dataclass(frozen=True)
class DecodeState:
    """The decode loop after a step.

    Attributes:
        step: where the loop stood.
        ids_BL: the tokens now; masked ones hold ``mask_id``.
        known_BL: tokens that came from the user and never change.
        unmasked_now_BL: the positions that this step decided.
        mask_id: the id of a masked token.
        logits_BLV: the distribution that this step sampled from (guided and corrected); None
            before the first step.
        guided_BLV: the prediction before any correction, or None.
        queried_BL: the positions that were masked when that prediction was made, or None.
        previous: the state that this step began from, without a ``previous`` of its own, or None.
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
    def previous_logits_BLV(self) -> Tensor | None:
        """The distribution that the step before sampled from, or None."""
        return None if self.previous is None else self.previous.logits_BLV

    @property
    def masked_BL(self) -> Tensor:
        """The positions that are still masked."""
        return self.ids_BL == self.mask_id

    @property
    def decoded_BL(self) -> Tensor:
        """The positions that the loop has decided: neither masked nor the user's."""
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
        resizable: it takes other grids too, ...
        grid_multiple: ... whose sides are multiples of this.
    """

    codebook_size: int
    mask_id: int
    grid: Grid
    resizable: bool
    grid_multiple: int

    def predict(self, ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
        """The distribution over the codebook at every position."""
        ...
