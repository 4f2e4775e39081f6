"""Training images of a pair scorer: originals, their reconstructions, and damaged ones.

A scorer that is trained on real images alone learns to detect artefacts of the tokenizer. So it is
also trained on reconstructions, as if they were the originals, and on damaged images, which are
decoded from tokens of which some come from another image and must score lower.

Shape legend: B batch, C channels, H W rows and columns, L tokens, N images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demask import rng
from demask.data.transforms import moved
from demask.types import Tokenizer

BATCH = 128
"""Images that are reconstructed in a batch."""


@dataclass(frozen=True)
class ReconstructionAugment:
    """Augmentation by the reconstructions of a tokenizer.

    Attributes:
        model: the model with the tokenizer: a shipped model, or a folder that training wrote.
        share: fraction of the examples that are reconstructions.
        damaged: fraction of the examples that are compared with a damaged version.
        damage: the smallest and the largest fraction of tokens from another image.
        versions: damaged versions of each image.
        weight: weight of this comparison in the loss.
    """

    model: str
    share: float = 0.7
    damaged: float = 0.34
    damage: tuple[float, float] = (0.1, 0.5)
    versions: int = 2
    weight: float = 0.5

    def __post_init__(self) -> None:
        low, high = self.damage
        for name, value in (("share", self.share), ("damaged", self.damaged)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be within 0 and 1, not {value}")
        if not 0 < low <= high <= 1:
            raise ValueError(f"damage is two fractions within 0 and 1, not {low} and {high}")
        if self.versions < 1:
            raise ValueError(f"versions must be at least 1, not {self.versions}")


@dataclass(frozen=True)
class Changes:
    """Random augmentation of the training images.

    Attributes:
        flip: flip half of the images whose captions contain none of the ``directed`` words.
        directed: words that name a direction.
        shift: largest shift in pixels; the edge pixels fill the gap.
        colour: each colour channel is multiplied by a random number within 1 +- this.
        noise: largest standard deviation of the Gaussian noise that half of the images get.
        blur: fraction of the images that are blurred slightly.
    """

    flip: bool = True
    directed: tuple[str, ...] = ("left", "right")
    shift: int = 3
    colour: float = 0.05
    noise: float = 0.04
    blur: float = 0.25


def through(
    tokenizer: Tokenizer,
    pixels_NCHW: Tensor,
    codec: ReconstructionAugment,
    seed: int,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """Reconstructions (N, 3, H, W) and damaged images (versions, N, 3, H, W), uint8.

    A damaged image has some tokens of another image at the same positions.

    Args:
        tokenizer: a module.
        pixels_NCHW: images, uint8.
        codec: the augmentation.
        seed: seed of the damage.
        dtype: number type of the tokenizer.
    """
    network = cast(nn.Module, tokenizer)
    device = next(network.parameters()).device
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    generator = torch.Generator().manual_seed(rng.derive(seed, "damage"))
    with torch.inference_mode(), torch.autocast(device.type, dtype, dtype != torch.float32):
        parts = [
            tokenizer.encode(part.to(device).float() / 255).cpu()
            for part in pixels_NCHW.split(BATCH)
        ]
        ids_NHW = torch.cat(parts)
        damaged = [
            decode_to_bytes(tokenizer, swapped(ids_NHW, codec.damage, generator), device)
            for _ in range(codec.versions)
        ]
        return decode_to_bytes(tokenizer, ids_NHW, device), torch.stack(damaged)


def swapped(ids_NHW: Tensor, damage: tuple[float, float], generator: torch.Generator) -> Tensor:
    """Ids (N, H, W), a random fraction of which comes from another image at the same positions."""
    count = len(ids_NHW)
    other_NHW = ids_NHW[torch.randperm(count, generator=generator)]
    low, high = damage
    share_N = low + (high - low) * torch.rand(count, generator=generator)
    gone_NHW = torch.rand(ids_NHW.shape, generator=generator) < share_N[:, None, None]
    return torch.where(gone_NHW, other_NHW, ids_NHW)


def decode_to_bytes(tokenizer: Tokenizer, ids_NHW: Tensor, device: torch.device) -> Tensor:
    """Decode ids to images, uint8 (N, 3, H, W)."""
    parts = [
        (tokenizer.decode(part.to(device)).float() * 255).round().clamp(0, 255).byte().cpu()
        for part in ids_NHW.split(BATCH)
    ]
    return torch.cat(parts)


def mirrors(captions: Sequence[tuple[str, ...]], changes: Changes) -> Tensor:
    """Booleans (N): which images may be flipped horizontally."""
    directed = set(changes.directed)
    words_N = [{word for text in texts for word in text.casefold().split()} for texts in captions]
    return torch.tensor([changes.flip and not words & directed for words in words_N])


def changed(
    pixels_BCHW: Tensor, mirror_B: Tensor, changes: Changes, generator: torch.Generator
) -> Tensor:
    """uint8 images as float32 in [0, 1], each with its own random augmentation."""
    count = len(pixels_BCHW)
    image_BCHW = pixels_BCHW.float() / 255
    flip_B, down_B, right_B, noisy_B, strength_B, blur_B = torch.rand(6, count, generator=generator)
    flipped_B = mirror_B & (flip_B < 0.5)
    image_BCHW = torch.where(flipped_B[:, None, None, None], image_BCHW.flip(-1), image_BCHW)
    if changes.shift:
        image_BCHW = moved(image_BCHW, changes.shift, down_B, right_B, "replicate")
    blurred_B = blur_B < changes.blur
    if blurred_B.any():
        image_BCHW = torch.where(blurred_B[:, None, None, None], softened(image_BCHW), image_BCHW)
    tint_BC = 1 + changes.colour * (2 * torch.rand(count, 3, generator=generator) - 1)
    image_BCHW = image_BCHW * tint_BC[:, :, None, None]
    deviation_B = changes.noise * strength_B * (noisy_B < 0.5)
    noise_BCHW = torch.randn(image_BCHW.shape, generator=generator)
    return (image_BCHW + noise_BCHW * deviation_B[:, None, None, None]).clamp(0, 1)


def softened(image_BCHW: Tensor) -> Tensor:
    """Images blurred with the weights 1 2 1 in both directions."""
    line = torch.tensor([1.0, 2.0, 1.0])
    kernel = (line[:, None] * line / 16).expand(3, 1, 3, 3)
    return F.conv2d(F.pad(image_BCHW, (1,) * 4, mode="replicate"), kernel, groups=3)
