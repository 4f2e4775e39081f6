"""Guidances: each wraps a `Predict`, ``reference + s * (conditional - reference)``."""

from demask.guidance.autoguidance import AutoGuidance
from demask.guidance.classifier_free import ClassifierFree
from demask.guidance.guidance import Guidance, GuidanceProvider, PredictWithAttention
from demask.guidance.refresh import Refreshed
from demask.guidance.scale import (
    SCALES,
    Constant,
    FlippedCosine,
    Interval,
    PowerCosine,
    Ramp,
    Scale,
)
from demask.guidance.self_guidance import SelfGuidance, SmoothedPass
from demask.guidance.spatial import BlurTokens, Spatial
from demask.registry import Table, build
from demask.types import Predict

GUIDANCES: Table[type[Guidance]] = Table(
    "guidance",
    {
        "classifier_free": ClassifierFree,
        "self_guidance": SelfGuidance,
        "spatial": Spatial,
        "autoguidance": AutoGuidance,
    },
)


def parse_guidance(
    text: str, predict: Predict, scale: Scale, provider: GuidanceProvider, refresh: int = 1
) -> Guidance | Refreshed:
    """Parse a guidance, such as ``self_guidance``, and wrap a model with it.

    Args:
        text: a row of `GUIDANCES`, with options after a colon.
        predict: the model.
        scale: the guidance scale of each step.
        provider: the model's reference predictions.
        refresh: compute the reference every so many steps; 1 is every step. Above 1 the result
            keeps state and is valid for one batch of images.

    Raises:
        ValueError: an unknown name or option, or the model lacks what the guidance needs.
    """
    given = GUIDANCES[text.partition(":")[0]].from_provider(provider)
    guidance: Guidance = build(GUIDANCES, text, predict=predict, scale=scale, **given)  # type: ignore[arg-type]
    return guidance if refresh == 1 else Refreshed(guidance, refresh)


__all__ = [
    "GUIDANCES",
    "SCALES",
    "AutoGuidance",
    "BlurTokens",
    "ClassifierFree",
    "Constant",
    "FlippedCosine",
    "Guidance",
    "GuidanceProvider",
    "Interval",
    "PowerCosine",
    "PredictWithAttention",
    "Ramp",
    "Refreshed",
    "Scale",
    "SelfGuidance",
    "SmoothedPass",
    "Spatial",
    "parse_guidance",
]
