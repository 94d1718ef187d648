"""A server whose photos are worked on by processes: one that dies, what clients are told, and that none is left."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest

pytest.importorskip("uvicorn", reason="the extra 'serve' is not installed")

import engine
from nss.batch.processes import BASE_BYTES, VARIABLE, server_count
from nss.errors import UsageError
from nss.files.formats import Encoding
from nss.removal.remover import Remover
from nss.serve.jobs.models import ModelChoice, ServedModels
from nss.workers.process import supported
from tests.wall_clock import wait_until
from tools import serve_load
from tools.drawn_photos import draw
from tools.fuzzing import onnx_seeds
from tools.serving.client import Answer
from tools.serving.server import Server

pytestmark = pytest.mark.skipif(not supported() or sys.platform != "linux", reason="reads /proc")

WORKERS = min(2, engine.available_cores())

SLOW = "effort=9"
"""What makes the file of a photo long enough in the making to kill the worker meanwhile."""


def children(pid: int) -> list[int]:
    """The workers of a server."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == pid and fields[0] not in "ZX":
                found.append(int(entry.name))
    return found


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def cpu_ticks(pid: int) -> int:
    try:
        return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
    except OSError:
        return 0


@pytest.fixture
def model(tmp_path: Path) -> Path:
    onnx.save(onnx_seeds.mask_network(), tmp_path / "small.onnx")
    return tmp_path / "small.onnx"


@pytest.fixture
def photo(tmp_path: Path) -> bytes:
    draw(0, (1200, 900)).save(tmp_path / "photo.png")
    return (tmp_path / "photo.png").read_bytes()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: Path) -> Iterator[Server]:
    monkeypatch.setenv(VARIABLE, "processes")
    words = serve_load.command("--model", model, "--backend", "numpy", "--no-cache", "-j", 2)
    with Server(words, tmp_path, serve_load.variables(tmp_path)) as server:
        yield server


def asked(server: Server, target: str, body: bytes | None = None, *, method: str = "POST") -> Answer:
    return asyncio.run(server.connection().request(method, f"/api/v1/{target}", body))


class Asking(threading.Thread):
    """A client that waits for its answer meanwhile."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__()
        self._arguments = arguments
        self.answers: list[Answer] = []
        self.start()

    def run(self) -> None:
        self.answers.append(asked(*self._arguments))


def in_the_middle(before: dict[int, int]) -> int:
    """A worker that has computed for a while by now."""
    busy: list[int] = []

    def look() -> bool:
        busy.extend(pid for pid, ticks in before.items() if cpu_ticks(pid) > ticks + 20)
        return bool(busy)

    wait_until(look)
    return busy[0]


def test_what_a_worker_dies_of_once_still_comes_out_right_and_none_is_left_at_the_end(
    server: Server, model: Path, photo: bytes
) -> None:
    with Remover(model, backend="numpy", quiet=True, cache=False) as remover:
        expected = remover.remove(photo).to_bytes(Encoding("png", effort=9))
    assert asked(server, "remove?effort=0", photo).status == 200
    workers = children(server.pid)
    assert len(workers) == WORKERS
    client = Asking(server, f"remove?{SLOW}", photo)
    os.kill(in_the_middle({pid: cpu_ticks(pid) for pid in workers}), signal.SIGKILL)
    client.join(60)
    (answer,) = client.answers
    assert (answer.status, answer.body) == (200, expected)
    wait_until(lambda: len(children(server.pid)) == WORKERS)
    workers = children(server.pid)
    assert server.stop() == 0
    assert not any(map(is_running, workers))


def test_clients_are_told_of_failures_as_by_threads(server: Server, photo: bytes) -> None:
    for target, body, status, detail in (
        ("remove?name=cat.png", b"no image", 422, "cat.png: is not an image"),
        ("remove?max-pixels=1000&name=cat.png", photo, 413, "cat.png: 1200 x 900 pixels are more than 0.001"),
    ):
        answer = asked(server, target, body)
        assert answer.status == status
        assert answer.json()["detail"].startswith(detail)


@pytest.mark.parametrize("way", ["twice", "killed"])
def test_whatever_ends_the_server_ends_its_workers(server: Server, photo: bytes, way: str) -> None:
    workers = children(server.pid)
    for pid in workers:  # what they have in hand comes to no end
        os.kill(pid, signal.SIGSTOP)
    key = asked(server, "jobs", photo).json()["id"]
    wait_until(lambda: asked(server, f"jobs/{key}", method="GET").json()["state"] == "running")
    if way == "killed":
        server.kill()
    else:
        for pid in workers:  # as a terminal does, which tells the whole group
            os.kill(pid, signal.SIGINT)
        os.kill(server.pid, signal.SIGINT)
        wait_until(lambda: "press Ctrl-C again" in server.said())
        os.kill(server.pid, signal.SIGINT)
        wait_until(lambda: not server.runs)
    for pid in filter(is_running, workers):
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: not any(map(is_running, workers)))


def test_how_many_a_server_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    for cores, jobs, memory, count in (
        (16, None, 1 << 34, 16),
        (16, 5, 1 << 34, 5),
        (16, 1, 1 << 34, 0),
        (16, None, 12 * BASE_BYTES, 3),
        (16, None, 7 * BASE_BYTES, 0),
        (4, 20, 1 << 34, 4),
        (3, None, 1 << 34, 0),
    ):
        monkeypatch.setattr("engine.available_cores", lambda cores=cores: cores)
        assert server_count(jobs, memory) == count
    monkeypatch.setenv(VARIABLE, "threads")
    assert server_count(None, 1 << 34) == 0
    monkeypatch.setenv(VARIABLE, "processes")
    assert server_count(None, 1) == 3
    monkeypatch.setenv(VARIABLE, "fibres")
    with pytest.raises(UsageError, match=r'^NSS_BATCH_WORKERS="fibres": '):
        server_count(None, 1 << 34)


def test_workers_take_of_the_memory_and_end_with_the_models(
    monkeypatch: pytest.MonkeyPatch, model: Path, tmp_path: Path
) -> None:
    monkeypatch.setenv(VARIABLE, "processes")
    said: list[str] = []
    choice = ModelChoice(str(model), {"backend": "numpy", "cache": False})
    missing = ModelChoice(str(tmp_path / "missing.onnx"))
    with pytest.raises(Exception, match=r"missing\.onnx"):
        ServedModels([choice, missing], 2, 1 << 30, said.append).open_all()
    assert children(os.getpid()) == []
    models = ServedModels([choice], 2, 1 << 30, said.append)
    try:
        models.open_all()
        assert models.budget.nbytes == (1 << 30) - WORKERS * BASE_BYTES
        pool = models.pool_beside(0)
        assert pool is not None
        monkeypatch.delenv(VARIABLE)
        assert models.pool_beside(0) is None, "one that is alone is quicker by the threads of all cores"
        assert models.pool_beside(1) is pool
        monkeypatch.setattr(type(pool), "is_gone", True)
        assert models.pool_beside(1) is None
        assert said[-1].startswith("no worker process is left")
        assert children(os.getpid()) == []
    finally:
        models.close()
