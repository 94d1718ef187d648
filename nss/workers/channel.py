"""Messages between a process and its worker: pickled objects over pipes.

Both ends are this program, of one version, and a pipe has no name: nobody else can write to it.
"""

from __future__ import annotations

import os
import pickle
import struct
from typing import Any

_LENGTH = struct.Struct("<Q")
_PART = 1 << 20


def send(descriptor: int, message: object) -> None:
    """Write one message. Raises OSError (BrokenPipeError where the reader has gone), or what pickling raises."""
    send_packed(descriptor, pack(message))


def pack(message: object) -> bytes:
    """A message as `receive_packed` gives it: what goes to several workers is pickled once."""
    return pickle.dumps(message, pickle.HIGHEST_PROTOCOL)


def send_packed(descriptor: int, message: bytes) -> None:
    """Write a message that `pack` has made. Raises OSError."""
    for part in (_LENGTH.pack(len(message)), message):
        rest = memoryview(part)
        while rest:
            rest = rest[os.write(descriptor, rest) :]


def receive(descriptor: int) -> Any:
    """The next message. Raises EOFError where the writer has gone, or OSError."""
    return unpack(receive_packed(descriptor))


def receive_packed(descriptor: int) -> bytes:
    """The next message, still pickled: reading takes one thread, and unpickling may import."""
    (length,) = _LENGTH.unpack(_read(descriptor, _LENGTH.size))
    return _read(descriptor, length)


def unpack(message: bytes) -> Any:
    """What `pack` was given."""
    return pickle.loads(message)


def _read(descriptor: int, count: int) -> bytes:
    parts = []
    while count:
        part = os.read(descriptor, min(count, _PART))
        if not part:
            raise EOFError("the other process has gone")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
