"""Any number of threads for the work that is done tile by tile, whatever this machine has."""

from __future__ import annotations

import pytest

from nss.arrays import tiles

CORES = (1, 2, 5)


def use(cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have ``nss.arrays.tiles.parallel`` work as on so many cores for the length of a test."""
    others = tiles.Others(cores - 1) if cores > 1 else None
    monkeypatch.setattr(tiles, "_pool", lambda _: others)
