"""The server under load: every answer is what the library gives, or what a bad photo deserves."""

from __future__ import annotations

import asyncio
from pathlib import Path

import onnx
import pytest

pytest.importorskip("uvicorn", reason="the extra 'serve' is not installed")

from nss.removal.remover import Remover
from tools import serve_load
from tools.fuzzing import onnx_seeds
from tools.serving.load import Load, Outcome
from tools.serving.photos import Library, photos
from tools.serving.plan import plan
from tools.serving.server import Server

KINDS = {"remove", "job", "damaged", "bytes", "pixels"}


def loaded(folder: Path, *, steps: int, clients: int, every: int, queue: int) -> tuple[Outcome, list[str]]:
    """What a load comes to, with its faults, on a small network."""
    model = folder / "small.onnx"
    onnx.save(onnx_seeds.mask_network(), model)
    with Remover(model, backend="numpy", quiet=True) as remover:
        sound = photos(0, 6, (40, 120))
        library = Library(remover, sound)
        todo = plan(sound, library, steps, 0, every=every)
        library.compute(todo.pairs())
    options = ["--model", model, "--backend", "numpy", "--max-bytes", "1M", "--queue", queue]
    with Server(serve_load.command(*options), folder, serve_load.variables(folder)) as server:
        outcome = asyncio.run(Load(server, todo, library).run(clients))
        return outcome, [*outcome.faults, *serve_load.ending_faults(server)]


def test_no_photo_is_lost_and_none_is_wrong(tmp_path: Path) -> None:
    outcome, faults = loaded(tmp_path, steps=60, clients=8, every=12, queue=6)
    assert not faults
    assert sum(outcome.counts.values()) == 60
    assert set(outcome.counts) == {"right", "refused", "left"}
    assert outcome.latencies.keys() == KINDS


@pytest.mark.long(reason="2,000 photos take a minute")
def test_no_photo_of_two_thousand_is_lost(tmp_path: Path) -> None:
    outcome, faults = loaded(tmp_path, steps=2000, clients=16, every=50, queue=12)
    assert not [*faults, *serve_load.memory_faults(outcome)]
    assert outcome.retries
