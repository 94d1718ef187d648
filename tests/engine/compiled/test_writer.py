"""A folder appears whole or not at all, whatever happens while it is written, and weights go through in pieces."""

from __future__ import annotations

import dataclasses
import errno
import gc
import resource
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import engine
from engine.compiled import folders, shards
from engine.compiled.model import Command, CompiledModel, GpuPlan, Piece, Weights
from engine.compiled.writer import save_compiled
from tests.engine.compiled.models import SHARD, ListWeights, files, gpu_model, numpy_model


def test_a_name_that_is_taken_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    save_compiled(gpu_model(), tmp_path / "saved")
    before = files(tmp_path / "saved")
    for name in ("file", "folder", "link", "saved"):
        with pytest.raises(engine.ModelError, match=rf"{name}: exists already; give .* another name"):
            save_compiled(numpy_model(), tmp_path / name)
    assert files(tmp_path / "saved") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder", "link", "saved"]


@pytest.mark.parametrize("limit", range(0, 2100, 300))
def test_a_full_disk_leaves_nothing(limit: int, tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
    try:
        with pytest.raises(engine.ModelError, match=r"a: cannot be written \(.*\); make room there, or choose"):
            save_compiled(gpu_model(), tmp_path / "a", shard=2048)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_at_the_end_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for place, name in ((Path, "write_bytes"), (Path, "rename"), (shards.ShardWriter, "finish"), (Path, "mkdir")):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, full)
            with pytest.raises(engine.ModelError, match=r"a: cannot be written \(No space left on device\)"):
                save_compiled(gpu_model(), tmp_path / "a", shard=SHARD)
        assert list(tmp_path.iterdir()) == []


def test_a_place_that_does_not_exist_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(engine.ModelError, match=r"b: there is no folder .*a; make it first$"):
        save_compiled(gpu_model(), tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


@dataclasses.dataclass
class Interrupted(Weights):
    """Weights that end with an error behind the first pieces."""

    error: BaseException

    def pieces(self) -> Iterator[Piece]:
        yield Piece(0, 0, np.ones(1000, np.uint8))
        raise self.error

    def verify(self) -> None:
        """Nothing was read from a file."""


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError(), engine.ModelError("the weights are gone")])
def test_an_interruption_leaves_nothing(error: BaseException, tmp_path: Path) -> None:
    model = dataclasses.replace(gpu_model(), weights=Interrupted(error))
    with pytest.raises(type(error)):
        save_compiled(model, tmp_path / "a", shard=256)
    assert list(tmp_path.iterdir()) == []


class OneAtATime(Weights):
    """Makes each piece when it is asked for, and counts how many are held."""

    def __init__(self) -> None:
        self.most = 0

    def pieces(self) -> Iterator[Piece]:
        held: list[weakref.ref[Any]] = []
        for offset in range(0, 1024, 128):
            gc.collect()
            data = np.full(128, offset // 128, np.uint8)
            held.append(weakref.ref(data))
            self.most = max(self.most, sum(reference() is not None for reference in held))
            yield Piece(0, offset, data)
            del data

    def verify(self) -> None:
        """Nothing was read from a file."""


def test_no_more_than_one_piece_is_held_beside_the_next(tmp_path: Path) -> None:
    weights = OneAtATime()
    save_compiled(dataclasses.replace(gpu_model(), weights=weights), tmp_path / "a")
    assert weights.most <= 2


def piece(buffer: int, offset: int, nbytes: int) -> Piece:
    return Piece(buffer, offset, np.ones(nbytes, np.uint8))


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        ([piece(0, 1000, 25)], "buffer 0 at 1000, goes beyond its buffer"),
        ([piece(2, 0, 1)], "buffer 2 at 0, goes beyond its buffer"),
        ([piece(0, 0, 10), piece(0, 9, 10)], "buffer 0 at 9, is not behind the one before"),
        ([piece(1, 0, 10), piece(0, 0, 10)], "buffer 0 at 0, is not behind the one before"),
    ],
)
def test_pieces_that_do_not_fit_are_refused(pieces: list[Piece], message: str, tmp_path: Path) -> None:
    model = dataclasses.replace(gpu_model(), weights=ListWeights(pieces))
    with pytest.raises(engine.ModelError, match=message):
        save_compiled(model, tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def changed_command(**changes: object) -> CompiledModel:
    model = gpu_model()
    assert isinstance(model.plan, GpuPlan)
    commands: tuple[Command, ...] = (dataclasses.replace(model.plan.commands[0], **changes),)  # type: ignore[arg-type]
    return dataclasses.replace(model, plan=dataclasses.replace(model.plan, commands=commands))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (changed_command(grid=(65536, 1, 1)), r"command 0 \('Mul 'product''\): its grid"),
        (changed_command(flops=np.int64(3)), "holds what is no JSON: .*int64"),
        (changed_command(flops=1.5), "flops is no integer"),
        (dataclasses.replace(gpu_model(), metadata={"a": float("nan")}), "holds what is no JSON"),
        (dataclasses.replace(gpu_model(), metadata={"a": {1, 2}}), "holds what is no JSON: .*set"),
    ],
)
def test_what_no_reader_would_take_is_not_written(model: CompiledModel, message: str, tmp_path: Path) -> None:
    with pytest.raises(engine.ModelError, match=f"a: the model cannot be saved: .*{message}"):
        save_compiled(model, tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shard", [0, -256, 100, 257])
def test_shards_are_of_whole_lines(shard: int, tmp_path: Path) -> None:
    with pytest.raises(engine.EngineError, match=f"shards of {shard} bytes: not a positive multiple of 256"):
        save_compiled(gpu_model(), tmp_path / "a", shard=shard)


def test_a_system_without_locks_writes_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "fcntl", None)
    save_compiled(gpu_model(), tmp_path / "a")
    assert (tmp_path / "a" / "model.json").is_file()
