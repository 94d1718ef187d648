"""Staging memory follows what runs need: it grows at once, and shrinks when nothing has needed it for a while."""

from __future__ import annotations

import numpy as np
import pytest

from engine.gpu.run import slots
from engine.gpu.run.slots import LOOKED_BACK, Slots
from tests.engine.gpu.gpu import device


def use(pool: Slots, upload: int, results: int) -> int:
    """Have a run of that size use a slot; the bytes that the slot has then."""
    slot = pool.acquire()
    memory = slot.reserve(upload, results)
    assert memory.size >= upload
    memory[:] = 7
    assert np.all(memory == 7)
    pool.give_back(None, slot)
    return slot.nbytes


def test_what_one_large_run_needed_goes_after_many_small_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "SPARE_BYTES", 1000)
    pool = Slots(device(), 1)
    assert use(pool, 40000, 8000) == 48000
    kept = [use(pool, 400, 80) for _ in range(LOOKED_BACK + 2)]
    assert kept[: LOOKED_BACK - 1] == [48000] * (LOOKED_BACK - 1)
    assert kept[-1] == 480
    assert use(pool, 40000, 8000) == 48000
    pool.close(RuntimeError("closed"))


def test_sizes_that_take_turns_keep_their_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "SPARE_BYTES", 1000)
    pool = Slots(device(), 1)
    sizes = [use(pool, *each) for _ in range(2 * LOOKED_BACK) for each in ((40000, 8000), (400, 80))]
    assert set(sizes) == {48000}
    pool.close(RuntimeError("closed"))


def test_less_than_what_is_spared_stays() -> None:
    pool = Slots(device(), 1)
    assert use(pool, 1 << 20, 8000) == (1 << 20) + 8000
    assert {use(pool, 400, 80) for _ in range(2 * LOOKED_BACK)} == {(1 << 20) + 8000}
    pool.close(RuntimeError("closed"))
