"""Accelerators: faster, approximate forwards."""

from collections.abc import Callable, Iterable

from demask.acceleration.accelerator import Accelerator
from demask.acceleration.local_steps import LocalSteps
from demask.acceleration.shortcut import ShortcutSteps
from demask.acceleration.token_merging import TokenMerging
from demask.registry import Table, build
from demask.types import Transformer

ACCELERATORS: Table[Callable[..., Accelerator]] = Table(
    "accelerator",
    {
        "token_merging": TokenMerging,
        "local_steps": LocalSteps,
        "shortcut": ShortcutSteps,
    },
)


def parse_accelerator(text: str) -> Accelerator:
    """Parse an accelerator, such as ``token_merging:0.25``.

    Args:
        text: a row of `ACCELERATORS`, with options after a colon; the first may omit its name.

    Raises:
        ValueError: an unknown name or option, or a value out of range.
    """
    return build(ACCELERATORS, text)


def accelerate(transformer: Transformer, accelerators: Iterable[Accelerator]) -> Transformer:
    """Wrap a transformer with accelerators; the first one is innermost.

    Raises:
        ValueError: an accelerator does not work with the transformer or with an inner accelerator.
    """
    for accelerator in accelerators:
        transformer = accelerator.around(transformer)
    return transformer


__all__ = [
    "ACCELERATORS",
    "Accelerator",
    "LocalSteps",
    "ShortcutSteps",
    "TokenMerging",
    "accelerate",
    "parse_accelerator",
]
