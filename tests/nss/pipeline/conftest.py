"""No thread of a pipeline outlives its test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.nss.pipeline.pipeline_stages import pipeline_threads
from tests.wall_clock import wait_until


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    yield
    wait_until(lambda: pipeline_threads() == [])
