"""What Prometheus scrapes at `/metrics`. Names follow its conventions: base units, `_total` for what only grows.

Figures of the fleet are counted at most every `_FRESH_S`: several scrapers, or an impatient one, cost no more than one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from cloud_hub.errors import StoreError
from cloud_hub.ingest.status import StatusView
from cloud_hub.store.database import Database
from cloud_hub.store.figures import Figures, fleet_figures

CONTENT_TYPE = CONTENT_TYPE_LATEST
_FRESH_S = 5.0
_DAY_S = 86_400.0
_WITHIN_DAYS = (0, 7, 30)
_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The figures of one hub, in a registry of its own."""

    def __init__(
        self,
        database: Database,
        *,
        now_s: Callable[[], float],
        ingest: Callable[[], StatusView],
        connected: Callable[[], bool],
        metadata_until_s: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        """`metadata_until_s`: when the current metadata of each role expires."""
        self.registry = CollectorRegistry()
        self._requests = Histogram(
            "millwright_http_request_seconds",
            "Time to answer, by route",
            ("method", "route", "status"),
            registry=self.registry,
            buckets=_BUCKETS_S,
        )
        self.registry.register(
            _HubCollector(database, now_s=now_s, ingest=ingest, connected=connected, metadata_until_s=metadata_until_s)
        )

    def observe_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answer. `route` is the template (`/alarms/{alarm}`), so that ids make no new series."""
        self._requests.labels(method, route, f"{status // 100}xx").observe(seconds)

    def text(self) -> bytes:
        """All figures in Prometheus' text format."""
        return generate_latest(self.registry)


class _HubCollector(Collector):
    def __init__(
        self,
        database: Database,
        *,
        now_s: Callable[[], float],
        ingest: Callable[[], StatusView],
        connected: Callable[[], bool],
        metadata_until_s: Callable[[], Mapping[str, float]],
    ) -> None:
        self._database = database
        self._now_s = now_s
        self._ingest = ingest
        self._connected = connected
        self._metadata_until_s = metadata_until_s
        self._lock = threading.Lock()
        self._counted: tuple[float, Figures | None] | None = None

    def describe(self) -> Iterator[Metric]:
        """Nothing is counted at registration."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """A database that does not answer is a figure too: the others still come."""
        now_s = self._now_s()
        status = self._ingest()
        yield from _ingest_figures(status)
        yield _gauge("millwright_broker_connected", "1 while the hub's link to the broker stands", self._connected())
        figures = self._figures(now_s)
        well = figures is not None and status.store_error is None
        yield _gauge("millwright_database_up", "1 while the database takes and gives", well)
        if figures is not None:
            yield from _fleet(figures, now_s)
        left = GaugeMetricFamily(
            "millwright_metadata_seconds_left", "Until the signed metadata expires", labels=("role",)
        )
        for role, until_s in self._metadata_until_s().items():
            left.add_metric((role,), until_s - now_s)
        yield left

    def _figures(self, now_s: float) -> Figures | None:
        with self._lock:
            if self._counted is None or not 0 <= now_s - self._counted[0] < _FRESH_S:
                try:
                    with self._database.read() as session:
                        self._counted = (now_s, fleet_figures(session, now_s))
                except StoreError:
                    self._counted = (now_s, None)  # told by millwright_database_up
            return self._counted[1]


def _ingest_figures(status: StatusView) -> Iterator[Metric]:
    taken = CounterMetricFamily("millwright_ingest", "Messages and rows taken in, by kind", labels=("kind",))
    rejected = CounterMetricFamily("millwright_ingest_rejected", "Messages not taken, by reason", labels=("reason",))
    for name, count in status.counters.items():
        head, _, rest = name.partition(".")
        if head == "rejected":
            rejected.add_metric((rest,), count)
        else:
            taken.add_metric((name,), count)
    yield taken
    yield rejected
    yield _gauge("millwright_ingest_queued", "Messages that wait to be stored", status.queued)
    if status.last_commit_s is not None:
        yield _gauge(
            "millwright_ingest_last_commit_timestamp_seconds", "When a batch was last stored", status.last_commit_s
        )


def _fleet(figures: Figures, now_s: float) -> Iterator[Metric]:
    yield _by("millwright_gateways", "Gateways, by what their broker says of them", "state", figures.gateways)
    yield _gauge("millwright_gateways_silent", "Online, but not heard of for ten minutes", figures.silent)
    yield _by("millwright_agents", "Gateways, by the version of their agent", "version", figures.agents)
    yield _by("millwright_points", "Points that are watched, by verdict", "verdict", figures.points)
    yield _by("millwright_alarms_raised", "Episodes that go on, by verdict", "verdict", figures.alarms_raised)
    yield _by("millwright_rollouts", "Rollouts that are not over, by status", "status", figures.rollouts)
    yield _gauge("millwright_outbox_bytes_max", "What waits in the fullest outbox of a gateway", figures.outbox_bytes)
    ending = {
        str(days): sum(1 for until_s in figures.certificates_until if until_s <= now_s + days * _DAY_S)
        for days in _WITHIN_DAYS
    }
    yield _by("millwright_certificates_ending", "Gateways whose certificate ends within so many days", "days", ending)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=float(value))


def _by(name: str, text: str, label: str, values: Mapping[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=(label,))
    for key, value in sorted(values.items()):
        family.add_metric((key,), value)
    return family
