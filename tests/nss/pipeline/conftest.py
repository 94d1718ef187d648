"""No thread of a pipeline outlives its test."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.nss.pipeline.pipeline_stages import pipeline_threads


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    yield
    deadline = time.monotonic() + 60  # which no machine needs, and only a thread that stays takes
    while pipeline_threads() and time.monotonic() < deadline:
        time.sleep(0.002)
    assert pipeline_threads() == []
