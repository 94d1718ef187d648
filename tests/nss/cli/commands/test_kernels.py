"""``nss-wgpu kernels`` on a small model: without an adapter, and timed on whatever adapter there is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from nss.cli.main import main
from tests.engine.gpu.gpu import device

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], small: Path) -> Run:
    def kernels(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(["kernels", str(small), *arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return kernels


def test_what_a_browser_would_get(run: Run) -> None:
    status, out, err = run("--portable")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "small on every browser (the guaranteed limits), f32: 2 dispatches of 2 programs"
    assert lines[2].split() == ["OP", "NODE", "SHAPE", "ROW", "KERNELS", "GFLOP", "MB"]
    assert [line.split()[:2] for line in lines[3:5]] == [["FusedConv", "first"], ["FusedConv", "second"]]
    assert "convolution tiled-scalar, 1 layer: Channels that are no multiple of four" in out
    (unsupported,) = re.findall(
        "^  not (.+): does not support the layer$", out.split("convolution tiled-scalar, 1")[1].split("\nconv")[0], re.M
    )
    row = json.loads(run("--portable", "--json")[1])["nodes"][0]["rows"][0]
    names = [name for name, why in row["passed_over"].items() if why == "does not support the layer"]
    matrix = [name for name in names if name.startswith("matrix-")]
    assert len(matrix) > 1
    assert f"matrix ({len(matrix)} rows)" in unsupported
    assert "few-outputs" in unsupported
    counts = [int(count) for count in re.findall(r"\((\d+) rows\)", unsupported)]
    assert sum(counts) + len(unsupported.split(", ")) - len(counts) == len(names)  # each is told of, once
    assert lines[-1] == "not measured"


def test_json(run: Run) -> None:
    status, out, _ = run("--portable", "--json", "--precision", "f16")
    record = json.loads(out)
    assert (status, record["model"], record["precision"]) == (0, "small", "f16")
    assert record["unmeasured"] == "not measured"
    first = record["nodes"][0]
    assert (first["op"], first["name"], first["seconds"]) == ("FusedConv", "first", None)
    (row,) = first["rows"]
    assert (row["family"], row["forced"]) == ("convolution", False)
    assert row["key"].startswith("convolution f32 f16 n1 c3 ")
    assert "direct" in row["alternatives"]


def test_times(run: Run) -> None:
    adapter = device().adapter
    if not adapter.timestamps:
        pytest.skip("the adapter has no timestamps")
    status, out, err = run("--time", "--json", "--device", str(adapter.index))
    assert (status, err) == (0, "")
    record = json.loads(out)
    assert (record["device"], record["unmeasured"]) == (str(adapter), "")
    assert all(entry["seconds"] > 0 for entry in record["nodes"])
    status, out, _ = run("--time", "--device", str(adapter.index))
    lines = out.splitlines()
    assert lines[2].split()[-4:] == ["US", "%", "GFLOP/S", "GB/S"]
    (whole,) = [line.split() for line in lines if line.startswith("all ")]
    assert whole[6] == "100.0"


def test_what_contradicts_itself(run: Run) -> None:
    assert run("--portable", "--time") == (2, "", "nss-wgpu: --portable and --time contradict each other\n")
    assert run("--portable", "--device", "0") == (2, "", "nss-wgpu: --portable and --device contradict each other\n")
    status, out, err = run("--device", "no such card")
    assert (status, out, err.count("\n")) == (2, "", 1)
