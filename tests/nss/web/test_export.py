"""What a site holds: its files, the models in it, and what is said of them; and what is refused in a sentence."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import engine
import nss
from nss.errors import ModelUnavailableError, NssError, UsageError
from nss.interfaces.interface import FixedSize, as_json
from nss.models import resolve
from nss.models.catalogue import CATALOGUE
from nss.models.local_models import ResolvedModel
from nss.removal.model_reading import read
from nss.web import licences, model_folder
from nss.web.model_folder import folder_name, unique_names
from tests.engine.models import model, node
from tests.nss.web.conftest import NOT_FOR_VISITORS, PAGE
from tests.project import ROOT, output_of

Tree = Callable[[Path], dict[str, bytes]]

pytestmark = pytest.mark.usefixtures("page")


def record_of(site: Path) -> dict[str, Any]:
    return json.loads((site / "site.json").read_bytes())


def onnx_file(path: Path, nodes: list[onnx.NodeProto], dims: list[Any], output: str = "y") -> Path:
    onnx.save(model(nodes, {"x": dims}, output), path)
    return path


def test_the_record_names_every_file_with_its_size_and_hash(tmp_path: Path, tree: Tree) -> None:
    exported = nss.export_web(folder=tmp_path / "site")
    files = tree(tmp_path / "site")
    record = record_of(exported.folder)
    (u2netp,) = record["models"]
    entries = [*record["files"], *u2netp["files"]]
    assert sorted(entry["path"] for entry in entries) == sorted(set(files) - {"site.json"})
    for entry in entries:
        content = files[entry["path"]]
        assert (entry["bytes"], entry["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert {entry["path"] for entry in record["files"]} == {*PAGE, "image/kernels.json", "LICENCE.txt"}
    assert u2netp["bytes"] == sum(entry["bytes"] for entry in u2netp["files"])
    assert exported.bytes == sum(map(len, files.values()))
    assert exported.files == len(files)


def test_the_record_says_of_each_model_what_its_page_shows(tmp_path: Path, small: Path) -> None:
    exported = nss.export_web(["u2netp", small], tmp_path / "site", weights="f32")
    first, second = record_of(exported.folder)["models"]
    spec = CATALOGUE["u2netp"]
    assert {key: first[key] for key in ("name", "title", "summary", "licence", "licence_url", "commercial")} == {
        "name": "u2netp",
        "title": spec.title,
        "summary": spec.summary,
        "licence": "Apache-2.0",
        "licence_url": spec.licence_url,
        "commercial": "yes",
    }
    assert (first["weights"], first["size"], first["folder"]) == ("f32", [320, 320], "models/u2netp/")
    assert [first["default"], second["default"]] == [True, False]
    assert (second["name"], second["licence"], second["origin"]) == ("small", "unknown", "the file small.onnx")
    assert str(tmp_path) not in (exported.folder / "site.json").read_text("utf-8")


def test_what_is_for_programmers_stays_behind(tmp_path: Path, tree: Tree) -> None:
    files = set(tree(nss.export_web(folder=tmp_path / "site").folder))
    assert not files & set(NOT_FOR_VISITORS)
    assert set(PAGE) < files


def test_without_the_page_there_are_models_and_modules(tmp_path: Path, tree: Tree) -> None:
    files = set(tree(nss.export_web(folder=tmp_path / "site", page=False).folder))
    others = {path for path in files if not path.startswith("models/")}
    assert others == {"runner/index.mjs", "image/png.mjs", "image/kernels.json", "LICENCE.txt", "site.json"}
    assert "models/u2netp/model.json" in files


def test_the_image_kernels_are_those_of_the_engine(tmp_path: Path) -> None:
    site = nss.export_web(folder=tmp_path / "site").folder
    assert json.loads((site / "image" / "kernels.json").read_bytes()) == engine.image_kernels()


@pytest.mark.parametrize(("weights", "least", "most"), [("f16", 0.5, 0.6), ("int8", 0.25, 0.4)])
def test_narrow_weights_are_about_a_half_and_a_third(tmp_path: Path, weights: Any, least: float, most: float) -> None:
    def stored(site: Path) -> int:
        return sum(file.stat().st_size for file in site.rglob("*.bin"))

    whole = stored(nss.export_web(folder=tmp_path / "f32", weights="f32").folder)
    narrow = nss.export_web(folder=tmp_path / weights, weights=weights)
    assert narrow.models[0].weights == weights
    assert least * whole <= stored(narrow.folder) <= most * whole


@pytest.mark.parametrize(("small", "stored"), [(16 << 20, "f32"), (1000, "f16")])
def test_by_default_small_weights_stay_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: int, stored: str
) -> None:
    monkeypatch.setattr(model_folder, "SMALL", small)
    assert nss.export_web(folder=tmp_path / "site").models[0].weights == stored


def test_a_model_says_how_it_takes_photos_as_remove_does(tmp_path: Path) -> None:
    exported = nss.export_web(folder=tmp_path / "site")
    compiled = engine.load_compiled(exported.folder / "models" / "u2netp")
    _, resolved_interface = read(resolve.resolve("u2netp", allow_fetch=False))
    assert compiled.metadata["interface"] == as_json(resolved_interface.interface)
    assert compiled.metadata["title"] == "U²-Netp"
    assert compiled.origin == engine.ModelOrigin("u2netp", str(CATALOGUE["u2netp"].sha256), "Apache-2.0")
    assert compiled.precision == "f32"
    assert set(compiled.plan.needs.features) == set()
    compiled.weights.verify()


def test_a_site_computes_what_the_session_does(tmp_path: Path, small: Path) -> None:
    folder = nss.export_web(small, tmp_path / "site", weights="f32").folder / "models" / "small"
    photo = np.random.default_rng(0).random((1, 3, 32, 32), np.float32)
    with engine.Session(small, backend="numpy") as session, engine.Session(engine.load_compiled(folder)) as own:
        assert own.info.backend == "webgpu"
        np.testing.assert_allclose(own.run({"x": photo})["y"], session.run({"x": photo})["y"], atol=1e-5)


def test_options_say_what_the_file_does_not(tmp_path: Path) -> None:
    file = onnx_file(tmp_path / "m.onnx", [node("ReduceMean", "x", "y", axes=[1])], [1, 3, "height", "width"])
    config = {"size": "24x40", "mean": 0.5, "std": 0.25, "filter": "nearest", "output": -1, "range": 255}
    exported = nss.export_web(file, tmp_path / "site", model_config=config, weights="f32")
    compiled = engine.load_compiled(exported.folder / "models" / "m")
    interface = compiled.metadata["interface"]
    assert [interface[key] for key in ("size", "mean", "std", "filter", "range")] == [
        [24, 40],
        [0.5],
        [0.25],
        "nearest",
        255.0,
    ]
    assert interface["output"] == compiled.outputs[0].name == "y"
    assert exported.models[0].size == (24, 40)
    assert compiled.inputs[0].shape == (1, 3, 24, 40)


def test_a_size_that_follows_the_photo_is_a_squares_and_that_is_said(tmp_path: Path) -> None:
    file = onnx_file(tmp_path / "m.onnx", [node("ReduceMean", "x", "y", axes=[1])], [1, 3, "height", "width"])
    config = {"size": "shortest:40/32", "channels": "RGB", "scale": 1, "mean": 0.0, "std": 1.0, "filter": "nearest"}
    exported = nss.export_web(file, tmp_path / "site", model_config=config, weights="f32")
    compiled = engine.load_compiled(exported.folder / "models" / "m")
    assert compiled.metadata["interface"]["size"] == [32, 32]
    (said,) = [line for line in exported.notes if "32x32" in line]
    assert "shortest:40/32" in said
    assert said in compiled.metadata["notices"]


def test_constants_of_other_inputs_are_in_the_plan(tmp_path: Path) -> None:
    nodes = [node("ReduceMean", "x", "m", axes=[1]), node("Mul", "m ratio", "y")]
    onnx.save(model(nodes, {"x": [1, 3, 16, 16], "ratio": [1]}, "y"), tmp_path / "m.onnx")
    exported = nss.export_web(
        tmp_path / "m.onnx", tmp_path / "site", model_config={"inputs": {"ratio": 0.25}}, weights="f32"
    )
    compiled = engine.load_compiled(exported.folder / "models" / "m")
    assert [place.name for place in compiled.inputs] == ["x"]


def test_the_licence_stands_beside_the_model_with_its_text(tmp_path: Path) -> None:
    site = nss.export_web(folder=tmp_path / "site").folder
    text = (site / "models" / "u2netp" / "LICENCE.txt").read_text("utf-8")
    assert "Licence: Apache-2.0" in text
    assert "Commercial use: yes" in text
    assert str(CATALOGUE["u2netp"].sha256) in text
    assert "weights as they are" in text  # who changes a file under this licence says so
    assert "TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION" in text
    assert "END OF TERMS AND CONDITIONS" in (site / "LICENCE.txt").read_text("utf-8")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("u2netp", None),
        ("birefnet-general", None),
        ("rmbg-1.4", "allows no commercial use"),
        ("rmbg-2.0", "allows commercial use only by agreement with its owner"),
    ],
)
def test_a_licence_that_does_not_allow_everything_is_said(name: str, words: str | None) -> None:
    found = ResolvedModel(CATALOGUE[name], Path("none.onnx"), "file", name)
    line = licences.warning(found)
    assert line is None if words is None else line is not None and words in line and CATALOGUE[name].licence in line


def test_a_file_of_nobody_knows_which_licence_is_said(tmp_path: Path, small: Path) -> None:
    lines: list[str] = []
    exported = nss.export_web(small, tmp_path / "site", weights="f32", notify=lines.append)
    assert [line for line in lines if "its licence is not known" in line]
    assert exported.notes == tuple(lines)
    lines.clear()
    quiet = nss.export_web(small, tmp_path / "quiet", weights="f32", notify=lines.append, quiet=True)
    assert lines == []
    assert quiet.notes == exported.notes


def test_two_exports_are_equal_byte_by_byte(tmp_path: Path, page: Path, tree: Tree) -> None:
    script = """
import sys
from pathlib import Path
import nss
from nss.web import page_files
page_files.base = lambda: Path(sys.argv[1])
nss.export_web(folder=sys.argv[2])
"""
    for seed in ("1", "2"):
        output_of(script, str(page.parent), str(tmp_path / seed), PYTHONHASHSEED=seed)
    assert tree(tmp_path / "1") == tree(tmp_path / "2")
    assert len(tree(tmp_path / "1")) > len(PAGE)


def test_no_adapter_is_asked_for(tmp_path: Path, page: Path) -> None:
    script = """
import sys
from pathlib import Path
import nss
from nss.web import page_files
page_files.base = lambda: Path(sys.argv[1])
nss.export_web(folder=sys.argv[2])
print(sorted(name for name in sys.modules if name.split(".")[0] in ("wgpu", "wgpudawn")))
"""
    assert output_of(script, str(page.parent), str(tmp_path / "site"), VK_DRIVER_FILES=os.devnull) == "[]\n"


@pytest.mark.parametrize(
    ("names", "config", "variant", "words"),
    [
        ([], None, None, "no model is given"),
        (["u2netp", "U2NETP"], None, None, "U2NETP is the same file as u2netp"),
        (["u2netp", "silueta"], {"size": 320}, None, "'size': of which of 2 models?"),
        (["u2netp", "silueta"], None, "fp16", "'model_variant': of which of the models?"),
        (["u2netp"], None, "fp16", "u2netp is a single file"),
    ],
)
def test_a_request_that_cannot_be_is_refused(
    tmp_path: Path, names: list[str], config: dict[str, Any] | None, variant: str | None, words: str
) -> None:
    with pytest.raises(UsageError, match=words.replace("?", r"\?")):
        nss.export_web(names, tmp_path / "site", model_config=config, model_variant=variant, allow_fetch=False)
    assert not (tmp_path / "site").exists()


def test_weights_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'weights' \"q4\": one of f32, f16, int8 is possible"):
        nss.export_web(folder=tmp_path / "site", weights="q4")  # type: ignore[arg-type]


def test_a_model_that_no_browser_need_hold_names_the_limit(tmp_path: Path) -> None:
    side = 4800
    nodes = [node("ReduceMean", "x", "m", axes=[1]), node("Sigmoid", "m", "y")]
    file = onnx_file(tmp_path / "large.onnx", nodes, [1, 3, side, side])
    declared = {"output": 0, "channel": 0, "activation": "none", "range": 1}  # or it is tried, on 23 megapixels
    with pytest.raises(ModelUnavailableError) as failure:
        nss.export_web(file, tmp_path / "site", model_config=declared)
    text = str(failure.value)
    assert str(256 << 20) in text
    assert "browser" in text
    assert "'size'" in text
    assert "numpy" not in text
    assert "\n" not in text
    assert not (tmp_path / "site").exists()


def test_an_operator_without_a_kernel_is_named(tmp_path: Path) -> None:
    nodes = [node("ReduceMean", "x", "m", axes=[1]), node("Imaginary", "m", "y")]
    proto = model([nodes[0], node("Identity", "m", "y")], {"x": [1, 3, 16, 16]}, "y")
    proto.graph.node[1].op_type = "Imaginary"
    onnx.save(proto, tmp_path / "m.onnx")
    with pytest.raises(ModelUnavailableError, match="Imaginary"):
        nss.export_web(tmp_path / "m.onnx", tmp_path / "site")


def test_a_full_disk_is_a_sentence_and_leaves_nothing(
    tmp_path: Path, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        try:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise engine.ModelError("cannot be written") from error

    monkeypatch.setitem(vars(engine), "save_compiled", full)
    folder = tmp_path / "empty"
    folder.mkdir()
    with pytest.raises(NssError, match="site: cannot be written: No space left on device") as failure:
        nss.export_web(small, folder / "site")
    assert type(failure.value) is NssError
    assert list(folder.iterdir()) == []


def test_a_page_that_is_not_there_is_a_sentence(tmp_path: Path, page: Path) -> None:
    page.rename(page.with_name("elsewhere"))
    with pytest.raises(NssError, match="reinstall nss-wgpu"):
        nss.export_web(folder=tmp_path / "site")


def test_names_become_folders_that_any_host_serves() -> None:
    assert folder_name("onnx-community/BEN2-ONNX@v1:onnx/model.onnx") == "onnx-community-BEN2-ONNX-v1-onnx-model.onnx"
    assert [folder_name(name) for name in ("..", "a b%2f", "ü", "-x-", "x" * 300)] == [
        "model",
        "a-b-2f",
        "model",
        "x",
        "x" * 100,
    ]
    assert unique_names(["model", "Model", "a b", "a-b"]) == ["model", "Model-2", "a b", "a-b-2"]


def test_the_fixed_size_is_what_the_record_has(tmp_path: Path, small: Path) -> None:
    (record,) = nss.export_web(small, tmp_path / "site", weights="f32").models
    assert FixedSize(*record.size) == FixedSize(32, 32)


def test_the_wheel_has_the_page_and_the_licence() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert included == {"web": "nss/web/files/web", "LICENSE": "nss/web/files/LICENSE"}
