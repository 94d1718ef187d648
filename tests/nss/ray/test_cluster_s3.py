"""A run from S3 to S3 with a server that fails all the time: each output there once, whole, and in the manifest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from nss.cli.main import main
from nss.interfaces import model_metadata
from nss.interfaces.interface import USUAL, as_json
from nss.ray import manifest, storage
from tests.nss.ray.clusters import write_photos
from tests.nss.ray.s3_server import FAULTS, S3Server, every, s3_server
from tests.nss.tiny_models import probability, save_model

pytest.importorskip("ray", reason="a cluster is Ray's")
pytest.importorskip("s3fs", reason="s3:// is opened by s3fs")
pytest.importorskip("moto", reason="the server is moto's")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """An S3 server, and a Ray whose workers know it."""
    import ray

    with s3_server() as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        storage._opened.cache_clear()
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        try:
            yield running
        finally:
            ray.shutdown()
            storage._opened.cache_clear()


@pytest.mark.long(reason="a cluster without S3 is in test_cluster.py, and S3 without a cluster in test_s3.py")
def test_photos_of_a_bucket_become_cutouts_in_it_whatever_fails(
    tmp_path: Path, server: S3Server, capfd: pytest.CaptureFixture[str]
) -> None:
    model, photos, batch = (tmp_path / name for name in ("m.onnx", "photos", "batch"))
    save_model(model, probability(), metadata={model_metadata.KEY: json.dumps(as_json(USUAL))})
    names = write_photos(photos, 12, damaged=range(3, 4))
    options = ["--model", str(model), "--backend", "numpy"]
    assert main(["remove", str(photos), "-o", f"{batch}/", *options, "--quiet"]) == 1
    files = {path.name: path.read_bytes() for path in batch.iterdir()}
    for name in names:
        storage.put(f"s3://bucket/photos/{name}", (photos / name).read_bytes())
    capfd.readouterr()

    server.reset(every(4))
    words = ["remove", "s3://bucket/photos", "-o", "s3://bucket/out/", "--on", "ray", *options]
    assert main(words) == 1
    told = capfd.readouterr().err.splitlines()
    assert [line for line in told if not line.startswith("nss-wgpu: ")] == []
    assert any(line.startswith(f"nss-wgpu: s3://bucket/photos/{names[3]}: ") for line in told)
    assert told[-1].startswith("nss-wgpu: 12 images: 11 written, 0 skipped, 1 failed, in ")
    assert set(server.happened) == set(FAULTS)

    server.reset()
    assert manifest.existing_outputs("s3://bucket/out") == set(files)
    rows = {row.output: row for row in manifest.read_rows("s3://bucket/out")}
    for name, data in files.items():
        assert storage.read(f"s3://bucket/out/{name}") == data
        assert rows.pop(name).sha256 == hashlib.sha256(data).hexdigest()
    assert [(row.input, bool(row.error)) for row in rows.values()] == [(f"s3://bucket/photos/{names[3]}", True)]
    # a second run does the damaged one alone
    assert main([*words, "--dry-run", "--json"]) == 0
    planned = map(json.loads, capfd.readouterr().out.splitlines())
    assert [line["input"] for line in planned if not line["skipped"]] == [f"s3://bucket/photos/{names[3]}"]
