"""What the engine tells of itself while it works; the server counts it, tests look at it."""

from __future__ import annotations


class EngineObserver:
    """Hears of everything and does nothing; a subclass does."""

    def queued(self, waiting: int) -> None:
        """So many requests wait now."""

    def spent(self, stage: str, seconds: float) -> None:
        """A stage of an image or a batch took so long: queue, condition, steps, alone, pixels."""

    def batched(self, images: int) -> None:
        """So many images are generated together."""

    def generated(self, model: str) -> None:
        """An image is finished."""

    def failed(self, kind: str) -> None:
        """A request ended without one; ``kind`` is the name of an exception."""

    def repeated(self, images: int) -> None:
        """So many images of a step were too near a tie and were generated again, alone."""
