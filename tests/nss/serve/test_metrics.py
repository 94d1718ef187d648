"""What Prometheus reads."""

from __future__ import annotations

import sys

import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.testclient import TestClient

from nss.serve.api import metrics
from nss.serve.api.metrics import Metrics


def samples(text: str) -> dict[tuple[str, tuple[str, ...]], float]:
    """The figures by their names and the values of their labels, in the order of these."""
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_what_is_counted_is_told() -> None:
    counts = Metrics()
    counts.request("/api/v1/jobs/{id}", 200)
    counts.request("/api/v1/jobs/{id}", 200)
    counts.request("/api/v1/jobs/{id}", 404)
    counts.photo("done")
    for seconds in (0.02, 0.2, 200):
        counts.stage("network", seconds)
    told = samples(counts.text().decode())
    assert told["nss_requests_total", ("/api/v1/jobs/{id}", "200")] == 2
    assert told["nss_requests_total", ("/api/v1/jobs/{id}", "404")] == 1
    assert told["nss_photos_total", ("done",)] == 1
    assert told["nss_stage_seconds_count", ("network",)] == 3
    assert told["nss_stage_seconds_sum", ("network",)] == pytest.approx(200.22)
    assert [told["nss_stage_seconds_bucket", (le, "network")] for le in ("0.01", "0.025", "0.25", "60.0", "+Inf")] == [
        *(0, 1, 2, 2, 3)
    ]
    assert ("nss_jobs", ("done",)) not in told


def test_what_is_held_is_asked_for_each_time() -> None:
    counts, held = Metrics(), {"jobs": {"running": 1}, "bytes": 7}
    counts.watch(jobs=lambda: held["jobs"], waiting_bytes=lambda: held["bytes"])  # type: ignore[arg-type, return-value]
    counts.watch(kept_bytes=lambda: 2, work_bytes=lambda: 3)
    for jobs, nbytes in (({"running": 1}, 7), ({"done": 2, "odd": 5}, 0)):
        held |= {"jobs": jobs, "bytes": nbytes}
        told = samples(counts.text().decode())
        states = {labels[0]: value for (name, labels), value in told.items() if name == "nss_jobs"}
        assert states == {"waiting": 0, "running": 0, "done": 0, "failed": 0, "cancelled": 0} | jobs
        sizes = [told[f"nss_{name}_bytes", ()] for name in ("waiting", "kept", "work")]
        assert sizes == [nbytes, 2, 3]


@pytest.mark.skipif(sys.platform != "linux", reason="prometheus_client knows processes of Linux alone")
def test_the_process_is_told_of() -> None:
    assert samples(Metrics().text().decode())["process_resident_memory_bytes", ()] > 1 << 20


def test_each_server_counts_for_itself() -> None:
    one, other = Metrics(), Metrics()
    one.photo("done")
    assert ("nss_photos_total", ("done",)) not in samples(other.text().decode())
    assert [name for name in ("nss_photos_total", "nss_requests_total") if REGISTRY.get_sample_value(name)] == []


def test_the_route_gives_the_text() -> None:
    counts = Metrics()
    counts.photo("failed")
    answer = TestClient(Starlette(routes=[metrics.route(counts)])).get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert samples(answer.text)["nss_photos_total", ("failed",)] == 1
