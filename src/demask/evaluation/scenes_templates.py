"""Find the shape of components by templates.

Shape legend: K components, S side of their windows, T samples along that side.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from demask.scenes.shapes import MASKS
from demask.scenes.vocabulary import SHAPES

SAMPLES = 2
"""Samples of a pixel of a template along each axis."""

FINE = 801
"""Samples along each axis from which the moments of a shape are computed."""


@dataclass(frozen=True)
class Match:
    """The best template of each component.

    Attributes:
        shape_K: index of its shape in `SHAPES`.
        overlap_K: intersection over union of component and template, 0 to 1.
        x_K: centre of the bounding circle, in pixels from the left border of the window.
        y_K: the same from the upper border.
        radius_K: radius of that circle, in pixels.
    """

    shape_K: np.ndarray
    overlap_K: np.ndarray
    x_K: np.ndarray
    y_K: np.ndarray
    radius_K: np.ndarray


@cache
def moments(shape: str) -> tuple[float, float, float]:
    """Area of a shape of radius 1, and x and y of its centre of mass."""
    axis = (np.arange(FINE) + 0.5) / FINE * 2 - 1
    inside = MASKS[shape](axis[None, :], axis[:, None])
    rows, columns = np.nonzero(inside)
    return len(rows) * (2 / FINE) ** 2, float(axis[columns].mean()), float(axis[rows].mean())


def match(coverage_KSS: np.ndarray) -> Match:
    """Find the best template of each component.

    A template has the component's area and centre of mass, which give its radius and the centre of
    its bounding circle. Intersection and union are sums of the smaller and the larger coverage of
    each pixel.

    Args:
        coverage_KSS: the fraction of each pixel that a component covers.
    """
    side = coverage_KSS.shape[1]
    pixel_S = np.arange(side, dtype=np.float32) + np.float32(0.5)
    area_K = coverage_KSS.sum((1, 2)).clip(1e-6)
    x_K = coverage_KSS.sum(1) @ pixel_S / area_K
    y_K = coverage_KSS.sum(2) @ pixel_S / area_K
    found = []
    for shape in SHAPES:
        area, beside, below = moments(shape)
        radius_K = np.sqrt(area_K / np.float32(area))
        left_K, top_K = x_K - radius_K * beside, y_K - radius_K * below
        template_KSS = draw_template(shape, left_K, top_K, radius_K, side)
        shared_K = np.minimum(template_KSS, coverage_KSS).sum((1, 2))
        either_K = (template_KSS.sum((1, 2)) + area_K - shared_K).clip(1e-6)
        found.append((shared_K / either_K, left_K, top_K, radius_K))
    overlap, left, top, radius = (np.stack(part) for part in zip(*found, strict=True))
    best_K = overlap.argmax(0)
    every = np.arange(len(best_K))
    return Match(
        best_K,
        overlap[best_K, every],
        left[best_K, every],
        top[best_K, every],
        radius[best_K, every],
    )


def draw_template(
    shape: str, x_K: np.ndarray, y_K: np.ndarray, radius_K: np.ndarray, side: int
) -> np.ndarray:
    """The fraction of each pixel of a window that a shape covers (K, S, S), from 2x2 samples."""
    sample_T = (np.arange(SAMPLES * side, dtype=np.float32) + np.float32(0.5)) / SAMPLES
    column_KT = (sample_T - x_K[:, None]) / radius_K[:, None]
    row_KT = (sample_T - y_K[:, None]) / radius_K[:, None]
    inside_KTT = MASKS[shape](column_KT[:, None, :], row_KT[:, :, None])
    tall_KST = inside_KTT[:, ::2].astype(np.uint8) + inside_KTT[:, 1::2]
    return (tall_KST[:, :, ::2] + tall_KST[:, :, 1::2]).astype(np.float32) / SAMPLES**2
