"""Weights on their way to the device: each byte where it belongs, and no more memory than said."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from engine.compiled.model import Piece
from engine.errors import DeviceLostError
from engine.gpu.device import uploads
from engine.gpu.device.device import Device
from tests.engine.gpu.gpu import device

USAGE = "STORAGE|COPY_SRC|COPY_DST"


def content(own: Device, buffer: object, nbytes: int) -> np.ndarray:
    """What lies in a buffer."""
    staging = own.buffer(nbytes, "MAP_READ|COPY_DST", "x")
    with own.guarded("copying"):
        encoder = own.handle.create_command_encoder()
        encoder.copy_buffer_to_buffer(buffer, 0, staging, 0, nbytes)
        own.handle.queue.submit([encoder.finish()])
    return own.read(staging, nbytes)


def test_every_byte_is_where_it_belongs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces smaller and larger than the staging memory, of odd length, in several buffers, with gaps."""
    monkeypatch.setattr(uploads, "STAGING_BYTES", 4096)
    own, random = device(), np.random.default_rng(0)
    sizes = [3 * 4096, 256, 20000]
    buffers = [own.buffer(size, USAGE, "weights") for size in sizes]
    expected = [np.zeros(size, np.uint8) for size in sizes]

    def pieces() -> Iterator[Piece]:
        places = (0, 0, 2), (0, 256, 10001), (1, 0, 256), (2, 512, 0), (2, 512, 4096), (2, 4608, 7)
        for buffer, offset, size in places:
            data = random.integers(1, 255, size, np.uint8)
            expected[buffer][offset : offset + size] = data
            data.flags.writeable = False  # as what is mapped from a file
            yield Piece(buffer, offset, data)

    own.upload(buffers, pieces())
    for buffer, array in zip(buffers, expected, strict=True):
        assert np.array_equal(content(own, buffer, array.size), array)
    own.free(buffers)


def test_others_use_the_device_while_a_piece_is_made() -> None:
    own = device()
    buffer = own.buffer(1024, USAGE, "weights")

    def pieces() -> Iterator[Piece]:
        for number in range(2):
            thread = threading.Thread(target=lambda: content(own, buffer, 1024))
            thread.start()
            thread.join(60)
            assert not thread.is_alive()
            yield Piece(0, 512 * number, np.full(512, number + 1, np.uint8))

    own.upload([buffer], pieces())
    assert np.array_equal(content(own, buffer, 1024), np.repeat(np.array([1, 2], np.uint8), 512))
    own.free([buffer])


def test_an_upload_to_a_lost_device_is_its_loss() -> None:
    own = Device(device().adapter)
    buffer = own.buffer(1024, USAGE, "weights")
    own.lose("pulled out")
    with pytest.raises(DeviceLostError, match="the device is lost"):
        own.upload([buffer], [Piece(0, 0, np.zeros(16, np.uint8))])
