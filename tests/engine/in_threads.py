"""What the tests of threads and forks share: a small model, a device that may be lost, and work in many threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

import engine
from engine import Session
from engine.gpu.device.device import Device
from tests.engine.gpu.gpu import device
from tests.engine.models import model, node

THREADS, RUNS = 8, 20
RNG = np.random.default_rng(11)
WEIGHTS = {
    "w": RNG.standard_normal((16, 3, 3, 3)).astype(np.float32),
    "v": RNG.standard_normal((8, 16, 3, 3)).astype(np.float32),
}
NODES = [
    node("Conv", "x w", "a", pads=[1] * 4),
    node("Relu", "a", "b"),
    node("Conv", "b v", "c", pads=[1] * 4),
    node("Sigmoid", "c", "y"),
]
SMALL = model(NODES, {"x": [1, 3, 32, 32]}, "y", WEIGHTS).SerializeToString()
"""Of 3.2 MFLOP."""

IMAGES = RNG.random((THREADS, 1, 3, 32, 32), np.float32)


def together(work: Callable[[int], None], meanwhile: Callable[[], None] = lambda: None) -> list[BaseException]:
    """Call ``work`` with 0, 1, … in as many threads; the errors that it raised."""
    errors: list[BaseException] = []

    def call_work(index: int) -> None:
        try:
            work(index)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=call_work, args=(index,), daemon=True) for index in range(THREADS)]
    for thread in threads:
        thread.start()
    meanwhile()
    for thread in threads:
        thread.join(200)
    assert not any(thread.is_alive() for thread in threads), "a thread hangs"
    return errors


@contextmanager
def own_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    """A device of the test's own, which sessions get, so that it may be lost."""
    shared_device = device()
    own = Device(shared_device.adapter)
    shared_devices = vars(engine.gpu.device.device)["_devices"]
    (key,) = (key for key, open_device in shared_devices.items() if open_device is shared_device)
    monkeypatch.setitem(shared_devices, key, own)
    yield own
    own.free([own.handle])


def on_gpu() -> Session:
    return Session(SMALL, backend="webgpu", adapter=device().adapter.index)
