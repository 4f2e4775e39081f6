"""Corrections: change a step's logits, or tokens that are already decoded."""

from collections.abc import Callable

from demask.registry import Table, build
from demask.sampling.correction.correction import Correction
from demask.sampling.correction.differential import Differential
from demask.sampling.correction.informed import Informed
from demask.sampling.correction.momentum import Momentum
from demask.sampling.correction.noise_regularization import NoiseRegularization
from demask.sampling.correction.redraw import Redraw
from demask.sampling.correction.remask import Remask
from demask.sampling.correction.zigzag import Zigzag

CORRECTIONS: Table[Callable[..., Correction]] = Table(
    "correction",
    {
        "noise_regularization": NoiseRegularization,
        "differential": Differential,
        "zigzag": Zigzag,
        "momentum": Momentum,
        "remask": Remask,
        "informed": Informed,
        "redraw": Redraw,
    },
)


def parse_correction(text: str) -> Correction:
    """Parse a correction, such as ``noise_regularization:strength=0.5``.

    Raises:
        ValueError: an unknown name or option.
    """
    return build(CORRECTIONS, text)


__all__ = [
    "CORRECTIONS",
    "Correction",
    "Differential",
    "Informed",
    "Momentum",
    "NoiseRegularization",
    "Redraw",
    "Remask",
    "Zigzag",
    "parse_correction",
]
