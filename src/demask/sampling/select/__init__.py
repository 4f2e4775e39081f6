"""Selection orders: select the positions that a step unmasks.

An order is a frozen dataclass in its own file and a row of `ORDERS`.
"""

import inspect
from collections.abc import Callable

from demask.registry import Table, build
from demask.sampling.select.choose_then_sample import ChooseThenSample
from demask.sampling.select.confidence import Confidence
from demask.sampling.select.critic import Critic
from demask.sampling.select.entropy import Entropy
from demask.sampling.select.halton import Halton
from demask.sampling.select.logit import Logit
from demask.sampling.select.margin import Margin
from demask.sampling.select.order import Order, SelectionInput, Stage
from demask.sampling.select.random import Random
from demask.sampling.temperature import Temperature

ORDERS: Table[Callable[..., Order]] = Table(
    "selection order",
    {
        "confidence": Confidence,
        "logit": Logit,
        "halton": Halton,
        "margin": Margin,
        "entropy": Entropy,
        "random": Random,
        "choose_then_sample": ChooseThenSample,
        "critic": Critic,
    },
)


def parse_order(text: str, choice_temperature: Temperature | None = None) -> Order:
    """Parse an order, such as ``halton`` or ``entropy:bound=2.5``.

    Args:
        text: a row of `ORDERS`, with options after a colon.
        choice_temperature: passed to orders that take one, ignored by others.

    Raises:
        ValueError: an unknown name or option.
    """
    parameters = inspect.signature(ORDERS[text.partition(":")[0]]).parameters
    # networks come from the model, not from the text
    given: dict[str, object] = {"score": None} if "score" in parameters else {}
    if choice_temperature is not None and "choice_temperature" in parameters:
        given["choice_temperature"] = choice_temperature
    return build(ORDERS, text, **given)


__all__ = [
    "ORDERS",
    "ChooseThenSample",
    "Confidence",
    "Critic",
    "Entropy",
    "Halton",
    "Logit",
    "Margin",
    "Order",
    "Random",
    "SelectionInput",
    "Stage",
    "parse_order",
]
