"""Hostile requests against the real server: each is answered or closed, and the server is well behind them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

pytest.importorskip("uvicorn", reason="the extra 'serve' is not installed")

from tools import serve_fuzz
from tools.serving.siege import Siege

HEALTHY_S = 10.0
"""`/healthz` answers in a hundredth of this on an idle machine."""


def besieged(folder: Path, *, seed: int, cases: int) -> list[str]:
    """The faults of so many cases."""
    with serve_fuzz.started(folder, stall=0.5) as server:
        siege = Siege(server, seed=seed, bound=30, healthy=HEALTHY_S)
        faults = asyncio.run(serve_fuzz.besiege(siege, range(cases), connections=24, seconds=None))
        faults += serve_fuzz.ending_faults(server)
    assert sum(siege.outcome.counts.values()) == cases
    statuses = set(siege.outcome.counts)
    assert {"200", "202", "400", "401", "403", "404", "405", "408", "421", "422"} <= statuses, "the cases reach nothing"
    return faults


def test_hostile_requests_are_answered_or_closed(tmp_path: Path) -> None:
    assert not besieged(tmp_path, seed=0, cases=400)


@pytest.mark.long(reason="10,000 requests take a minute")
def test_ten_thousand_hostile_requests_are_answered_or_closed(tmp_path: Path) -> None:
    assert not besieged(tmp_path, seed=1, cases=10_000)
