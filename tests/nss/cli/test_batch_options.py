"""What bounds a batch, and in which order it is told, by the options for that."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nss.pipeline import budget
from tests.nss.conftest import Outcome

Command = Callable[..., Outcome]


@pytest.fixture
def photos(folder: Path) -> list[str]:
    """A large photo, and small ones behind it."""
    rng = np.random.default_rng(0)
    for i, size in enumerate([(800, 1000), *[(30, 40)] * 4]):
        Image.fromarray(rng.integers(0, 255, (*size, 3), np.uint8)).save(folder / f"{i}.png", compress_level=1)
    return [f"{i}.png" for i in range(5)]


def told(outcome: Outcome) -> list[str]:
    assert outcome.status == 0
    return [json.loads(line)["input"] for line in outcome.out]


def test_order_is_kept_unless_it_is_not_wanted(command: Command, photos: list[str]) -> None:
    assert told(command("remove", *photos, "--json", "-j", "2")) == photos
    outcome = command("remove", *photos, "--json", "-j", "2", "--unordered", "--overwrite")
    assert sorted(told(outcome)) == photos
    assert told(outcome)[0] != photos[0], "the others are done before the large one"


class Leases:
    """How many bytes are given out at a time, at most, and to how many."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.most_bytes = self.most = self.given_out = 0
        lock = threading.Lock()
        begin, release = budget.Lease.__init__, budget.Lease.release

        def counted_begin(lease: budget.Lease, owner: budget.MemoryBudget, nbytes: int) -> None:
            begin(lease, owner, nbytes)
            with lock:
                self.given_out += 1
                self.most = max(self.most, self.given_out)
                self.most_bytes = max(self.most_bytes, owner.reserved)

        def counted_release(lease: budget.Lease) -> None:
            with lock:
                self.given_out -= not lease._released
            release(lease)

        monkeypatch.setattr(budget.Lease, "__init__", counted_begin)
        monkeypatch.setattr(budget.Lease, "release", counted_release)


@pytest.mark.parametrize("jobs", ["1", "3"])
def test_photos_wait_for_memory(
    command: Command, photos: list[str], monkeypatch: pytest.MonkeyPatch, jobs: str
) -> None:
    leases = Leases(monkeypatch)
    assert told(command("remove", *photos, "--json", "-j", jobs, "--memory", "1M")) == photos
    assert (leases.most, leases.given_out) == (1, 0), "each is larger than all, and waits until it is alone"


def test_photos_share_the_memory(command: Command, photos: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    leases = Leases(monkeypatch)
    assert told(command("remove", *photos, "--json", "-j", "4", "--memory", "80M")) == photos
    assert 1 < leases.most <= 3
    assert leases.most_bytes <= 80 << 20
    assert leases.given_out == 0


def test_a_batch_whose_photos_fail_gives_their_memory_back(
    command: Command, photos: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases = Leases(monkeypatch)
    for name in photos[::2]:
        (folder / name).write_bytes((folder / name).read_bytes()[:60])
    outcome = command("remove", *photos, "missing.png", "-j", "2", "--memory", "30M", "-q")
    assert outcome.status == 1
    assert len(outcome.err) == 4
    assert leases.given_out == 0


def test_what_is_no_size(command: Command, photos: list[str]) -> None:
    outcome = command("remove", *photos, "--memory", "lots")
    assert (outcome.status, outcome.err) == (2, ["nss-wgpu: --memory lots: is no size; 1G and 500M are possible"])
