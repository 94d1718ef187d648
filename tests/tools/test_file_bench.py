"""The table from file to file: what it measures, on a small model and few photos, and that a failed row is said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.nss.tiny_models import probability, save_model
from tests.wall_clock import wait_until
from tools import drawn_photos, file_bench
from tools.processes import TreeMemory


@pytest.fixture(name="small")
def _small(tmp_path: Path) -> Path:
    return save_model(tmp_path / "small.onnx", probability())


def run(small: Path, *options: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, list[dict[str, object]]]:
    records = small.with_name("records.json")
    words = [str(small), "--backend", "numpy", "--runs", "1", "--json", str(records), *options]
    status = file_bench.main(words)
    return status, capsys.readouterr().out, [json.loads(line) for line in records.read_text("utf-8").splitlines()]


def test_photos_are_different_have_grain_and_come_from_the_seed(tmp_path: Path) -> None:
    first, second = (np.asarray(drawn_photos.draw(seed, (64, 48)), np.int16) for seed in (1, 2))
    assert (first == np.asarray(drawn_photos.draw(1, (64, 48)))).all()
    assert (first != second).mean() > 0.9
    assert np.abs(np.diff(first[..., 0], axis=1)).mean() > 2
    files = drawn_photos.photos(tmp_path, 4, (64, 48))
    assert [Image.open(file).size for file in files] == [(64, 48)] * 4


def test_many_photos_none_lost_and_the_damaged_ones_told(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawing = tmp_path / "memory.svg"
    status, table, (row, memory) = run(small, "--rows", "many", "--count", "60", "--plot", str(drawing), capsys=capsys)
    assert status == 0
    assert "59 written, 59 files, 1 told; nothing lost" in str(row["remark"])
    assert memory["what"] in table
    assert drawing.read_text(encoding="utf-8").startswith("<svg")


def test_a_row_that_fails_is_said(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small.write_bytes(b"no model")
    status, table, (row,) = run(small, "--rows", "decoded", capsys=capsys)
    assert (status, row["values"]) == (1, [])
    assert "small.onnx" in table
    with pytest.raises(SystemExit):
        file_bench.main([str(small), "--rows", "fastest"])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not show what processes share")
def test_memory_counts_the_children() -> None:
    child = "import sys; block = bytearray(64 << 20); block[::4096] = b'x' * len(block[::4096]); sys.stdin.read()"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    sampler = TreeMemory()
    with subprocess.Popen([sys.executable, "-c", parent], env=dict(os.environ), stdin=subprocess.PIPE) as process:
        sampler.watch(process.pid)
        wait_until(lambda: max((held for _, held in sampler.samples), default=0) > 64 << 20)
        assert process.stdin is not None
        process.stdin.close()
    assert (sampler.peak() or 0) > 64 << 20
