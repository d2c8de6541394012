"""What Prometheus reads at /metrics. Names and units follow its conventions: seconds, `_total` for counters."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from mammo.serving.messages import FilmAnswer

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
BATCHES = (1, 2, 4, 8, 16, 32, 64)
SCORES = tuple(tenth / 10 for tenth in range(1, 11))


class ServiceMetrics:
    """The metrics of one service, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "mammo_requests", "Requests, by route and status", ("route", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "mammo_request_seconds", "Time to answer", ("route",), buckets=SECONDS, registry=self.registry
        )
        self.batch_sizes = Histogram(
            "mammo_batch_size", "Films predicted at once", buckets=BATCHES, registry=self.registry
        )
        self.scores = Histogram("mammo_score", "Probabilities of malignancy", buckets=SCORES, registry=self.registry)
        self.answers = Counter("mammo_answers", "Films, by answer", ("answer",), registry=self.registry)
        self.doubted = Counter("mammo_doubted_films", "Films that can be no mammograms", registry=self.registry)
        self.waiting = Gauge("mammo_waiting_films", "Films that wait for the model", registry=self.registry)

    def watch_queue(self, size: Callable[[], int]) -> None:
        """Read the length of the queue whenever Prometheus asks."""
        self.waiting.set_function(size)

    def count_answers(self, answers: list[FilmAnswer]) -> None:
        """Count the films of one request."""
        for answer in answers:
            self.scores.observe(answer.prob)
            self.answers.labels(answer.answer or "unknown").inc()
            self.doubted.inc(answer.doubt is not None)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)
