"""Corrections: changes to a step's distribution, or to tokens that are decided already."""

from demask.registry import Table
from demask.sampling.correction.correction import Correction

CORRECTIONS: Table[type[Correction]] = Table("correction", {})

__all__ = ["CORRECTIONS", "Correction"]
