"""Metrics for Prometheus: figures of the database and the disk at each scrape, and the requests of this process."""

import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from service.store import Store
from service.store.figures import Figures
from service.store.retention_policy import Expired
from sparsemod.version import __version__

FRESH_SECONDS = 5.0
"""How long the figures of the database are reused. They are counts over all trials."""

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
"""Upper limits of the latency histogram in seconds."""


class Metrics:
    """The metrics of one server process."""

    def __init__(self, store: Store, folder: Path) -> None:
        self._store, self._folder = store, folder
        self._lock = threading.Lock()
        self._figures: tuple[float, Figures] | None = None
        self.registry = CollectorRegistry()
        labels = ("method", "path")
        self._requests = Counter(
            "sparsemod_requests", "Answered requests.", (*labels, "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "sparsemod_request_seconds", "Seconds from a request to the end of its answer.", labels,
            buckets=BUCKETS, registry=self.registry,
        )  # fmt: skip
        self._claims = Counter(
            "sparsemod_claims", "Trials handed out by this process.", registry=self.registry
        )
        self._expired = Counter(
            "sparsemod_retention_deleted",
            "What retention deleted in this process: files, bytes, events, log lines, audit entries.",
            ("kind",),
            registry=self.registry,
        )
        self.registry.register(self)

    def answered(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count a request. `path` is the pattern of its route, never the path itself, which has no end of values."""
        self._requests.labels(method, path, status).inc()
        if status != 101 and not path.endswith("/stream"):  # a stream lasts as long as its reader wants
            self._seconds.labels(method, path).observe(seconds)

    def claimed(self) -> None:
        """Count a claim that got a trial."""
        self._claims.inc()

    def expired(self, found: Expired) -> None:
        """Count what a step of retention deleted."""
        for kind, count in found.counts().items():
            self._expired.labels(kind).inc(count)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format. Raises ServerUnavailable."""
        return generate_latest(self.registry)

    def describe(self) -> Iterator[Metric]:
        """Return nothing: the registry must not read the database when it is built."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Yield the figures of the database and of the disk."""
        found = self._read()
        yield _by("sparsemod_info", "Version of the server.", "version", {__version__: 1})
        yield GaugeMetricFamily("sparsemod_queue_depth", "Trials that workers can claim.", found.queued)
        yield _by("sparsemod_trials", "Trials by state.", "state", found.trials)
        yield _by("sparsemod_failed_trials", "Failed trials by kind of failure.", "kind", found.failures)
        yield _by("sparsemod_suggested_trials", "Trials by origin.", "origin", found.suggestions)
        yield _by("sparsemod_experiments", "Experiments by state.", "state", found.experiments)
        yield _by(
            "sparsemod_attempts", "Attempts by state; lost: the lease ran out.", "state", found.attempts
        )
        yield GaugeMetricFamily(
            "sparsemod_workers", "Workers that contacted the server recently.", found.workers
        )
        yield GaugeMetricFamily("sparsemod_pauses", "Active pauses.", found.pauses)
        yield GaugeMetricFamily(
            "sparsemod_artifact_bytes", "Bytes of all recorded files.", found.artifact_bytes
        )
        try:
            usage = shutil.disk_usage(next(p for p in (self._folder, *self._folder.parents) if p.exists()))
        except OSError:
            return  # no sample: the alarm for absent metrics fires
        yield GaugeMetricFamily("sparsemod_disk_free_bytes", "Free bytes on the artifacts' disk.", usage.free)
        yield GaugeMetricFamily("sparsemod_disk_bytes", "Size of the artifacts' disk.", usage.total)

    def _read(self) -> Figures:
        with self._lock:
            now = time.monotonic()
            if self._figures is None or now - self._figures[0] > FRESH_SECONDS:
                self._figures = (now, self._store.figures())
            return self._figures[1]


def _by(name: str, description: str, label: str, values: Mapping[str, int]) -> Metric:
    family = GaugeMetricFamily(name, description, labels=[label])
    for value, count in values.items():
        family.add_metric([str(value)], count)
    return family
