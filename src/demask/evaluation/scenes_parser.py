"""Parse images of scenes into the background and all objects, without any network.

Shape legend: B images, H W rows and columns of pixels, C colours, K components, S side of their
windows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from demask.evaluation.scenes_components import connected_components
from demask.evaluation.scenes_templates import Match, match
from demask.scenes.vocabulary import COLOURS, PALETTE, RADII, SHAPES, SIDE

LEAST_PIXELS = 20
"""The least size of a component that counts as an object."""

LEAST_OVERLAP = 0.6
"""The least intersection over union of a component with the template of its shape."""

LEAST_CONTRAST = 36.0
"""Euclidean RGB distance from the background below which a pixel belongs to it."""

WINDOW = 36
"""Side of the window around a component, in pixels; the largest object measures 28."""

RADIUS_TOLERANCE = 1.5
"""How far a radius may be from the interval of its size, in pixels."""

CHUNK = 128
"""Images parsed at a time."""

PALETTE_C3 = np.array([PALETTE[name] for name in COLOURS], np.float32)


@dataclass(frozen=True)
class FoundObject:
    """A component of an image.

    Attributes:
        shape: the shape of the best template; None if its overlap is below 0.6.
        colour: the most frequent palette colour of its inner pixels.
        size: the size that its radius has; None if the radius is far from both sizes.
        x: centre of its bounding circle, in pixels from the left border.
        y: the same from the upper border.
        radius: radius of its bounding circle, in pixels.
        overlap: intersection over union with the best template, 0 to 1.
    """

    shape: str | None
    colour: str
    size: str | None
    x: float
    y: float
    radius: float
    overlap: float


@dataclass(frozen=True)
class ParsedScene:
    """The content of an image.

    Attributes:
        background: the most frequent palette colour.
        objects: its components of at least 20 pixels.
        clean: the fraction of foreground pixels in components that match a template; 1 if there is
            no foreground.
    """

    background: str
    objects: tuple[FoundObject, ...]
    clean: float


def parse_scenes(images_BHW3: np.ndarray) -> list[ParsedScene]:
    """Parse images of scenes.

    Args:
        images_BHW3: (B, 64, 64, 3) uint8.

    Raises:
        ValueError: another shape or type.
    """
    if images_BHW3.ndim != 4 or images_BHW3.shape[1:] != (SIDE, SIDE, 3):
        raise ValueError(f"scenes have the shape (B, 64, 64, 3), not {images_BHW3.shape}")
    if images_BHW3.dtype != np.uint8:
        raise ValueError(f"scenes are uint8, not {images_BHW3.dtype}")
    parts = (images_BHW3[i : i + CHUNK] for i in range(0, len(images_BHW3), CHUNK))
    return [parsed for part in parts for parsed in parse_chunk(part.astype(np.float32))]


def parse_chunk(images_BHW3: np.ndarray) -> Iterator[ParsedScene]:
    """Parse some images, given as float32."""
    label_BHW = nearest_colour(images_BHW3)
    background_B, behind_B3 = backgrounds(images_BHW3, label_BHW)
    mask_BHW = foreground(images_BHW3, behind_B3)
    component_BHW, count = connected_components(mask_BHW)
    pixels_K = np.bincount(component_BHW.ravel(), minlength=count + 1)[1:]
    image_K = np.zeros(count, np.int64)
    rows = np.nonzero(component_BHW)
    image_K[component_BHW[rows] - 1] = rows[0]
    chosen = np.flatnonzero(pixels_K >= LEAST_PIXELS)
    corner_K2 = corners(component_BHW, count)[chosen]
    number_KSS = cut(component_BHW, image_K[chosen], corner_K2, 0)
    own_KSS = number_KSS == chosen[:, None, None] + 1
    window_KSS3 = cut(images_BHW3, image_K[chosen], corner_K2, 0)
    labels_KSS = cut(label_BHW, image_K[chosen], corner_K2, -1)
    colour_K, front_K3 = component_colours(window_KSS3, own_KSS, labels_KSS)
    near_KSS = widened(own_KSS) & (own_KSS | (number_KSS == 0))
    coverage_KSS = coverages(window_KSS3, behind_B3[image_K[chosen]], front_K3) * near_KSS
    found = match(coverage_KSS)
    matched = np.zeros(count + 1, bool)
    matched[chosen + 1] = found.overlap_K >= LEAST_OVERLAP
    good_B = (matched[component_BHW] & mask_BHW).sum((1, 2))
    clean_B = np.where(mask_BHW.any((1, 2)), good_B / mask_BHW.sum((1, 2)).clip(1), 1.0)
    objects = list(objects_of(found, colour_K, corner_K2))
    for number in range(len(images_BHW3)):
        own = tuple(objects[k] for k in np.flatnonzero(image_K[chosen] == number))
        yield ParsedScene(COLOURS[background_B[number]], own, float(clean_B[number]))


def nearest_colour(images_BHW3: np.ndarray) -> np.ndarray:
    """The index in `COLOURS` of the palette colour that is nearest to each pixel, (B, H, W)."""
    scores = images_BHW3 @ PALETTE_C3.T - (PALETTE_C3 * PALETTE_C3).sum(1) / 2
    return scores.argmax(-1)


def backgrounds(images_BHW3: np.ndarray, label_BHW: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The most frequent palette colour of each image (B), and the mean of its pixels (B, 3)."""
    is_label_BHWC = label_BHW[..., None] == np.arange(len(COLOURS))
    background_B = is_label_BHWC.sum((1, 2)).argmax(-1)
    weight_BHW = (label_BHW == background_B[:, None, None]).astype(np.float32)
    return background_B, weighted_mean(images_BHW3, weight_BHW)


def weighted_mean(values_KSS3: np.ndarray, weight_KSS: np.ndarray) -> np.ndarray:
    """The weighted mean colour of each window, (K, 3)."""
    total_K = weight_KSS.sum((1, 2)).clip(1e-6)
    return np.einsum("kabc,kab->kc", values_KSS3, weight_KSS) / total_K[:, None]


def foreground(images_BHW3: np.ndarray, behind_B3: np.ndarray) -> np.ndarray:
    """The pixels that differ from the background, (B, H, W).

    Their contrast is at least 36 and at least half of the largest one among their neighbours, which
    excludes the faint half of an antialiased edge.
    """
    difference = images_BHW3 - behind_B3[:, None, None]
    contrast_BHW = np.sqrt((difference * difference).sum(-1))
    padded = np.pad(contrast_BHW, ((0, 0), (1, 1), (1, 1)))
    tall = np.maximum(np.maximum(padded[:, :-2], padded[:, 1:-1]), padded[:, 2:])
    most_BHW = np.maximum(np.maximum(tall[..., :-2], tall[..., 1:-1]), tall[..., 2:])
    return (contrast_BHW >= LEAST_CONTRAST) & (contrast_BHW >= 0.5 * most_BHW)


def corners(component_BHW: np.ndarray, count: int) -> np.ndarray:
    """Upper row and left column of the window around each component, (K, 2); may be negative."""
    image, *places = np.nonzero(component_BHW)
    numbers = component_BHW[(image, *places)] - 1
    found = []
    for place in places:
        low, high = np.full(count, SIDE), np.zeros(count, np.int64)
        np.minimum.at(low, numbers, place)
        np.maximum.at(high, numbers, place)
        found.append((low + high + 1 - WINDOW) // 2)
    return np.stack(found, -1)


def cut(
    images_BHWx: np.ndarray, image_K: np.ndarray, corner_K2: np.ndarray, outside: int
) -> np.ndarray:
    """Windows of images, (K, S, S, ...); pixels beyond the border have the value ``outside``."""
    padding = [(0, 0), (WINDOW, WINDOW), (WINDOW, WINDOW)] + [(0, 0)] * (images_BHWx.ndim - 3)
    padded = np.pad(images_BHWx, padding, constant_values=outside)
    span = np.arange(WINDOW) + WINDOW
    rows, columns = corner_K2[:, :1] + span, corner_K2[:, 1:] + span
    return padded[image_K[:, None, None], rows[:, :, None], columns[:, None, :]]


def component_colours(
    window_KSS3: np.ndarray, own_KSS: np.ndarray, label_KSS: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The most frequent palette colour of inner pixels (K), and the mean of its pixels (K, 3).

    The four neighbours of an inner pixel are in the component; if there is none, all pixels count.
    """
    inner_KSS = own_KSS.copy()
    inner_KSS[:, 1:] &= own_KSS[:, :-1]
    inner_KSS[:, :-1] &= own_KSS[:, 1:]
    inner_KSS[:, :, 1:] &= own_KSS[:, :, :-1]
    inner_KSS[:, :, :-1] &= own_KSS[:, :, 1:]
    thin_K = ~inner_KSS.any((1, 2))
    inner_KSS[thin_K] = own_KSS[thin_K]
    votes_KC = np.stack([((label_KSS == c) & inner_KSS).sum((1, 2)) for c in range(len(COLOURS))])
    colour_K = votes_KC.argmax(0)
    chosen_KSS = inner_KSS & (label_KSS == colour_K[:, None, None])
    return colour_K, weighted_mean(window_KSS3, chosen_KSS.astype(np.float32))


def widened(mask_KSS: np.ndarray) -> np.ndarray:
    """Masks dilated by one pixel in all eight directions."""
    tall = mask_KSS.copy()
    tall[:, 1:] |= mask_KSS[:, :-1]
    tall[:, :-1] |= mask_KSS[:, 1:]
    wide = tall.copy()
    wide[:, :, 1:] |= tall[:, :, :-1]
    wide[:, :, :-1] |= tall[:, :, 1:]
    return wide


def coverages(window_KSS3: np.ndarray, behind_K3: np.ndarray, front_K3: np.ndarray) -> np.ndarray:
    """The fraction of each pixel that the object covers, (K, S, S).

    It is the projection of the pixel's colour on the line from the background's to the object's.
    """
    way_K3 = front_K3 - behind_K3
    length_K = (way_K3 * way_K3).sum(-1).clip(1e-6)
    along_KSS = np.einsum("kabc,kc->kab", window_KSS3 - behind_K3[:, None, None], way_K3)
    return (along_KSS / length_K[:, None, None]).clip(0, 1).astype(np.float32)


def objects_of(found: Match, colour_K: np.ndarray, corner_K2: np.ndarray) -> Iterator[FoundObject]:
    """The objects of the components, in order."""
    x_K, y_K = found.x_K + corner_K2[:, 1], found.y_K + corner_K2[:, 0]
    columns = (found.shape_K, found.overlap_K, x_K, y_K, found.radius_K, colour_K)
    for shape, overlap, x, y, radius, colour in zip(
        *(column.tolist() for column in columns), strict=True
    ):
        name = SHAPES[shape] if overlap >= LEAST_OVERLAP else None
        yield FoundObject(name, COLOURS[colour], size_of(radius), x, y, radius, overlap)


def size_of(radius: float) -> str | None:
    """The size of an object of this radius in pixels; None if it is far from both sizes."""
    for size, (low, high) in RADII.items():
        if low - RADIUS_TOLERANCE <= radius <= high + RADIUS_TOLERANCE:
            return size
    return None
