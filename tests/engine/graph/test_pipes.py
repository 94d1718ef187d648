"""Models from what cannot be read twice or mapped: pipes, devices, sockets."""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from engine import ModelError, ModelFile, Session, TooLargeError
from engine.graph import mapped, model_file
from tests.engine.models import model, node

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")

WEIGHTS = np.arange(3 << 19, dtype=np.float32)
"""6 MiB: more than a pipe holds, cut out of what protobuf parses, and read in pieces."""

CONTENT = model([node("Add", "x w", "y")], {"x": [1]}, "y", {"w": WEIGHTS}).SerializeToString()


def pour(content: bytes, into: int | Path) -> threading.Thread:
    """Write ``content`` once, from another thread, to a pipe that a reader holds or will open."""

    def write() -> None:
        with suppress(BrokenPipeError), open(into, "wb") as pipe:  # noqa: PTH123 (a descriptor has no path)
            pipe.write(content)

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    return writer


@contextmanager
def readable(kind: str, folder: Path, content: bytes) -> Iterator[Path]:
    """A path that gives ``content`` once: a named pipe, or the descriptor of one as ``<(cat model)`` passes it."""
    if kind == "fifo":
        path = folder / "model"
        os.mkfifo(path)
        writer = pour(content, path)
        yield path
    else:
        reader, descriptor = os.pipe()
        writer = pour(content, descriptor)
        yield Path(f"/dev/fd/{reader}")
        os.close(reader)
    writer.join(60)
    assert not writer.is_alive()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["fifo", "/dev/fd"])
def test_a_pipe_is_read_once(kind: str, tmp_path: Path) -> None:
    with readable(kind, tmp_path, CONTENT) as path:
        file = ModelFile.read(path)
    assert bytes(file.content) == CONTENT
    # the same file serves any number of sessions, when the pipe is gone
    for backend in ("numpy", "reference"):
        with Session(file, backend=backend) as session:
            np.testing.assert_array_equal(session.run({"x": np.ones(1, np.float32)})["y"], WEIGHTS + 1)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["fifo", "/dev/fd"])
def test_a_session_reads_a_pipe(kind: str, tmp_path: Path) -> None:
    with readable(kind, tmp_path, CONTENT) as path, Session(path, backend="numpy") as session:
        np.testing.assert_array_equal(session.run({"x": np.ones(1, np.float32)})["y"], WEIGHTS + 1)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("content", "message"), [(b"", "is empty"), (CONTENT[:-1000], "is cut short")])
def test_a_pipe_that_ends_early(content: bytes, message: str, tmp_path: Path) -> None:
    with readable("fifo", tmp_path, content) as path, pytest.raises(ModelError, match=message):
        ModelFile.read(path)


def test_a_device_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node of its own for the device of zeros: no more is read than an ONNX file may have."""
    device = tmp_path / "zeros"
    try:
        os.mknod(device, stat.S_IFCHR | 0o600, os.makedev(1, 5))
        device.open("rb").close()
    except OSError as error:
        pytest.skip(f"this machine does not let the test make a device: {error}")
    max_bytes = 3 * mapped.PIECE + 7
    assert len(mapped.contents(device, max_bytes)) == max_bytes + 1
    monkeypatch.setattr(model_file, "LARGEST", max_bytes)
    with pytest.raises(ModelError, match="and an ONNX file at most"):
        ModelFile.read(device)


def test_a_socket_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("model")
        with pytest.raises(ModelError, match="cannot be read: No such device or address"):
            ModelFile.read("model")


@pytest.mark.timeout(120)
def test_a_file_that_memory_does_not_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> memoryview:
        raise MemoryError

    (tmp_path / "m.onnx").write_bytes(CONTENT)
    monkeypatch.setattr(mapped, "contents", full)
    with pytest.raises(TooLargeError, match="does not fit into the memory that is left"):
        ModelFile.read(tmp_path / "m.onnx")
