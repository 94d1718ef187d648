"""A model on a machine that does not have it: its files, and what another machine has compiled."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import engine
from nss.interfaces.interface import USUAL, as_json
from nss.models import compiled, resolve
from nss.ray.carried_model import CarriedModel, open_once
from tests.nss.tiny_models import probability, save_model

OPTIONS: dict[str, Any] = {
    "backend": "auto",
    "precision": "f32",
    "require_gpu": False,
    "max_pixels": 10**6,
    "cache": True,
    "image_backend": "auto",
    "model_config": as_json(USUAL),
}


@pytest.fixture(autouse=True)
def _store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(put=lambda content: content, get=lambda content: content))


@pytest.mark.usefixtures("kept")
def test_another_machine_gets_the_files_and_what_was_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_model(tmp_path / "repository" / "onnx" / "m.onnx", probability())
    config = path.parent.parent / "preprocessor_config.json"
    config.write_text(json.dumps({"do_rescale": True}))
    carried = CarriedModel.of(resolve.resolve(path, allow_fetch=False), OPTIONS)
    assert carried.files.keys() == {"onnx/m.onnx", "preprocessor_config.json"}
    opened = open_once(carried, gpu=False)
    assert opened.compiled is not None
    carried = carried.with_compiled(*opened.compiled)

    path.unlink()
    monkeypatch.setenv("NSS_CACHE_DIR", str(tmp_path / "another"))
    monkeypatch.setenv("NSS_STATE_DIR", str(tmp_path / "its state"))
    monkeypatch.setattr(engine.ModelFile, "read", lambda *_: pytest.fail("it was compiled before"))
    for _ in range(2):  # the second worker finds all of it
        with carried.open(gpu=False) as remover:
            cutout = remover.remove(np.full((8, 8, 3), 200, np.uint8))
        assert remover.model.path == tmp_path / "another" / "carried" / carried.sha256 / "onnx" / "m.onnx"
        assert cutout.info.backend == "numpy"
    assert len(compiled.entries()) == 1
