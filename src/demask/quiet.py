"""Keep the warnings of other packages about themselves out of what a person reads."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

TORCHAO = ("torchao", "torch.utils._pytree")
"""The loggers that speak when torchao is imported, which peft does by itself."""


@contextmanager
def quiet_torchao() -> Iterator[None]:
    """A context that silences torchao's warnings about other hardware and deprecated names."""
    logs = [logging.getLogger(name) for name in TORCHAO]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)
