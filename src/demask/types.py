"""Types shared by all parts of Demask.

Shape legend: B batch, L tokens, V codebook, D width, H W rows and columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch

if TYPE_CHECKING:
    from torch import Tensor

Grid = tuple[int, int]
"""Rows and columns of a grid of positions, in row-major order."""

KINDS = {1: "row", 2: "grid", 3: "video"}
"""The name of a layout of so many dimensions."""


@dataclass(frozen=True)
class TokenLayout:
    """The arrangement of the L tokens of an image: positions, and the tokens at each position.

    The tokens are flattened in the order of ``dims``, the last dimension fastest, so that the
    parts of a position are neighbours.

    Attributes:
        shape: the positions: (L,) is a row, (rows, columns) a grid, (time, rows, columns) a video.
        parts: tokens at each position; an id of the tokenizer is split into so many tokens (the
            bit groups of MaskBit, arXiv 2409.16211, section 3.3). L = positions * parts.

    Raises:
        ValueError: no dimension or more than three, or a number below 1.
    """

    shape: tuple[int, ...]
    parts: int = 1

    def __post_init__(self) -> None:
        if len(self.shape) not in KINDS or min(*self.shape, self.parts, 1) < 1:
            raise ValueError(
                "a token layout has one to three dimensions, and parts, of at least 1, "
                f"not {self.shape} and {self.parts}"
            )

    @property
    def positions(self) -> int:
        """The number of positions."""
        return math.prod(self.shape)

    @property
    def tokens(self) -> int:
        """L, the number of tokens."""
        return self.positions * self.parts

    @property
    def dims(self) -> tuple[int, ...]:
        """The dimensions of the tokens: ``shape``, and where there are several, the parts."""
        return self.shape if self.parts == 1 else (*self.shape, self.parts)

    @property
    def grid(self) -> Grid:
        """Rows and columns.

        Raises:
            ValueError: the positions are no grid.
        """
        if len(self.shape) != 2:
            raise ValueError(f"the tokens are {self}, not a grid")
        return self.shape[0], self.shape[1]

    @property
    def sides(self) -> str:
        """The dimensions, as sizes in pixels are written: columns before rows, then the parts."""
        parts = () if self.parts == 1 else (self.parts,)
        return "x".join(str(side) for side in (*reversed(self.shape), *parts))

    def __str__(self) -> str:
        sides = " x ".join(str(side) for side in self.shape)
        parts = "" if self.parts == 1 else f" positions with {self.parts} tokens each"
        return f"a {KINDS[len(self.shape)]} of {sides}{parts or ' tokens'}"

    def split(self, ids: Tensor, codes: int) -> Tensor:
        """Ids of the tokenizer -> tokens (B, *dims) below ``codes``, the lowest digit first."""
        if self.parts == 1:
            return ids
        weights = [codes**part for part in range(self.parts)]
        return ids[..., None] // ids.new_tensor(weights) % codes

    def join(self, ids_BL: Tensor, codes: int) -> Tensor:
        """Tokens (B, L) -> ids of the tokenizer (B, *shape); the reverse of `split`."""
        if self.parts == 1:
            return ids_BL.unflatten(1, self.shape)
        weights = [codes**part for part in range(self.parts)]
        return (ids_BL.unflatten(1, self.dims) * ids_BL.new_tensor(weights)).sum(-1)


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
        layout: of the L tokens.
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
    layout: TokenLayout
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

DECODER_TEXT = "decoder_text"
"""The tensor of a condition that the decoder of a tokenizer reads: its text (B, T, E)."""

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
        condition: what each image shows, which the decoder of a tokenizer may read; or None.
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
    condition: Condition | None = None

    @property
    def masked_BL(self) -> Tensor:
        """The masked positions."""
        return self.ids_BL == self.mask_id

    @property
    def decoded_BL(self) -> Tensor:
        """The positions that the loop has decoded: neither masked nor known."""
        return ~(self.masked_BL | self.known_BL)


class Tokenizer(Protocol):
    """Pixels <-> ids, one at each position of the layout.

    Attributes:
        codebook_size: the number of ids.
        downsampling: pixels of a position along a side of a grid, and the multiple that the sides
            of an image must have. A tokenizer whose ids are a row has ``image_size``, too: the
            height and width of its images.
    """

    codebook_size: int
    downsampling: int

    def encode(self, image_BCHW: Tensor) -> Tensor:
        """Images in [0, 1] -> ids (B, *shape of the layout)."""
        ...

    def decode(self, ids: Tensor, /) -> Tensor:
        """Ids (B, *shape) -> images (B, 3, h, w) in [0, 1]."""
        ...


class ReadsCondition(Protocol):
    """A tokenizer whose decoder reads what an image shows beside its ids (TA-TiTok).

    `demask.pipeline.Pipeline.tokenizer_for` gives it the condition of the batch. Saved ids alone
    are not the image: their prompt belongs to them. Where there is none, it is the empty prompt.
    """

    def conditioned(self, condition: Condition) -> Tokenizer:
        """The tokenizer that decodes a batch of this condition."""
        ...


class Transformer(Protocol):
    """Ids + condition -> logits. Its ``predict`` is a `Predict`.

    Attributes:
        codebook_size: V, the codes of a token: with several parts at a position, V ** parts is the
            codebook of the tokenizer.
        mask_id: the id of a masked token.
        layout: of the tokens that it was trained on.
        resizable: whether it takes other grids.
        grid_multiple: the sides of other grids are multiples of this.
    """

    codebook_size: int
    mask_id: int
    layout: TokenLayout
    resizable: bool
    grid_multiple: int

    def predict(self, ids_BL: Tensor, condition: Condition, step: Step) -> Prediction:
        """The distribution over the codebook at every position."""
        ...
