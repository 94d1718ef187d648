"""Wall time of the stages that an image goes through."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stage(milliseconds: dict[str, float], name: str) -> Iterator[None]:
    """Store the wall time of the block, in milliseconds to the microsecond, as ``milliseconds[name]``."""
    start = time.perf_counter()
    yield
    milliseconds[name] = round((time.perf_counter() - start) * 1000, 3)
