"""``nss-wgpu tune`` on a small model: what it prints, writes, keeps and forgets, and what the others say of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import engine
from engine.gpu.device import memory
from engine.tuning import store, tuner
from engine.tuning.record import read_record
from engine.tuning.timing import Trial
from nss.cli.main import main
from tests.engine.gpu.gpu import device
from tests.engine.tuning.networks import skip_where_nothing_can_be_tuned

Run = Callable[..., tuple[int, str, list[str]]]


@pytest.fixture(name="run")
def _run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """The command on the tests' adapter, where ``direct`` is the fastest row, and the whole the faster for it."""
    skip_where_nothing_can_be_tuned()
    monkeypatch.setattr(Trial, "sample", lambda trial: 1e-3 if trial.row == "direct" else 2e-3)
    monkeypatch.setattr(tuner.ModelTuner, "seconds", lambda self, whole: 3e-3 if whole is self.whole else 2e-3)

    def run(command: str, *arguments: object) -> tuple[int, str, list[str]]:
        capsys.readouterr()
        status = main([command, *map(str, arguments), "--device", str(device().adapter.index)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err.splitlines()

    yield run
    memory.remember_adapters(None)


def test_a_model_is_tuned_and_forgotten(run: Run, small: Path, tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    status, out, err = run("tune", small, "--record", record)
    assert (status, err) == (0, [])
    lines = out.splitlines()
    assert lines[0].startswith(f"small on {device().adapter}, f32, tuned in ")
    assert lines[2].split() == ["LAYER", "COUNT", "BEFORE", "µs", "AFTER", "µs", "TIMES"]
    assert lines[3].split()[-6:] == ["1", "tiled-scalar", "2000.0", "direct", "1000.0", "2.00"]
    assert lines[-2].startswith("the whole model: 3.00 ms before, 2.00 ms after, outputs apart by ")
    assert lines[-1] == "kept: 2 of 2 kinds of layers have another implementation"
    text = record.read_text("utf-8")
    assert len(read_record(text).layers) == 2
    assert not [word for word in (str(tmp_path), "small", '"first"', '"second"') if word in text]  # the user's own
    status, out, _ = run("kernels", small, "--json")
    kernels = json.loads(out)
    assert kernels["tuning"] == "tuned on this adapter"
    assert [node["rows"][0]["row"] for node in kernels["nodes"]] == ["direct", "direct"]
    assert kernels["nodes"][0]["rows"][0]["passed_over"]["tiled-scalar"] == "another was measured to be faster"
    status, out, err = run("tune", "--forget")
    assert (status, out) == (0, "")
    assert err == [f"nss-wgpu: {device().adapter}: the choices for 2 kinds of layers are forgotten"]
    assert run("tune", "--forget")[2] == [f"nss-wgpu: {device().adapter}: nothing was kept"]
    assert json.loads(run("kernels", small, "--json")[1])["tuning"].startswith("not tuned; ")


def test_json(run: Run, small: Path) -> None:
    status, out, _ = run("tune", small, "--json")
    document = json.loads(out)
    assert (status, document["model"], document["device"]) == (0, "small", str(device().adapter))
    assert [layer["after"] for layer in document["layers"]] == ["direct", "direct"]
    assert (document["kept"], document["left"]) == (True, [])


@pytest.mark.usefixtures("kept")
def test_a_tuned_model_is_compiled_anew(run: Run, small: Path) -> None:
    from nss.models import compiled

    run("bench", small, "--runs", 1)
    run("bench", small, "--runs", 1)
    assert len(compiled.entries()) == 1
    run("tune", small)
    assert "kernels: tuned on this adapter" in run("bench", small, "--runs", 1)[1]
    assert len(compiled.entries()) == 2
    assert "kernels: tuned on this adapter" in run("bench", small, "--runs", 1)[1]  # out of the cache
    assert len(compiled.entries()) == 2


def test_a_damaged_file_is_said_and_replaced(run: Run, small: Path) -> None:
    assert run("tune", small)[0] == 0
    folder = memory.folder()
    assert folder is not None
    (folder / store.FILE).write_text("{")
    said = json.loads(run("kernels", small, "--json")[1])["tuning"]
    assert said.endswith(f"({folder / store.FILE} is passed over: it is no JSON)")
    assert run("tune", small)[0] == 0
    assert json.loads(run("kernels", small, "--json")[1])["tuning"] == "tuned on this adapter"


def test_what_cannot_be_done_is_one_line(
    run: Run, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, _, err = run("tune")
    assert (status, len(err)) == (2, 1)
    assert "a MODEL is missing" in err[0]
    for option in (["--json"], ["--record", tmp_path / "record.json"]):
        status, _, err = run("tune", "--forget", *option)
        assert (status, len(err)) == (2, 1)
        assert f"{option[0]} is of a tuning: name the MODEL to tune" in err[0]
    status, _, err = run("tune", small, "--record", small)
    assert (status, len(err)) == (2, 1)
    (tmp_path / "file").touch()
    monkeypatch.setenv("NSS_CACHE_DIR", str(tmp_path / "file"))
    status, out, err = run("tune", small)
    assert (status, err) == (1, [f"nss-wgpu: not kept: {tmp_path / 'file'} cannot be written to"])
    assert "not kept" not in out
    monkeypatch.setattr(type(device().adapter), "timestamps", False)
    status, out, err = run("tune", small)
    assert (status, out, len(err)) == (2, "", 1)
    assert "has no timestamp queries" in err[0]


def test_time_that_does_not_suffice_is_said(run: Run, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tune = engine.tune
    monkeypatch.setitem(vars(engine), "tune", lambda file, **options: tune(file, **{**options, "seconds": 0}))
    status, out, err = run("tune", small, "--seconds", 2)
    assert (status, out.splitlines()[-1]) == (0, "not kept: no kind of layer was measured")
    assert err == ["nss-wgpu: the time was up before 2 of 2 kinds of layers; --seconds 4 gives it more"]
