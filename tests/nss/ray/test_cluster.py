"""A run on a cluster of two nodes: the batch's outputs, failures and exit status, and a manifest that is true."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nss.cli.main import main
from nss.interfaces import model_metadata
from nss.interfaces.interface import USUAL, as_json
from nss.ray import manifest
from tests.nss.ray.clusters import local_cluster, write_photos
from tests.nss.ray.deadly import DeadlyNetwork
from tests.nss.tiny_models import probability, save_model

pytestmark = [pytest.mark.usefixtures("_cluster"), pytest.mark.timeout(900)]  # half a minute, most of it Ray's
pytest.importorskip("ray", reason="a cluster is Ray's: pip install 'nss-wgpu[ray]'")


@pytest.fixture(scope="module")
def _cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    import ray

    with local_cluster(tmp_path_factory.mktemp("cluster"), nodes=2) as running:
        ray.init(address=running.address, log_to_driver=False, logging_level="ERROR")
        yield
        ray.shutdown()


@pytest.mark.parametrize(
    "deadly",
    [
        pytest.param((), id="no deadly photo"),
        pytest.param(
            ("a_deadly.jpg",),
            id="one ends workers",
            marks=pytest.mark.long(reason="three rounds take half a minute; test_attempts.py has whom they blame"),
        ),
    ],
)
def test_a_run_is_the_batch_and_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], deadly: tuple[str, ...]
) -> None:
    model, photos, batch, out = (tmp_path / name for name in ("m.onnx", "photos", "batch", "out"))
    _save_model(model)
    names = write_photos(photos, 12, damaged=range(3, 5))
    for name in deadly:
        (photos / name).write_bytes((photos / names[0]).read_bytes())
    options = ["--model", str(model), "--backend", "numpy", "--json"]
    assert main(["remove", str(photos), "-o", f"{batch}/", *options]) == 1
    told_by_batch = {Path(line["input"]).name: line for line in map(json.loads, capfd.readouterr().out.splitlines())}

    monkeypatch.setattr("nss.ray.pipeline.Network", DeadlyNetwork)
    assert main(["remove", str(photos), "-o", str(out), "--on", "ray", *options]) == 1
    output = capfd.readouterr()
    told = {Path(line["input"]).name: line for line in map(json.loads, output.out.splitlines())}
    assert told.keys() == told_by_batch.keys()
    assert [line for line in output.err.splitlines() if not line.startswith("nss-wgpu: ")] == []
    counts = f"{12 + len(deadly)} images: 10 written, 0 skipped, {2 + len(deadly)} failed, in "
    assert output.err.splitlines()[-1].startswith(f"nss-wgpu: {counts}")
    for name in deadly:
        error = told.pop(name)["error"]
        assert error == f"{photos}/{name}: set aside: 2 workers have ended over it, by a crash or for want of memory"
    for name, line in told.items():
        expected = told_by_batch[name]
        assert [line[key] for key in ("error", "notes", "box")] == [expected[key] for key in ("error", "notes", "box")]
    files = {path.name: path.read_bytes() for path in batch.iterdir() if "deadly" not in path.name}
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == files

    rows = {Path(row.input).name: row for row in manifest.read_rows(str(out))}
    assert rows.keys() == {*told, *deadly}
    assert {row.output: row.sha256 for row in rows.values() if not row.error} == {
        name: hashlib.sha256(data).hexdigest() for name, data in files.items()
    }
    assert {name for name, row in rows.items() if row.error} == {*deadly, *names[3:5]}
    assert rows[names[0]].backend == "numpy"
    assert {"read", "decode", "infer", "encode", "write"} <= rows[names[0]].milliseconds.keys()

    # an output without its row, a row without its output, and what has failed are done again; all else is not
    monkeypatch.undo()
    without_row, without_output = (told[names[index]]["output"] for index in (0, 1))
    for part in (out / "manifest").glob("[!_]*.parquet"):
        if any(row["output"] == Path(without_row).name for row in _read(part)):
            part.unlink()
    Path(without_output).unlink()
    (photos / names[3]).write_bytes((photos / names[6]).read_bytes())
    assert main(["remove", str(photos), "-o", str(out), "--on", "ray", *options]) == 1
    again = {Path(line["input"]).name: line for line in map(json.loads, capfd.readouterr().out.splitlines())}
    done = {name for name, line in again.items() if not line["skipped"] and not line["error"]}
    assert {names[0], names[1], names[3], *deadly} <= done
    assert again[names[4]]["error"]
    assert all(row.error == "" for row in manifest.read_rows(str(out)) if row.input.endswith(names[0]))
    assert Path(without_row).read_bytes() == files[Path(without_row).name]
    assert Path(without_output).read_bytes() == files[Path(without_output).name]


def test_a_dataset_of_paths_becomes_one_of_rows(tmp_path: Path) -> None:
    import ray.data

    import nss.ray

    _save_model(tmp_path / "m.onnx")
    names = write_photos(tmp_path / "photos", 2)
    photos = ray.data.from_items([{"path": str(tmp_path / "photos" / name)} for name in (*names, "none.jpg")])
    rows = nss.ray.remove(photos, tmp_path / "out", model=tmp_path / "m.onnx", backend="numpy").take_all()
    outcomes = {Path(row["input"]).name: row["error"] for row in rows}
    assert outcomes == {names[0]: "", names[1]: "", "none.jpg": f"{tmp_path}/photos/none.jpg: no such file"}
    assert {row["sha256"] for row in rows if not row["error"]} == {
        hashlib.sha256((tmp_path / "out" / row["output"]).read_bytes()).hexdigest() for row in rows if not row["error"]
    }


def _save_model(path: Path) -> None:
    save_model(path, probability(), metadata={model_metadata.KEY: json.dumps(as_json(USUAL))})


def _read(part: Path) -> list[dict[str, Any]]:
    from pyarrow import parquet

    return parquet.read_table(part).to_pylist()
