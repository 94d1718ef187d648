"""The closed form of a cluster's throughput, held to runs event by event, and to a machine that was measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tools import cluster_scaling
from tools.scaling.events import simulate
from tools.scaling.model import Cluster, PhotoCosts, rates, throughput

COSTS = PhotoCosts(load_s=0.2, infer_s=0.02, finish_s=0.5, read_bytes=5e6, written_bytes=15e6)
CLUSTER = Cluster(
    gpus=8,
    workers=16,
    read_bytes_s=1e10,
    written_bytes_s=1e10,
    reads_s=5500,
    writes_s=3500,
    read_latency_s=0.05,
    write_latency_s=0.05,
)


@pytest.mark.parametrize(
    ("costs", "cluster", "limit"),
    [
        (COSTS, CLUSTER, "workers"),
        (COSTS, replace(CLUSTER, gpus=1), "workers"),
        (COSTS, replace(CLUSTER, workers=64), "GPUs"),
        (replace(COSTS, infer_s=0.1), replace(CLUSTER, gpus=1), "GPUs"),
        (COSTS, replace(CLUSTER, gpus=60), "writing"),
        (COSTS, replace(CLUSTER, written_bytes_s=1e12, read_bytes_s=5e8), "reading"),
        (replace(COSTS, written_bytes=1e3), replace(CLUSTER, writes_s=90, gpus=12), "requests to write"),
        (replace(COSTS, driver_s=0.01), CLUSTER, "the driver"),
    ],
)
def test_the_closed_form_is_what_a_run_by_events_gives(costs: PhotoCosts, cluster: Cluster, limit: str) -> None:
    rate, held_by = throughput(costs, cluster)
    assert held_by == limit
    simulated = simulate(costs, cluster, 3000)
    assert 0.98 * rate < simulated < 1.02 * rate


def test_what_holds_two_at_once_costs_little() -> None:
    balanced, cluster = replace(COSTS, infer_s=0.0511), replace(CLUSTER, gpus=1)
    limits = rates(balanced, cluster)
    assert abs(limits["GPUs"] / limits["workers"] - 1) < 0.03
    rate, _ = throughput(balanced, cluster)
    assert 0.95 * rate < simulate(balanced, cluster, 3000) < rate


def test_a_table_and_its_plot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_scaling, "SIMULATED", (1,))
    drawing = tmp_path / "scaling.svg"
    words = ["--size", "96x64", "--photos", "1", "--network", "a=20", "--workers", "2", "--plot", str(drawing)]
    assert cluster_scaling.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("a photo of 0.00614 megapixels on a core, in ms: read ")
    assert [line.split("|")[1].strip() for line in lines[4:]] == [f"{gpus:,}" for gpus in cluster_scaling.GPUS]
    assert drawing.read_text("utf-8").count("<polyline") == 1
