"""The table of the first result: what it measures, on small models, and that a row that cannot be measured is said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.engine.models import model, node
from tools import start


@pytest.fixture(name="small")
def _small(tmp_path: Path) -> Path:
    weights = np.ones((1, 3, 1, 1), np.float32)
    onnx.save(model([node("Conv", "x w", "y")], {"x": [1, 3, "h", "w"]}, "y", {"w": weights}), tmp_path / "small.onnx")
    return tmp_path / "small.onnx"


def run(small: Path, *options: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, list[dict[str, object]]]:
    records = small.with_name("records.json")
    status = start.main(
        [
            str(small),
            "--runs",
            "1",
            "--implementation",
            "numpy",
            "--shape",
            "x=1,3,8,8",
            "--json",
            str(records),
            *options,
        ]
    )
    return status, capsys.readouterr().out, [json.loads(line) for line in records.read_text("utf-8").splitlines()]


def test_rows_are_printed_and_recorded(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, table, (first, cached) = run(small, "--rows", "first,cached", capsys=capsys)
    assert status == 0
    assert [line.split("|")[1].strip() for line in table.splitlines()[4:]] == [first["what"], cached["what"]]
    for record in (first, cached):
        assert record["unit"] == "s"
        assert record["values"][0] > record["details"]["open"][0] > 0  # type: ignore[index]
        assert {"model", "tree", "device", "cores", "numpy", "wgpu"} <= record.keys()
    assert "onnx" in table.splitlines()[0]


def test_memory_is_what_no_file_backs(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rollup = "00-ff ---p [rollup]\nRss: 9000 kB\nPss: 5000 kB\nPss_Anon: 900 kB\nPss_File: 4000 kB\n"
    assert start.private_bytes(rollup) == 1000 * 1024
    assert start.private_bytes("") is None
    status, _, rows = run(small, "--rows", "memory", capsys=capsys)
    assert status == 0
    assert all(row["details"]["peak"] >= row["details"]["before"] > 1e6 for row in rows)  # type: ignore[index]


def test_a_tree_that_has_no_cache_says_so(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = tmp_path / "older"
    tree.mkdir()
    (tree / "engine.py").write_text(
        "class Session:\n"
        "    inputs = ()\n"
        "    class info: backend, device, weight_bytes = 'numpy', 'an older one', 1\n"
        "    def __init__(self, model, precision, backend, input_shapes): pass\n"
        "    def __enter__(self): return self\n"
        "    def __exit__(self, *_): pass\n"
        "    def run(self, inputs): pass\n"
        "def environment(*_): return {}\n",
        encoding="utf-8",
    )
    status, table, (row,) = run(small, "--rows", "cached", "--tree", str(tree), capsys=capsys)
    assert (status, row["tree"], row["device"]) == (0, "older", "an older one")
    assert "this tree has no cache of models" in table


def test_a_row_that_fails_is_said(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small.write_bytes(b"no model")
    status, table, (row,) = run(small, "--rows", "first", capsys=capsys)
    assert (status, row["values"]) == (1, [])
    assert "ModelError" in table
    assert run(small, "--rows", "pipelines", capsys=capsys)[0] == 1  # NumPy has none
    with pytest.raises(SystemExit):
        start.main([str(small), "--rows", "fastest"])
