"""The tables whose rows a setting names, imported when they are asked for.

The command line shows its help without them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from demask.registry import Table


def schedules() -> Sequence[Table[Any]]:
    """The mask schedules."""
    from demask.sampling.schedule import SCHEDULE_FAMILIES, SCHEDULES

    return SCHEDULES, SCHEDULE_FAMILIES


def orders() -> Sequence[Table[Any]]:
    """The selection orders."""
    from demask.sampling.select import ORDERS

    return (ORDERS,)


def starts() -> Sequence[Table[Any]]:
    """What the first step reads."""
    from demask.sampling.start import STARTS

    return (STARTS,)


def decays() -> Sequence[Table[Any]]:
    """The decays of temperatures."""
    from demask.sampling.temperature import DECAY_FAMILIES, DECAYS

    return DECAYS, DECAY_FAMILIES


def corrections() -> Sequence[Table[Any]]:
    """The corrections."""
    from demask.sampling.correction import CORRECTIONS

    return (CORRECTIONS,)


def guidances() -> Sequence[Table[Any]]:
    """The guidances."""
    from demask.guidance import GUIDANCES

    return (GUIDANCES,)


def guidance_scales() -> Sequence[Table[Any]]:
    """How the guidance scale changes over the steps."""
    from demask.guidance.scale import SCALE_FAMILIES, SCALES

    return SCALES, SCALE_FAMILIES


def accelerators() -> Sequence[Table[Any]]:
    """The accelerators."""
    from demask.acceleration import ACCELERATORS

    return (ACCELERATORS,)
