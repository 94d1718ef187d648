"""Any number of threads for the work that is done tile by tile, whatever this machine has."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from nss.arrays import tiles

CORES = (1, 2, 5)


def use(cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give ``nss.arrays.tiles.parallel`` a pool of so many threads for the length of a test."""
    pool = ThreadPoolExecutor(cores, initializer=tiles._mark)
    monkeypatch.setattr(tiles, "_pool", lambda _: pool)
