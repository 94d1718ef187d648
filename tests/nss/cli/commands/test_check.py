"""``nss-wgpu check``: its lines, its JSON and its status."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.nss.evaluation.scenes import Scene

Command = Callable[..., Any]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with a file of each kind, and the photo."""
    scene = Scene("mid", "light")
    for name, pixels in (
        ("straight.png", scene.zero()),
        ("premultiplied.png", scene.rembg()),
        ("opaque.png", scene.photo),
        ("undecided.png", np.dstack([scene.photo * 0, scene.alpha])),
        ("photo.png", scene.photo),
        ("-odd näme\n.png", scene.kept_colours()),
    ):
        Image.fromarray(pixels).save(tmp_path / name)
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    return tmp_path


def test_a_line_for_each_file(command: Command, files: Path) -> None:
    names = [files / name for name in ("straight.png", "opaque.png", "undecided.png", "-odd näme\n.png")]
    outcome = command("check", *names)
    assert outcome.status == 0
    assert outcome.err == []
    fringes = [line.rpartition("fringe ")[2] for line in outcome.out]
    assert outcome.out == [
        f"{files}/straight.png: straight (PNG, 160 x 120, black under alpha 0, fringe {fringes[0]}",
        f"{files}/opaque.png: opaque (PNG, 160 x 120)",
        f"{files}/undecided.png: undecided (PNG, 160 x 120, black under alpha 0, fringe 0.0)",
        f"{files}/-odd näme\\n.png: straight (PNG, 160 x 120, colour under alpha 0, fringe {fringes[3]}",
    ]


def test_premultiplied_files_and_bad_ones_give_status_1_and_the_rest_goes_on(command: Command, files: Path) -> None:
    outcome = command("check", files / "premultiplied.png", files / "straight.png")
    assert outcome.status == 1
    assert [line.split()[1] for line in outcome.out] == ["premultiplied", "straight"]
    outcome = command("check", files / "bad.png", files / "missing.png", files, files / "straight.png")
    assert outcome.status == 1
    assert [line.split()[1] for line in outcome.out] == ["straight"]
    assert [line.split(": ")[1] for line in outcome.err] == [
        str(files / "bad.png"),
        str(files / "missing.png"),
        str(files),
    ]
    assert "no such file" in outcome.err[1]


def test_json(command: Command, files: Path) -> None:
    outcome = command("check", "--json", files / "premultiplied.png", files / "bad.png", files / "opaque.png")
    assert outcome.status == 1
    first, bad, last = map(json.loads, outcome.out)
    assert (first["alpha"], first["passed"], first["error"]) == ("premultiplied", False, None)
    assert (first["width"], first["height"], first["bits"], first["format"]) == (160, 120, 8, "PNG")
    assert first["hidden"] == "zero"
    assert first["fringe"] > 10
    assert bad == {"name": str(files / "bad.png"), "error": outcome.err[0].removeprefix("nss-wgpu: ")}
    assert (last["alpha"], last["passed"], last["slope"]) == ("opaque", True, None)


def test_the_photo(command: Command, files: Path) -> None:
    names = [files / "straight.png", files / "premultiplied.png"]
    outcome = command("check", "--json", "--photo", files / "photo.png", *names)
    assert [round(json.loads(line)["slope"], 2) for line in outcome.out] == [1, 0]
    assert outcome.status == 1
    Image.new("RGB", (10, 20)).save(files / "small.png")
    outcome = command("check", "--photo", files / "small.png", names[0])
    assert (outcome.status, outcome.out) == (1, [])
    assert outcome.err == [f"nss-wgpu: {names[0]}: is 160 x 120, and the photo 10 x 20"]
    outcome = command("check", "--photo", files / "none.png", *names)
    assert (outcome.status, outcome.out, len(outcome.err)) == (1, [], 1)
    assert "none.png: no such file" in outcome.err[0]


def test_an_error_that_no_one_foresaw(command: Command, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("nss.evaluation.examine.tiles", fail)
    outcome = command("check", files / "straight.png", files / "opaque.png")
    assert outcome.status == 1
    assert outcome.err == [f"nss-wgpu: {files}/straight.png: not enough memory"]
    assert len(outcome.out) == 1
