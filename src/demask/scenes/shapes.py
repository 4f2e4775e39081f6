"""The eight shapes, as sets of points of the unit disc; x points right, y points down."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from demask.scenes.vocabulary import SHAPES

Mask = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Whether points (x, y) belong to a shape; only +, -, *, / and comparisons, which are exact on
every platform."""

SQUARE = 0.7071
"""Half the side of the square."""

HOLE = 0.55
"""Inner radius of the ring."""

BITE_X, BITE_RADIUS = 0.5, 0.8
"""The disc that is cut out of the crescent."""

BAR = 0.32
"""Half the width of the bars of the cross; half their length is 0.947."""

HEART_SCALE, HEART_Y = 1.26, 0.2
"""Scale and vertical shift of the curve of the heart."""

STAR = np.array(
    [
        (0.0, -1.0),
        (0.2645, -0.3641),
        (0.9511, -0.309),
        (0.428, 0.1391),
        (0.5878, 0.809),
        (0.0, 0.45),
        (-0.5878, 0.809),
        (-0.428, 0.1391),
        (-0.9511, -0.309),
        (-0.2645, -0.3641),
    ],
    np.float32,
)
"""Corners of the star, from the upper tip clockwise; the inner radius is 0.45."""


def circle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The whole disc."""
    return x * x + y * y <= 1


def square(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The inscribed square, with horizontal and vertical sides."""
    return (abs(x) <= SQUARE) & (abs(y) <= SQUARE)


def triangle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The inscribed equilateral triangle, one corner up."""
    return (y <= 0.5) & (1.7321 * abs(x) <= y + 1)


def star(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Five points, one up: the union of five triangles and a pentagon, by the even-odd rule."""
    inside = np.zeros(np.broadcast_shapes(x.shape, y.shape), bool)
    for (x0, y0), (x1, y1) in zip(STAR, np.roll(STAR, -1, axis=0), strict=True):
        if y0 != y1:
            slope = (x1 - x0) / (y1 - y0)
            inside ^= ((y < y0) != (y < y1)) & (x < x0 + (y - y0) * slope)
    return inside


def heart(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The curve (x^2 + y^2 - 1)^3 = x^2 y^3, its point down."""
    x, y = x * HEART_SCALE, (HEART_Y - y) * HEART_SCALE
    squares = x * x + y * y - 1
    return squares * squares * squares <= x * x * y * y * y


def cross(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """An upright plus sign."""
    x, y = abs(x), abs(y)
    return ((x <= BAR) & (y <= 0.947)) | ((y <= BAR) & (x <= 0.947))


def ring(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The disc with a hole."""
    squares = x * x + y * y
    return (squares <= 1) & (squares >= HOLE * HOLE)


def crescent(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The disc without another one, open to the right."""
    y_squared, beside = y * y, x - BITE_X
    return (x * x + y_squared <= 1) & (beside * beside + y_squared >= BITE_RADIUS * BITE_RADIUS)


MASKS: dict[str, Mask] = dict(
    zip(SHAPES, (circle, square, triangle, star, heart, cross, ring, crescent), strict=True)
)
"""The mask of each shape."""
