"""Real networks whose files do not say what they are: IS-Net under other names, and MODNet without its hash."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

import nss
from nss.interfaces.graph_signs import Signs
from nss.models import resolve
from nss.removal import description
from tests.fetched import model_file
from tests.nss.conftest import EXAMPLES
from tests.nss.tiny_models import open_model, rename_tensors

pytestmark = pytest.mark.models


@pytest.mark.parametrize("name", ["isnet_f32", "isnet_f16", "isnet_int8"])
def test_isnet_is_known_in_every_precision(name: str) -> None:
    file, resolved = open_model(model_file(name))
    assert Signs(file).family() == "IS-Net"
    resolved_interface = description.interface_of(file, resolved)
    assert (resolved_interface.interface.mean, resolved_interface.interface.std) == ((0.5, 0.5, 0.5), (1.0, 1.0, 1.0))
    assert (resolved_interface.origins["mean"], resolved_interface.guesses) == ("catalogue (names)", ())


@pytest.mark.long(reason="four runs of IS-Net; that it is recognised, and prepared alike, is tested in any case")
def test_isnet_under_other_names_gives_the_same_masks(tmp_path: Path) -> None:
    path = model_file("isnet_f32")
    proto = onnx.load(path)
    rename_tensors(proto)
    onnx.save(proto, tmp_path / "mine.onnx")
    del proto
    cutouts: list[list[nss.Cutout]] = []
    lines: list[str] = []
    for model in (path, tmp_path / "mine.onnx"):
        lines.clear()
        with nss.Remover(model, backend="numpy", notify=lines.append) as remover:
            cutouts.append([remover.remove(EXAMPLES / f"{name}.png") for name in ("astronaut", "chelsea")])
    for theirs, mine in zip(*cutouts, strict=True):
        assert 0.1 < theirs.mask.mean() < 0.9
        assert float(np.abs(theirs.mask - mine.mask).mean()) == 0
    resolved_interface, other = (of_one[0].info.model_config for of_one in cutouts)
    assert resolved_interface is not None
    assert other is not None
    assert [resolved_interface["values"][key] == other["values"][key] for key in ("mean", "filter", "output")] == [
        True,
        True,
        False,
    ]
    assert ["is an IS-Net by its graph" in line for line in lines] == [True]


def test_modnet_without_its_hash_says_what_was_guessed(tmp_path: Path) -> None:
    proto = onnx.load(model_file("modnet"))
    proto.producer_version += "!"  # a byte of metadata: another file to the catalogue
    onnx.save(proto, tmp_path / "modnet.onnx")
    lines: list[str] = []
    with nss.Remover(tmp_path / "modnet.onnx", backend="numpy", notify=lines.append):
        pass
    assert lines == [
        "modnet.onnx: nothing says how it wants its photo; guessed RGB, ImageNet's mean and deviation, "
        "bilinear-antialias, 1024x1024; settle it with 'channels', 'scale', 'mean', 'std', 'filter', 'size'"
    ]
    with Image.open(EXAMPLES / "astronaut.png") as photo:
        small = photo.convert("RGB").resize((320, 320))
    config = {"mean": 0.5, "std": 0.5, "size": 320, "filter": "bilinear-antialias", "channels": "RGB"}
    lines.clear()
    with nss.Remover(tmp_path / "modnet.onnx", backend="numpy", notify=lines.append, model_config=config) as remover:
        cutout = remover.remove(small)
    assert lines == []
    assert cutout.mask.min() < 0.05 < 0.95 < cutout.mask.max()
    assert resolve.resolve(tmp_path / "modnet.onnx", allow_fetch=False, quiet=True).spec.name == "modnet"
