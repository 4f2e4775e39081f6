"""Callbacks of the engine, for metrics and tests."""

from __future__ import annotations


class EngineObserver:
    """Progress callbacks; no-ops by default.

    They are called on the engine's thread or on that of `Engine.submit`, so they must be fast and
    thread-safe.
    """

    def queued(self, waiting: int) -> None:
        """The queue has changed; ``waiting`` images are in it."""

    def spent(self, stage: str, seconds: float) -> None:
        """A stage has taken ``seconds``.

        ``queue`` and ``pixels`` are reported per image, ``condition`` per batch, ``steps`` per
        step of a batch or an edit.
        """

    def batched(self, images: int) -> None:
        """A batch of ``images`` images has started."""

    def generated(self, model: str) -> None:
        """An image is finished."""

    def failed(self, kind: str) -> None:
        """A request has ended without an image; ``kind`` is the name of the exception class."""

    def repeated(self, images: int) -> None:
        """In one step, ``images`` images were near a tie and repeated the step alone."""
