"""Every block of Python in docs/python.md and docs/engine.md runs as it stands."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import onnx
import pytest
from PIL import Image

from tests.engine.models import model, node
from tests.project import ROOT


def blocks(name: str) -> list[str]:
    """The blocks of Python in a text, in their order."""
    return re.findall(r"^```python\n(.*?)^```$", (ROOT / name).read_text("utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the texts take for granted: files of these names in the current folder."""
    for variable in ("NSS_STATE_DIR", "NSS_CACHE_DIR", "NSS_MODEL_DIR", "HF_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    Image.open(ROOT / "examples" / "astronaut.png").convert("RGB").resize((60, 40)).save("photo.jpg")
    photos = [Path("a.jpg"), Path("b.jpg")]
    for photo in photos:
        shutil.copy("photo.jpg", photo)
    onnx.save(model([node("Relu", "input", "output")], {"input": [1, 3, "height", "width"]}, "output"), "model.onnx")
    return {}


def run_blocks(name: str, names: dict[str, Any]) -> None:
    for part in blocks(name):
        exec(compile(part, name, "exec"), names)


def test_the_page_on_python_runs_as_written(names: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    run_blocks("docs/python.md", names)
    assert len(blocks("docs/python.md")) >= 6
    assert Image.open("photo.png").size
    assert Image.open("photo.webp").mode == "RGBA"
    assert [photo.with_suffix(".cutout.png").is_file() for photo in names["photos"]] == [True, True]
    assert [Image.open(photo.with_suffix(".mask.png")).mode for photo in names["photos"]] == ["L", "L"]
    assert len(names["photos"]) == 2
    assert names["mask"].mode == "L"
    # one block prints an error; the library prints nothing
    assert re.fullmatch(r"<image bytes>: is not an image \(PNG, JPEG,.*\n", capsys.readouterr().out)


def test_the_page_on_the_engine_runs_as_written(names: dict[str, Any]) -> None:
    run_blocks("docs/engine.md", names)
    assert names["session"].info.backend
    assert Path("compiled/model.json").is_file()
