"""What Prometheus reads at /metrics. Names and units follow its conventions: seconds, `_total` for counters."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from mammo.serving.drift import ALARMS, Drift
from mammo.serving.messages import FilmAnswer

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
BATCHES = (1, 2, 4, 8, 16, 32, 64)
SCORES = tuple(tenth / 10 for tenth in range(1, 11))

DRIFT_NUMBERS = {
    "films": "Films that drift is measured of: the last ones",
    "ks": "Distance of the distribution functions of scores, from the reference",
    "p": "How improbable that distance is without drift",
    "psi": "Population stability index of scores",
    "doubt_rate": "Share of films that can be no mammograms",
    "refer_rate": "Share of films that are referred",
}


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
        self._measure_drift: Callable[[], Drift | None] = lambda: None

    def watch_drift(self, measure: Callable[[], Drift | None]) -> None:
        """Measure drift whenever Prometheus asks; without a reference there are no such metrics."""
        self._measure_drift = measure
        self.drift = {
            name: Gauge(f"mammo_drift_{name}", text, registry=self.registry) for name, text in DRIFT_NUMBERS.items()
        }
        self.alarms = Gauge(
            "mammo_drift_alarm", "1 where films or answers have drifted", ("kind",), registry=self.registry
        )

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
        if (drift := self._measure_drift()) is not None:
            for name, gauge in self.drift.items():
                gauge.set(getattr(drift, name))
            for kind in ALARMS:
                self.alarms.labels(kind).set(kind in drift.alarms)
        return generate_latest(self.registry)
