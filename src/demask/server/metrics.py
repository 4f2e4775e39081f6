"""Metrics of the engine for Prometheus, whose client is imported only here."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from demask.server.engine import EngineObserver

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics(EngineObserver):
    """Counts in a registry of its own, so that servers in one process do not share counters."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)  # processor time and memory, on Linux
        here = self.registry
        self._queue = Gauge("demask_queue_length", "Images that wait.", registry=here)
        self._spent = Histogram(
            "demask_stage_seconds",
            "Seconds by stage: queue (an image), condition, steps (one each), pixels (an image).",
            ["stage"],
            buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100),
            registry=here,
        )
        self._batch = Histogram(
            "demask_batch_images",
            "Images that are generated together.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128),
            registry=here,
        )
        self._images = Counter("demask_images", "Finished images.", ["model"], registry=here)
        self._errors = Counter(
            "demask_errors", "Requests without an image.", ["kind"], registry=here
        )
        self._repeated = Counter(
            "demask_repeated_steps",
            "Steps of an image that were near a tie, done again.",
            registry=here,
        )

    def queued(self, waiting: int) -> None:
        self._queue.set(waiting)

    def spent(self, stage: str, seconds: float) -> None:
        self._spent.labels(stage).observe(seconds)

    def batched(self, images: int) -> None:
        self._batch.observe(images)

    def generated(self, model: str) -> None:
        self._images.labels(model).inc()

    def failed(self, kind: str) -> None:
        self._errors.labels(kind).inc()

    def repeated(self, images: int) -> None:
        self._repeated.inc(images)

    def text(self) -> bytes:
        """All metrics in the text format of Prometheus."""
        return generate_latest(self.registry)
