"""``nss-wgpu bench`` on a small model: what it prints, on the processor and on whatever adapter there is."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

import engine
from nss.cli.commands.bench import _kernel_table
from nss.cli.main import main
from tests.engine.gpu.gpu import device
from tests.project import ROOT

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], small: Path) -> Run:
    def bench(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(["bench", str(small), *arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return bench


def test_text_on_numpy(run: Run) -> None:
    status, out, err = run("--backend", "numpy", "--runs", "2", "--profile")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("small on numpy, ")
    assert [line.split("  ")[0] for line in lines[3:6]] == ["load", "first run", "run"]
    assert any(line.startswith("weights ") and "planned peak" in line for line in lines)
    kernels = [line.split() for line in lines[lines.index("", 8) :] if line]
    assert [row[:2] for row in kernels[:3]] == [["KERNEL", "CALLS"], ["FusedConv", "2"], ["all", "2"]]
    assert {row[1] for row in kernels[4:]} == {"first", "second"}


def test_json_on_numpy(run: Run) -> None:
    status, out, _ = run("--backend", "numpy", "--runs", "3", "--json")
    record = json.loads(out)
    assert status == 0
    assert (record["model"], record["backend"], record["reason"], record["runs"]) == ("small", "numpy", "asked for", 3)
    times = record["milliseconds"]
    assert times.keys() == {"load", "first_run", "run"}
    assert 0 < times["run"]["min"] <= times["run"]["median"]
    assert record["kernels"] is None
    assert record["weight_bytes"] > 0
    page = (ROOT / "docs" / "tuning.md").read_text("utf-8").split("\n## bench\n")[1].split("\n## ")[0]
    assert sorted(record.keys() - set(re.findall(r"`(\w+)`", page))) == []


def test_webgpu(run: Run, tmp_path: Path) -> None:
    adapter = device().adapter
    trace = tmp_path / "trace.json"
    arguments = ["--backend", "webgpu", "--device", str(adapter.index), "--runs", "2", "--json", "--profile"]
    status, out, err = run(*arguments, "--trace", str(trace))
    if not adapter.timestamps:
        assert "has no timestamp queries" in err
        return
    assert (status, err) == (0, "")
    record = json.loads(out)
    assert record["device"] == str(adapter)
    assert record["milliseconds"].keys() == {
        *("load", "first_run", "run", "upload", "encode", "wait", "gpu", "readback"),
    }
    assert record["milliseconds"]["gpu"]["min"] > 0
    assert 0 < record["peak_activation_bytes"] <= record["activation_buffer_bytes"]
    assert {kernel["node"] for kernel in record["kernels"]} >= {"first", "second"}
    assert sum(kernel["flops"] for kernel in record["kernels"]) >= 2 * 32 * 32 * (4 * 27 + 4)
    events = json.loads(trace.read_text())["traceEvents"]
    assert len(events) == len(record["kernels"])
    for event, following in pairwise(events):
        assert event["ph"] == "X"
        assert event["ts"] + event["dur"] == pytest.approx(following["ts"])


def test_a_trace_replaces_a_file_but_neither_a_device_nor_a_link(
    run: Run, tmp_path: Path, device_node: Callable[[str, int], Path]
) -> None:
    trace, link, device = tmp_path / "trace.json", tmp_path / "link.json", device_node("null", 3)
    trace.write_text("old")
    link.symlink_to(trace)
    for target in (link, device):
        assert run("--backend", "numpy", "--runs", "1", "--trace", str(target))[0] == 0
    assert json.loads(trace.read_text())["traceEvents"]
    assert link.is_symlink()
    assert stat.S_ISCHR(device.lstat().st_mode)
    full = device_node("full", 7)
    status, out, err = run("--backend", "numpy", "--runs", "1", "--trace", str(full))
    assert (status, out) == (1, "")
    assert err == f"nss-wgpu: {full}: cannot be written: {os.strerror(errno.ENOSPC)}\n"


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--backend", "numpy", "--precision", "f16"], 2, "precision 'f16' is not available"),
        (["--runs", "0"], 2, "--runs"),
        (["--device", "no such card"], 2, "no adapter is 'no such card'"),
    ],
)
def test_what_cannot_be_is_one_line(run: Run, arguments: list[str], status: int, message: str) -> None:
    exit_status, out, err = run(*arguments)
    assert (exit_status, out) == (status, "")
    (line,) = err.splitlines()
    assert message in line


def test_rates_of_a_kernel() -> None:
    call = engine.KernelTime("Conv", "a", "conv", seconds=0.5, flops=2_000_000_000, nbytes=1_000_000_000)
    other = engine.KernelTime("Add", "b", "elementwise", 0.25)
    rows = [line.split() for line in _kernel_table([call, other, call])]
    assert rows[1] == ["conv", "2", "1000.000", "80.0", "4.000", "2000.00", "4.0", "2.0"]
    assert rows[2] == ["elementwise", "1", "250.000", "20.0", "-", "-", "-", "-"]
    assert rows[3][:4] == ["all", "3", "1250.000", "100.0"]
