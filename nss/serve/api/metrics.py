"""What a server has done and holds, as Prometheus reads it at ``/metrics``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from starlette.responses import Response
from starlette.routing import Route

if TYPE_CHECKING:
    from starlette.requests import Request


PATH = "/metrics"

STATES = ("waiting", "running", "done", "failed", "cancelled")
"""Of jobs: each has a figure from the start, so that a graph of it begins at 0."""

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """Counts of one server, in a registry of its own. Any thread may count; `text` is for one at a time."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "nss_requests_total",
            "Requests that were answered, by the template of their route.",
            ("route", "status"),
            registry=self._registry,
        )
        self._photos = Counter(
            "nss_photos_total",
            "Photos that came to an end, by what became of them.",
            ("outcome",),
            registry=self._registry,
        )
        self._stages = Histogram(
            "nss_stage_seconds",
            "How long photos were in each stage.",
            ("stage",),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._gauges = _Gauges()
        self._registry.register(self._gauges)
        ProcessCollector(registry=self._registry)  # says nothing where there is no /proc

    def request(self, route: str, status: int) -> None:
        """A request was answered. ``route``: its template, never the path as it came, of which there are any number."""
        self._requests.labels(route, str(int(status))).inc()

    def photo(self, outcome: str) -> None:
        """A photo came to its end: done, failed or cancelled."""
        self._photos.labels(outcome).inc()

    def stage(self, name: str, seconds: float) -> None:
        """A photo was so long in a stage."""
        self._stages.labels(name).observe(seconds)

    def watch(
        self,
        *,
        jobs: Callable[[], Mapping[str, int]] | None = None,
        waiting_bytes: Callable[[], float] | None = None,
        kept_bytes: Callable[[], float] | None = None,
        work_bytes: Callable[[], float] | None = None,
    ) -> None:
        """Say by what is known what the server holds; each is called by `text`, in its thread.

        Args:
            jobs: how many there are in each state.
            waiting_bytes: of uploads that wait, and of files that were sent ahead.
            kept_bytes: of finished jobs.
            work_bytes: of photos in work.
        """
        self._gauges.jobs = jobs or self._gauges.jobs
        given = {"waiting": waiting_bytes, "kept": kept_bytes, "work": work_bytes}
        self._gauges.nbytes.update({name: call for name, call in given.items() if call is not None})

    def text(self) -> bytes:
        """All of it, of type `CONTENT_TYPE_LATEST`."""
        return generate_latest(self._registry)


class _Gauges(Collector):
    """What is counted when it is asked for, as others hold it."""

    helps: Mapping[str, str] = {
        "waiting": "Memory of uploads that wait, and of files that were sent ahead.",
        "kept": "Memory of what is kept of finished jobs.",
        "work": "Memory that photos in work were given.",
    }

    def __init__(self) -> None:
        self.jobs: Callable[[], Mapping[str, int]] | None = None
        self.nbytes: dict[str, Callable[[], float]] = {}

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """The names, for the registry, which would else ask for the figures when there are none yet."""
        yield GaugeMetricFamily("nss_jobs", "Jobs by their state.", labels=["state"])
        for name, text in self.helps.items():
            yield GaugeMetricFamily(f"nss_{name}_bytes", text)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The figures, of what is watched."""
        if self.jobs is not None:
            family = GaugeMetricFamily("nss_jobs", "Jobs by their state.", labels=["state"])
            for state, count in {**dict.fromkeys(STATES, 0), **self.jobs()}.items():
                family.add_metric([state], count)
            yield family
        for name, call in self.nbytes.items():
            yield GaugeMetricFamily(f"nss_{name}_bytes", self.helps[name], value=call())


def route(metrics: Metrics) -> Route:
    """``/metrics``; the guard wants the token for it."""

    async def answer(_request: Request) -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return Route(PATH, answer, methods=["GET"])
