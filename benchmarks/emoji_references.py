"""The references of generated emoji: the drawings of all concepts in all styles.

Shape legend: N generated images, A drawings, P pixels times channels, C H W as usual.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from demask.data.composition.colors import NAMES, dominant_color
from demask.data.composition.composed import Catalog
from demask.data.composition.recolor import main_color, recolor
from demask.data.composition.render import PLAIN, render
from demask.data.transforms import to_tensor

SHAPE_DIFFERENCE = 28
"""A pixel belongs to the thing if a channel differs by more from the colour of the border."""
CHUNK = 2000


@dataclass(frozen=True)
class References:
    """Drawings on white, at a model's size.

    Attributes:
        image_AP: their pixels in [0, 1].
        numbers: of the drawings, in the catalog.
    """

    image_AP: Tensor
    numbers: Sequence[int]

    def distance(self, image_NP: Tensor) -> Tensor:
        """Root mean square differences (N, A) of pixels, in [0, 1]."""
        parts = [torch.cdist(image_NP, part) for part in self.image_AP.split(CHUNK)]
        return torch.cat(parts, 1) / image_NP.shape[1] ** 0.5


class Measure:
    """Determines what generated images show.

    Args:
        catalog: all drawings.
        size: of the model's images, in pixels.
    """

    def __init__(self, catalog: Catalog, size: int) -> None:
        self.catalog, self.size = catalog, size
        self._small: dict[int, np.ndarray] = {}
        self.plain = self.references(range(len(catalog.drawings)), None)
        # several concepts may have equal drawings; either name is right
        _, group_A = torch.unique(self.plain.image_AP, dim=0, return_inverse=True)
        self.group_A = group_A.tolist()
        self.concepts_of: dict[int, set[str]] = defaultdict(set)
        for group, drawing in zip(self.group_A, catalog.drawings, strict=True):
            self.concepts_of[group].add(drawing.concept)

    def references(self, numbers: Iterable[int], color: str | None) -> References:
        """Drawings on white; those that may have any colour are recoloured with ``color``."""
        numbers = list(numbers)
        image_AP = torch.empty(len(numbers), 3 * self.size**2)
        for row, number in enumerate(numbers):
            if color is None:
                image = render(self.catalog.drawings[number].rgba(), PLAIN)
                image_AP[row] = to_tensor(image, self.size).flatten()
            else:
                image_AP[row] = self.recolored(number, color)
        return References(image_AP, numbers)

    def recolored(self, number: int, color: str) -> Tensor:
        """A drawing (P) in another colour; unchanged if it may not be recoloured."""
        if self.catalog.recolors(self.catalog.drawings[number].concept):
            main = main_color(self.small(number))
            if main is not None and main.dominates:
                image = render(recolor(self.small(number), main, color), PLAIN)
                return to_tensor(image, self.size).flatten()
        return self.plain.image_AP[number]

    def small(self, number: int) -> np.ndarray:
        """A drawing (H, W, 4) at the size of the model, which is faster to recolour."""
        if number not in self._small:
            layer = Image.fromarray(self.catalog.drawings[number].rgba())
            resized = layer.resize((self.size, self.size), Image.Resampling.LANCZOS)
            self._small[number] = np.array(resized)
        return self._small[number]

    def nearest(self, image_NP: Tensor) -> tuple[Tensor, list[int]]:
        """The distance (N) to the nearest plain drawing of each image, and its number."""
        distance_N, found_N = self.plain.distance(image_NP).min(1)
        return distance_N, found_N.tolist()

    def shows(self, number: int, concept: str) -> bool:
        """Whether a drawing, or one with equal pixels, shows a concept."""
        return concept in self.concepts_of[self.group_A[number]]

    def style_of(self, image_P: Tensor, concept: str) -> str:
        """The style of the nearest drawing of a concept."""
        numbers = self.catalog.of_concept[concept]
        distance_A = torch.cdist(image_P[None], self.plain.image_AP[numbers])[0]
        return self.catalog.drawings[numbers[int(distance_A.argmin())]].style

    def nearest_of_any_color(
        self, image_NP: Tensor, colors: Sequence[str]
    ) -> tuple[Tensor, list[int]]:
        """As `nearest`, robust to colour: each image is also compared with drawings recoloured.

        Args:
            image_NP: the images.
            colors: the dominant colour of each, which the drawings are given.
        """
        numbers = [n for n, drawing in enumerate(self.catalog.drawings) if not drawing.variant]
        best_N, found_N = self.plain.distance(image_NP).min(1)
        for color in sorted(set(colors) - {"grey"}):
            rows = [row for row, name in enumerate(colors) if name == color]
            recolored = self.references(numbers, color)
            distance_N, place_N = recolored.distance(image_NP[rows]).min(1)
            for row, distance, place in zip(rows, distance_N, place_N.tolist(), strict=True):
                if distance < best_N[row]:
                    best_N[row], found_N[row] = distance, numbers[place]
        return best_N, found_N.tolist()


def color_seen(image: Image.Image) -> str:
    """The dominant colour of what is on a plain background; "grey" if there is nothing."""
    pixels = np.asarray(image.convert("RGB"), np.int16)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    differs = np.abs(pixels - np.median(border, 0)).max(-1) > SHAPE_DIFFERENCE
    return dominant_color(pixels[differs], np.ones(differs.sum())) if differs.any() else NAMES[-1]
