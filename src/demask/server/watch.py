"""What the engine tells of itself while it works; the server counts it, tests look at it."""

from __future__ import annotations


class Watch:
    """Hears of everything and does nothing; a subclass does."""

    def queued(self, waiting: int) -> None:
        """So many requests wait now."""

    def spent(self, stage: str, seconds: float) -> None:
        """A stage of a picture or a batch took so long: queue, condition, steps, alone, pixels."""

    def batched(self, pictures: int) -> None:
        """So many pictures are painted together."""

    def painted(self, model: str) -> None:
        """A picture is finished."""

    def failed(self, kind: str) -> None:
        """A request ended without one; ``kind`` is the name of an exception."""

    def repeated(self, pictures: int) -> None:
        """So many pictures of a step were too near a tie and were painted again, alone."""
