"""A cluster of Ray on this machine, of several nodes, that a test may take away one by one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.project import ROOT

STORE = 128 << 20
"""Bytes of each node's object store."""


@contextmanager
def local_cluster(folder: Path, nodes: int) -> Iterator[Any]:
    """A cluster of nodes with a core each, and of that many processes of Ray; what they keep is in ``folder``."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        # a minute, after which Ray ends a worker that has not begun, and starts another: on a busy core none would
        patch.setenv("RAY_worker_register_timeout_seconds", "600")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        patch.setenv("NSS_CACHE_DIR", str(folder / "cache"))
        patch.setenv("NSS_STATE_DIR", str(folder / "state"))
        patch.delenv("NSS_CACHE_SIZE", raising=False)
        head = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": STORE}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            for _ in range(nodes - 1):
                cluster.add_node(num_cpus=1, object_store_memory=STORE)
            yield cluster
        finally:
            cluster.shutdown()


def workers(node: Any, title: str) -> list[int]:
    """The processes of a node's workers whose title begins so, as Ray names them."""
    raylet = node.all_processes["raylet"][0].process.pid
    found = []
    for process in Path("/proc").iterdir():
        try:
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == raylet and (process / "cmdline").read_text().startswith(title):
                found.append(int(process.name))
        except (OSError, ValueError, IndexError):  # no process, or none any more
            continue
    return found


def write_photos(folder: Path, count: int, damaged: range = range(0)) -> list[str]:
    """Small photos, JPEG and PNG with alpha, a shape in each; those of ``damaged`` end early. Returns their names."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(5)
    names = []
    for index in range(count):
        pixels = generator.integers(0, 90, (48, 64, 4), np.uint8)
        top, left = generator.integers(4, 20, 2)
        pixels[top : top + 24, left : left + 32] += 120
        is_png = index % 3 == 2
        path = folder / f"photo{index:03}.{'png' if is_png else 'jpg'}"
        Image.fromarray(pixels if is_png else pixels[..., :3]).save(path)
        if index in damaged:
            path.write_bytes(path.read_bytes()[:200])
        names.append(path.name)
    return names
