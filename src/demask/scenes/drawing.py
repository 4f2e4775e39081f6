"""Scenes as images: drawn at four times the size and averaged down.

Shape legend: H height and W width in pixels, S samples along the side of a square window.
"""

from __future__ import annotations

import math

import numpy as np

from demask.scenes.shapes import MASKS
from demask.scenes.vocabulary import PALETTE, SIDE, Scene, SceneObject

SAMPLES = 4
"""Samples of a pixel along each axis."""


def draw(scene: Scene) -> np.ndarray:
    """The image of a scene, (64, 64, 3) uint8; the same on every platform."""
    image_HW3 = np.empty((SIDE, SIDE, 3), np.float32)
    image_HW3[:] = PALETTE[scene.background]
    for thing in scene.objects:
        blend(image_HW3, thing)
    return (image_HW3 + np.float32(0.5)).astype(np.uint8)


def blend(image_HW3: np.ndarray, thing: SceneObject) -> None:
    """Draw an object into an image in place."""
    top, left, coverage_HW = coverage(thing)
    height, width = coverage_HW.shape
    window_HW3 = image_HW3[top : top + height, left : left + width]
    colour_3 = np.array(PALETTE[thing.colour], np.float32) + np.array(thing.jitter, np.float32)
    window_HW3 += coverage_HW[..., None] * (colour_3.clip(0, 255) - window_HW3)


def coverage(thing: SceneObject) -> tuple[int, int, np.ndarray]:
    """Top and left pixel of an object's window, and the covered fraction of its pixels (H, W)."""
    top, rows_S = window(thing.y, thing.radius)
    left, columns_S = window(thing.x, thing.radius)
    inside_SS = MASKS[thing.shape](columns_S[None, :], rows_S[:, None])
    height, width = len(rows_S) // SAMPLES, len(columns_S) // SAMPLES
    count_HW = inside_SS.reshape(height, SAMPLES, width, SAMPLES).sum((1, 3), dtype=np.uint8)
    return top, left, count_HW.astype(np.float32) / np.float32(SAMPLES * SAMPLES)


def window(centre: float, radius: float) -> tuple[int, np.ndarray]:
    """The first pixel of an object along an axis, and the samples' offsets in radii (S)."""
    first = max(math.floor(centre - radius), 0)
    last = min(math.ceil(centre + radius), SIDE)
    samples = np.arange(SAMPLES * (last - first), dtype=np.float32)
    places = first + (samples + np.float32(0.5)) / np.float32(SAMPLES)
    return first, (places - np.float32(centre)) / np.float32(radius)
