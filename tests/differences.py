"""The differences from the authors' programs, kept for the table at the end of the parity tests."""

from __future__ import annotations

import os
from collections import defaultdict

from torch import Tensor

SEEN: dict[str, list[float]] = defaultdict(list)
"""Relative errors by the file of the test."""


def relative(ours: Tensor, theirs: Tensor) -> float:
    """The relative error in the Frobenius norm."""
    assert ours.shape == theirs.shape
    error = float((ours.detach() - theirs).norm() / theirs.norm())
    SEEN[os.environ.get("PYTEST_CURRENT_TEST", "").partition("::")[0]].append(error)
    return error


def table() -> list[str]:
    """A line for each file: how many arrays were compared, and the largest error."""
    return [
        f"{name:40} {len(errors):4} arrays, largest relative error {max(errors):.1e}"
        for name, errors in sorted(SEEN.items())
    ]
