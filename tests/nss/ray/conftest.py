"""Ray puts a handler of its own for SIGTERM into the process; after each test the one from before is back."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

TERMINATED = signal.getsignal(signal.SIGTERM)


@pytest.fixture(autouse=True)
def _own_sigterm() -> Iterator[None]:
    yield
    signal.signal(signal.SIGTERM, TERMINATED)
