"""A model is measured in a browser and natively: what is reported, not how much."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

import engine
from tests.engine.gpu.gpu import device
from tests.engine.models import model, node
from tests.web.conftest import require
from tools import web_bench


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """A network of one convolution, as an ONNX file."""
    weight = np.random.default_rng(3).normal(0, 0.3, (1, 3, 3, 3)).astype(np.float32)
    nodes = [node("Conv", "x w", "t", pads=[1, 1, 1, 1]), node("Sigmoid", "t", "y")]
    path = tmp_path / "tiny.onnx"
    path.write_bytes(model(nodes, {"x": [1, 3, 64, 64]}, "y", {"w": weight}).SerializeToString())
    return path


def test_natively(network: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(network), "--no-browser", "--native", str(device().adapter.index), "--runs", "2"]
    assert web_bench.main(words) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["model"], report["place"]) == ("tiny.onnx", "native")
    assert 0 < report["run"]["least"] <= report["run"]["median"] <= report["run"]["most"]


def test_what_is_served(network: Path, tmp_path: Path) -> None:
    engine.save_compiled(engine.compile(network), tmp_path / "model")
    server = web_bench.Server({"/models/": tmp_path / "model"})
    try:
        for name in (
            "",
            "bench.mjs",
            "kernels.json",
            "models/model.json",
            "web/runner/index.mjs",
            "web/image/gpu/index.mjs",
        ):
            with urllib.request.urlopen(server.url + name) as answer:
                assert answer.read()
        for name in ("models/../tiny.onnx", "web/../pyproject.toml", "models/none.bin", "web"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(server.url + name)
        ended = subprocess.Popen(["true"])
        assert server.result(ended, 60) == {"error": "the browser ended with status 0"}
        with subprocess.Popen(["sleep", "60"]) as silent:
            assert server.result(silent, 1) == {"error": "no answer within 1 s"}
            silent.kill()
    finally:
        server.close()


@pytest.mark.long(
    reason="opens a browser, whose software adapter takes seconds; the page's modules have tests of their own"
)
def test_in_a_browser(network: Path, capsys: pytest.CaptureFixture[str]) -> None:
    require(None if shutil.which("/usr/bin/chromium") else "Chromium (/usr/bin/chromium)")
    assert web_bench.main([str(network), "--software", "--runs", "2", "--photo", "64x48"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["place"] == "chromium"
    for figures in (
        report["network"]["run"],
        report["network"]["computed"],
        *map(report["photo"].get, ("cut", "cut_with_mask")),
    ):
        assert 0 < figures["least"] <= figures["median"] <= figures["most"]
    assert set(report["photo"]["gpu"]) == {"input", "network", "composition"}
    # a page that refuses says why
    assert web_bench.main([str(network), "--runs", "1"]) == 1
    assert "software" in json.loads(capsys.readouterr().out)["error"]
