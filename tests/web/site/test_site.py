"""A site out of the command, under the headers of docs/web.md: whole, and its model computes in Chromium."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from tests.project import ROOT
from tests.web.conftest import Node
from tests.web.models import SIDE, onnxruntime_outputs, write_small_u2netp

HERE = Path(__file__).parent


def test_a_site_in_chromium(run_node: Node, site: Path, tmp_path: Path) -> None:
    photo = np.random.default_rng(5).standard_normal((1, 3, SIDE, SIDE)).astype(np.float32)
    model = write_small_u2netp(tmp_path / "small.onnx")
    mask = onnxruntime_outputs(model, {"input.1": photo})["1959"]
    (tmp_path / "photo.f32").write_bytes(photo.tobytes())
    (tmp_path / "mask.f32").write_bytes(mask.tobytes())
    text = (ROOT / "docs" / "web.md").read_text("utf-8")
    (policy,) = re.findall(r"`Content-Security-Policy: ([^`]+)`", text)
    run_node(HERE / "site.test.mjs", NSS_SITE=site, NSS_FOLDER=tmp_path, NSS_POLICY=policy)
