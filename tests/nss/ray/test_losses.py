"""Five hundred photos on three nodes, of which one goes, then an actor, then the driver: every output there once."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import IO, Any

import pytest

from nss.ray import manifest
from tests.nss.ray.clusters import local_cluster, workers, write_photos
from tests.project import ROOT

pytest.importorskip("ray", reason="a cluster is Ray's: pip install 'nss-wgpu[ray]'")

DAMAGED = 20
PHOTOS = int(os.environ.get("NSS_TEST_CLUSTER_PHOTOS", "500"))
"""How many there are; fewer for a look at how it goes."""


@pytest.mark.long(reason="test_cluster.py has a dozen photos, and one that ends actors, and loses no machine")
@pytest.mark.timeout(3600)
def test_a_node_an_actor_and_the_driver_go(tmp_path: Path) -> None:
    photos, batch, out = tmp_path / "photos", tmp_path / "batch", tmp_path / "out"
    names = write_photos(photos, PHOTOS, damaged=range(40, 40 + DAMAGED))
    options = ["--model", "u2netp", "--backend", "numpy", "--json"]
    command = [sys.executable, "-m", "nss", "remove", str(photos)]
    start = time.perf_counter()
    done = subprocess.run([*command, "-o", f"{batch}/", *options], cwd=ROOT, capture_output=True, text=True)
    print(f"batch: {time.perf_counter() - start:.1f} s")
    assert done.returncode == 1
    expected = {path.name: path.read_bytes() for path in batch.iterdir()}
    assert len(expected) == PHOTOS - DAMAGED

    with local_cluster(tmp_path / "cluster", nodes=3) as cluster:
        on_ray = [*command, "-o", str(out), *options, "--on", "ray", "--ray-address", cluster.address]
        node = sorted(cluster.worker_nodes, key=lambda each: each.node_id)[0]
        stages = [
            (0.3, "a node", lambda _: cluster.remove_node(node, allow_graceful=False)),
            (0.6, "an actor", lambda _: _kill(workers(cluster.head_node, "ray::MapWorker")[0])),
            (0.8, "the driver", lambda driver: driver.kill()),
        ]
        first, status = _run(on_ray, stages)
        assert status == -signal.SIGKILL
        kept = {path.name: path.stat().st_mtime_ns for path in out.glob("*.png")}
        claimed_alone = set(kept) - {row.output for row in manifest.read_rows(str(out))}
        second, status = _run(on_ray, [])
        assert status == 1

    assert {path.name: path.read_bytes() for path in out.glob("*.png")} == expected
    again = {name for name, time_ns in kept.items() if (out / name).stat().st_mtime_ns != time_ns}
    assert again <= claimed_alone  # what had its row is not done again
    failed = {Path(line["input"]).name for line in second if line["error"]}
    assert failed == set(names[40 : 40 + DAMAGED])
    newest = {row.output: row for row in manifest.read_rows(str(out))}
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in expected.items()}
    assert {output: row.sha256 for output, row in newest.items() if not row.error} == hashes
    assert {Path(row.input).name for row in newest.values() if row.error} == failed
    assert max(Counter(line["input"] for line in first).values()) == 1
    print(f"the driver had told of {len(first)}, and {len(kept)} outputs were there, {len(claimed_alone)} without row")


def _run(command: list[str], stages: list[tuple[float, str, Any]]) -> tuple[list[dict[str, Any]], int]:
    """The command's lines and its status; what takes something away is called as a part of the photos is told."""
    lines: list[dict[str, Any]] = []
    start = time.perf_counter()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as driver:
        output: IO[str] | None = driver.stdout
        assert output is not None
        for line in output:
            lines.append(json.loads(line))
            while stages and len(lines) >= stages[0][0] * PHOTOS:
                _, what, take = stages.pop(0)
                print(f"{time.perf_counter() - start:.1f} s: {what} goes, after {len(lines)} photos")
                take(driver)
        status = driver.wait()
    print(f"{time.perf_counter() - start:.1f} s: {len(lines)} photos told, status {status}")
    return lines, status


def _kill(process: int) -> None:
    os.kill(process, signal.SIGKILL)
