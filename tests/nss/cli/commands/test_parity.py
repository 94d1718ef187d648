"""``nss-wgpu parity``: the table, the JSON and the exit status; ``engine.compare`` itself is tested with the engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import engine
from nss.cli.main import main
from tests.engine.models import U2NETP


def run_parity(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, list[str]]:
    capsys.readouterr()
    status = main(["parity", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err.splitlines()


def test_a_backend_that_agrees(capsys: pytest.CaptureFixture[str], small: Path) -> None:
    status, out, err = run_parity(capsys, small, "--backend", "numpy", "--per-node")
    assert (status, err) == (0, [])
    lines = out.splitlines()
    assert lines[0].startswith("numpy (")
    assert lines[0].endswith("against reference, tolerance 0.001 of the largest magnitude")
    assert [line.split()[:3] for line in lines[3:5]] == [
        ["FusedConv", "first", "1x4x32x32"],
        ["FusedConv", "second", "1x1x32x32"],
    ]
    assert lines[-2].startswith("2 nodes; the worst is FusedConv")
    assert lines[-1].startswith("end to end: y is off by ")


def test_over_tolerance_is_status_1_and_names_the_node(
    capsys: pytest.CaptureFixture[str],
    small: Path,
) -> None:
    status, out, err = run_parity(capsys, small, "--backend", "numpy", "--per-node", "--rtol", "0")
    assert status == 1
    assert any(line.startswith("!  FusedConv  first") for line in out.splitlines())
    (line,) = err
    assert line.startswith("nss-wgpu: over tolerance: FusedConv 'first' is off by ")
    assert line.endswith(", 0 is allowed")


def test_json(capsys: pytest.CaptureFixture[str], small: Path) -> None:
    status, out, _ = run_parity(capsys, small, "--backend", "numpy", "--per-node", "--json")
    record = json.loads(out)
    assert status == 0
    assert (record["backend"], record["against"], record["rtol"]) == ("numpy", "reference", 1e-3)
    assert record["first_over"] is None
    assert [item["name"] for item in record["nodes"]] == ["first", "second"]
    assert record["nodes"][0]["error"]["relative"] < 1e-5
    assert record["outputs"][0]["drift"] is None


def test_infinite_errors_are_json_too(
    capsys: pytest.CaptureFixture[str],
    small: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from engine.parity import Difference

    error = engine.NodeError("Conv", "c", (1,), Difference(float("inf"), float("inf")))
    report = engine.ParityReport(
        backend="numpy", device="cpu", against="reference", precision="f32", rtol=1e-3, outputs=(error,)
    )
    monkeypatch.setitem(vars(engine), "compare", lambda *_, **__: report)
    status, out, _ = run_parity(capsys, small, "--json")
    assert status == 1
    assert json.loads(out, parse_constant=lambda _: pytest.fail("no JSON"))["first_over"]["error"]["relative"] == "inf"


def test_a_photo_goes_in_as_the_network_takes_it(
    capsys: pytest.CaptureFixture[str], photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments_of_compare: dict[str, Any] = {}

    def compare(_: engine.ModelFile, inputs: dict[str, np.ndarray], **options: Any) -> engine.ParityReport:
        arguments_of_compare.update(options, inputs=inputs)
        return engine.ParityReport(
            backend="webgpu", device="card", against="numpy", precision="f16", rtol=1e-2, outputs=()
        )

    monkeypatch.setitem(vars(engine), "compare", compare)
    arguments = [U2NETP, "--image", photo, "--against", "numpy", "--precision", "f16", "--device", "1"]
    status, _, err = run_parity(capsys, *arguments)
    assert (status, err) == (0, [])
    ((_, array),) = arguments_of_compare["inputs"].items()
    assert array.shape == (1, 3, 320, 320)
    assert array.dtype == np.float32
    expected = {"backend": "webgpu", "against": "numpy", "precision": "f16", "adapter": "1", "rtol": None}
    assert {name: arguments_of_compare[name] for name in expected} == expected


def test_what_cannot_be_is_one_line(capsys: pytest.CaptureFixture[str], small: Path, tmp_path: Path) -> None:
    for arguments, expected in (
        (["--backend", "numpy", "--device", "0"], "an adapter is for backend 'webgpu'"),
        (["--backend", "numpy", "--precision", "f16"], "precision 'f16' is not available"),
        (["--against", "webgpu"], "webgpu"),
    ):
        status, out, (line,) = run_parity(capsys, small, *arguments)
        assert (status, out) == (2, "")
        assert expected in line
    status, _, (line,) = run_parity(capsys, tmp_path / "missing.onnx")
    assert status == 3
