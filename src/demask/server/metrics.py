"""What the engine does, as numbers that Prometheus collects; its client is imported here alone."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from demask.server.watch import Watch

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics(Watch):
    """Counts in a registry of its own, so that two servers in one process don't add up."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)  # processor time and memory, on Linux
        here = self.registry
        self._queue = Gauge("demask_queue_length", "Pictures that wait.", registry=here)
        self._spent = Histogram(
            "demask_stage_seconds",
            "Seconds by stage: queue (a picture), condition, steps (one each), pixels (a batch).",
            ["stage"],
            buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100),
            registry=here,
        )
        self._batch = Histogram(
            "demask_batch_pictures",
            "Pictures that are painted together.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128),
            registry=here,
        )
        self._pictures = Counter("demask_pictures", "Finished pictures.", ["model"], registry=here)
        self._errors = Counter(
            "demask_errors", "Requests without a picture.", ["kind"], registry=here
        )
        self._repeated = Counter(
            "demask_repeated_steps",
            "Steps of a picture that were near a tie, done again.",
            registry=here,
        )

    def queued(self, waiting: int) -> None:
        self._queue.set(waiting)

    def spent(self, stage: str, seconds: float) -> None:
        self._spent.labels(stage).observe(seconds)

    def batched(self, pictures: int) -> None:
        self._batch.observe(pictures)

    def painted(self, model: str) -> None:
        self._pictures.labels(model).inc()

    def failed(self, kind: str) -> None:
        self._errors.labels(kind).inc()

    def repeated(self, pictures: int) -> None:
        self._repeated.inc(pictures)

    def text(self) -> bytes:
        """All of it, as `/metrics` answers."""
        return generate_latest(self.registry)
