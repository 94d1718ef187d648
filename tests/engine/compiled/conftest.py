"""The cache that tests write to."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.compiled.cache import ModelCache
from tests.engine.compiled.caches import LARGE


@pytest.fixture
def cache(tmp_path: Path) -> ModelCache:
    """Of a user who has none yet, with room for everything."""
    return ModelCache(tmp_path / "user" / "compiled", LARGE)
