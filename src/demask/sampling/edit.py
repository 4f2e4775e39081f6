"""Starting points of a decode: masked tokens alone, or with tokens of an existing image.

Shape legend: B batch, L tokens, C channels, H W rows and columns (of tokens, or of pixels for an
image or a pixel mask). Tokens in their layout are (B, *dims), see `TokenLayout`.
"""

from __future__ import annotations

import numbers
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from demask import rng
from demask.registry import unknown
from demask.sampling.schedule import Schedule, num_masked_after
from demask.types import DecodeState, Grid, Step, TokenLayout


@dataclass(frozen=True)
class Canvas:
    """Tokens that a decode starts from.

    Attributes:
        ids_BL: the ids, int64; masked ones hold ``mask_id``.
        known_BL: positions whose tokens never change, bool.
        layout: of the L tokens.
        mask_id: the id of a masked token.

    Raises:
        ValueError: shapes that do not match, or a known token that is masked.
    """

    ids_BL: Tensor
    known_BL: Tensor
    layout: TokenLayout
    mask_id: int

    def __post_init__(self) -> None:
        if self.ids_BL.ndim != 2 or self.ids_BL.shape[1] != self.layout.tokens:
            raise ValueError(f"ids of shape {tuple(self.ids_BL.shape)} do not fill {self.layout}")
        if self.known_BL.shape != self.ids_BL.shape:
            raise ValueError(
                f"the mask of given tokens has shape {tuple(self.known_BL.shape)}, "
                f"the ids have {tuple(self.ids_BL.shape)}"
            )
        if bool((self.known_BL & self.masked_BL).any()):
            raise ValueError(f"a given token holds {self.mask_id}, the id of a masked token")
        assert self.ids_BL.dtype == torch.int64
        assert self.known_BL.dtype == torch.bool

    @property
    def masked_BL(self) -> Tensor:
        """Positions to generate, (B, L)."""
        return self.ids_BL == self.mask_id

    def state(self, steps: int) -> DecodeState:
        """The state before the first of ``steps`` steps.

        Raises:
            ValueError: no step, or more steps than tokens.
        """
        tokens = self.ids_BL.shape[1]
        if not 1 <= steps <= tokens:
            raise ValueError(f"steps: from 1 to the {tokens} tokens of the image, not {steps}")
        step = Step(0, steps, self.layout, self.masked_BL.double().mean(-1))
        nothing_BL = torch.zeros_like(self.known_BL)
        return DecodeState(step, self.ids_BL, self.known_BL, nothing_BL, self.mask_id)


def blank(
    batch: int, layout: TokenLayout, mask_id: int, device: torch.device | str = "cpu"
) -> Canvas:
    """A canvas on which every token is masked."""
    ids_BL = torch.full((batch, layout.tokens), mask_id, device=device)
    return Canvas(ids_BL, torch.zeros_like(ids_BL, dtype=torch.bool), layout, mask_id)


def keep(ids: Tensor, known: Tensor, mask_id: int, parts: int = 1) -> Canvas:
    """Inpainting: keep the known tokens of an image and mask the others.

    Args:
        ids: the tokens of the image (B, *dims): a row, a grid, or with parts as last dimension.
        known: True at the tokens to keep (B, *dims), or at the positions to keep (B, *shape).
        mask_id: the id of a masked token.
        parts: tokens at each position.

    Raises:
        ValueError: the mask has another shape than the ids.
    """
    layout = TokenLayout(tuple(ids.shape[1:-1] if parts > 1 else ids.shape[1:]), parts)
    if known.shape[1:] == layout.shape != layout.dims:
        known = known[..., None].expand(*known.shape, parts)
    if known.shape != ids.shape:
        raise ValueError(
            f"the token mask has shape {tuple(known.shape)}, the ids {tuple(ids.shape)}"
        )
    known_BL = known.flatten(1).bool()
    ids_BL = torch.where(known_BL, ids.flatten(1).long(), mask_id)
    return Canvas(ids_BL, known_BL, layout, mask_id)


def outpaint(
    ids: Tensor, grid: Grid, corner: tuple[int, int], mask_id: int, parts: int = 1
) -> Canvas:
    """Outpainting: place an image's tokens in a larger grid and mask the rest.

    Args:
        ids: the tokens of the image (B, H, W), or (B, H, W, parts).
        grid: rows and columns of the larger grid.
        corner: the row and column where the image's first token goes.
        mask_id: the id of a masked token.
        parts: tokens at each position.

    Raises:
        ValueError: the image does not fit there.
    """
    rows, columns = ids.shape[1:3]
    top, left = corner
    if top < 0 or left < 0 or top + rows > grid[0] or left + columns > grid[1]:
        raise ValueError(
            f"{rows} x {columns} tokens at {top},{left} do not fit a grid of {grid[0]} x {grid[1]}"
        )
    sides = (left, grid[1] - left - columns, top, grid[0] - top - rows)
    around = sides if parts == 1 else (0, 0, *sides)
    placed = F.pad(ids.long(), around, value=mask_id)
    known = F.pad(torch.ones_like(ids, dtype=torch.bool), around, value=False)
    return keep(placed, known, mask_id, parts)


def image_to_image(
    ids: Tensor, strength: float, generators: rng.Generators, mask_id: int, parts: int = 1
) -> Canvas:
    """Variation: mask all tokens at a random part of each image's positions and keep the rest.

    Args:
        ids: the tokens of the images (B, *dims).
        strength: the fraction to mask: 0 changes nothing, 1 keeps nothing.
        generators: one per image.
        mask_id: the id of a masked token.
        parts: tokens at each position.

    Raises:
        ValueError: a strength outside [0, 1].
    """
    check_strength(strength)
    positions = ids[0].numel() // parts
    rank_BP = rng.uniform(generators, positions).argsort(dim=-1).argsort(dim=-1)
    known_BP = (rank_BP >= round(strength * positions)).to(ids.device)
    return keep(ids, known_BP.repeat_interleave(parts, dim=1).view_as(ids), mask_id, parts)


STRENGTHS = ("tokens", "steps")
"""What the strength of image to image is a fraction of."""


def start_of(
    strength: float, strength_of: str, schedule: Schedule, steps: int
) -> tuple[int, float]:
    """The index of the first step of image to image, and the fraction of the tokens to mask.

    Of steps, the last ``strength`` T are made, from the mask ratio before them, as aMUSEd
    (arXiv 2401.01808) edits images; at 1 all steps are made and everything is masked.

    Args:
        strength: from 0 to 1.
        strength_of: a row of `STRENGTHS`.
        schedule: gamma.
        steps: T.

    Raises:
        ValueError: a strength of something else, or a schedule that cannot start in the middle.
    """
    if strength_of not in STRENGTHS:
        raise ValueError(unknown("strength_of", str(strength_of), STRENGTHS))
    if strength_of == "tokens":
        return 0, strength
    first = steps - int(steps * strength)
    num_masked_after(schedule, steps, torch.ones(1, dtype=torch.long), first, 1)
    return first, schedule(first / steps) if first else 1.0


def check_strength(strength: float) -> None:
    """Raise a ValueError for a strength that is no number in [0, 1]."""
    if isinstance(strength, bool) or not isinstance(strength, numbers.Real):
        raise ValueError(f"strength must be a number from 0 to 1, not {strength!r}")
    if not 0 <= strength <= 1:
        raise ValueError(f"the strength is from 0 (change nothing) to 1 (all), not {strength}")


def token_mask(mask_BHW: Tensor, downsampling: int, grow: int = 1) -> Tensor:
    """The tokens to mask in order to regenerate the pixels of a mask.

    Args:
        mask_BHW: True at the pixels to regenerate.
        downsampling: pixels per token, along a side.
        grow: tokens by which the masked area is dilated on every side, for a smooth
            transition.

    Returns:
        True at the tokens to mask (B, H, W): those with any pixel to regenerate.

    Raises:
        ValueError: a side that is no multiple of ``downsampling``.
    """
    height, width = mask_BHW.shape[-2:]
    if height % downsampling or width % downsampling:
        raise ValueError(
            f"a mask of {height} x {width} pixels: both must be multiples of {downsampling}"
        )
    touched_BHW = F.max_pool2d(mask_BHW.float(), downsampling)
    return _widen(touched_BHW, grow).bool()


def blend(original_BCHW: Tensor, generated_BCHW: Tensor, mask_BHW: Tensor, feather: int) -> Tensor:
    """Blend the generated area into the original with a soft edge.

    Inside the mask the result equals the generated image exactly; beyond the soft edge it equals
    the original.

    Args:
        original_BCHW: the original image.
        generated_BCHW: the decoded image.
        mask_BHW: True at the pixels to regenerate.
        feather: the width of the soft edge in pixels, rounded up to an even number; 0 for none.

    Raises:
        ValueError: images or mask of different sizes, or a negative ``feather``.
    """
    size = tuple(original_BCHW.shape[-2:])
    for what, other in (("mask", mask_BHW), ("generated image", generated_BCHW)):
        if tuple(other.shape[-2:]) != size:
            raise ValueError(
                f"the {what} is {other.shape[-2]} x {other.shape[-1]} pixels, "
                f"the image {size[0]} x {size[1]}"
            )
    if feather < 0:
        raise ValueError(f"the feather is 0 pixels or more, not {feather}")
    radius = (feather + 1) // 2
    wide_BHW = _widen(mask_BHW.to(original_BCHW.dtype), radius)
    soft_B1HW = F.avg_pool2d(
        F.pad(wide_BHW[:, None], (radius,) * 4, mode="replicate"), 2 * radius + 1, stride=1
    )
    return original_BCHW * (1 - soft_B1HW) + generated_BCHW * soft_B1HW


def _widen(mask_BHW: Tensor, radius: int) -> Tensor:
    """Spread the ones of a mask by ``radius`` cells in all eight directions."""
    return F.max_pool2d(mask_BHW, 2 * radius + 1, stride=1, padding=radius)
