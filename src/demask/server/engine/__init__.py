"""The engine: queues requests, batches those that fit together and generates on one thread.

It knows nothing of HTTP; a notebook can use it as well as a server.
"""

from demask.server.engine.engine import Engine, Limits
from demask.server.engine.observer import EngineObserver
from demask.server.engine.request import (
    BusyError,
    ClosedError,
    Edit,
    EngineError,
    Event,
    LateError,
    Partial,
    Request,
    Ticket,
    Variation,
    WithdrawnError,
    event_queue,
)

__all__ = [
    "BusyError",
    "ClosedError",
    "Edit",
    "Engine",
    "EngineError",
    "EngineObserver",
    "Event",
    "LateError",
    "Limits",
    "Partial",
    "Request",
    "Ticket",
    "Variation",
    "WithdrawnError",
    "event_queue",
]
