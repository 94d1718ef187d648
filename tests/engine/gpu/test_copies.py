"""Copies by several threads: every byte, and every NaN, wherever the parts and pieces end."""

from __future__ import annotations

import numpy as np
import pytest

from engine.gpu.run import copies
from engine.gpu.run.copies import PIECE_BYTES, copy, copy_looking_for_infinities, copy_looking_for_nan


@pytest.fixture(params=[1, 4])
def cores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(copies, "available_cores", lambda: 2 * request.param)
    monkeypatch.setattr(copies, "ALONE_BYTES", 64)
    monkeypatch.setattr(copies, "_pool", None)
    return int(request.param)


@pytest.mark.parametrize("size", [0, 1, 17, 101, PIECE_BYTES + 3])
def test_every_number_is_copied(cores: int, size: int) -> None:  # noqa: ARG001
    for dtype in (np.uint8, np.float32, np.int32):
        source = np.random.default_rng(size).integers(0, 200, size).astype(dtype)
        target = np.full(size + 2, 255, dtype)
        copy(target[1:-1], source)
        assert np.array_equal(target[1:-1], source)
        assert target[0] == target[-1] == 255


def test_a_nan_is_seen_wherever_it_is(cores: int) -> None:  # noqa: ARG001
    size = PIECE_BYTES // 4 * 5 + 7
    source = np.random.default_rng(0).standard_normal(size).astype(np.float32)
    target = np.empty_like(source)
    for look in (copy_looking_for_nan, copy_looking_for_infinities):
        target[:] = 0
        assert not look(target, source)
        assert np.array_equal(target, source)
    for place in (0, 1, PIECE_BYTES // 4 - 1, PIECE_BYTES // 4, size // 4, size // 2, size - 1):
        for value in (np.nan, np.inf, -np.inf):
            damaged = source.copy()
            damaged[place] = value
            for destination in (target, None):
                assert copy_looking_for_nan(destination, damaged) is bool(np.isnan(value))
                assert copy_looking_for_infinities(destination, damaged)
            assert target.tobytes() == damaged.tobytes()
