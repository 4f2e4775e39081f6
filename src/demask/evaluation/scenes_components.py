"""Connected components of many masks at once.

Shape legend: B images, H W rows and columns of pixels, E edges, P pixels of all masks.
"""

from __future__ import annotations

import numpy as np

NEIGHBOURS = ((0, 1), (1, -1), (1, 0), (1, 1))
"""Offsets to half of a pixel's eight neighbours; the pairs with the other half are the same."""


def connected_components(mask_BHW: np.ndarray) -> tuple[np.ndarray, int]:
    """Number the 8-connected components of masks.

    The representative of each component is hooked to the smallest one that it touches, until none
    touches another (Shiloach and Vishkin, "An O(log n) parallel connectivity algorithm", 1982).

    Args:
        mask_BHW: booleans; pixels of different images never connect.

    Returns:
        The number of each pixel's component (B, H, W), from 1 in the order of their first pixels,
        and 0 outside of the mask; and the number of components.
    """
    number_BHW = np.cumsum(mask_BHW).reshape(mask_BHW.shape) - 1
    first_E, second_E = edges(mask_BHW, number_BHW)
    root_P = np.arange(int(mask_BHW.sum()))
    while True:
        a_E, b_E = root_P[first_E], root_P[second_E]
        apart = a_E != b_E
        if not apart.any():
            break
        first_E, second_E = first_E[apart], second_E[apart]
        np.minimum.at(root_P, np.maximum(a_E, b_E)[apart], np.minimum(a_E, b_E)[apart])
        while ((above := root_P[root_P]) != root_P).any():
            root_P = above
    roots, component_P = np.unique(root_P, return_inverse=True)
    found_BHW = np.zeros(mask_BHW.shape, np.int64)
    found_BHW[mask_BHW] = component_P.reshape(-1) + 1
    return found_BHW, len(roots)


def edges(mask_BHW: np.ndarray, number_BHW: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of both pixels of each pair of neighbours in the mask, (E) and (E)."""
    firsts, seconds = [], []
    width = mask_BHW.shape[2]
    for down, right in NEIGHBOURS:
        here = slice(None), slice(0, -down or None), slice(max(-right, 0), width - max(right, 0))
        there = slice(None), slice(down, None), slice(max(right, 0), width + min(right, 0))
        both = mask_BHW[here] & mask_BHW[there]
        firsts.append(number_BHW[here][both])
        seconds.append(number_BHW[there][both])
    return np.concatenate(firsts), np.concatenate(seconds)
