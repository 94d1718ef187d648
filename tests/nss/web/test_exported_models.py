"""Which models export: small networks of every form, and those that people have at their real sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest

import engine
import nss
from engine.caps import PORTABLE_LIMITS
from nss.interfaces.interface import as_json, parse_description
from tests.fetched import model_file
from tools.forms.table import FORMS
from tools.make_birefnet import FORMS as BIREFNET_FORMS
from tools.make_birefnet import make_birefnet

pytestmark = pytest.mark.usefixtures("page")


def exported(model: Path, site: Path, **options: Any) -> engine.CompiledModel:
    """The model of a site with this one alone, which needs no more than every browser has."""
    nss.export_web(model, site, **options)
    (folder,) = (site / "models").iterdir()
    compiled = engine.load_compiled(folder)
    assert compiled.plan.needs.features == ()
    assert {
        name: need for name, need in compiled.plan.needs.limits.items() if need > PORTABLE_LIMITS.get(name, need)
    } == {}
    assert len(compiled.inputs) == len(compiled.outputs) == 1
    assert max(file.stat().st_size for file in folder.glob("*.bin")) <= 16 << 20
    return compiled


@pytest.mark.parametrize("form", BIREFNET_FORMS)
def test_every_published_form_of_birefnet_exports(tmp_path: Path, form: str) -> None:
    if form != "opset14" and onnx.defs.onnx_opset_version() < int(form.removeprefix("opset")):
        pytest.skip(f"onnx {onnx.__version__} does not know {form}")
    onnx.save(make_birefnet("tiny", form), tmp_path / "birefnet.onnx")
    compiled = exported(tmp_path / "birefnet.onnx", tmp_path / "site", model_config={"size": 128}, quiet=True)
    assert compiled.outputs[0].shape == (1, 1, 128, 128)


@pytest.mark.long(reason="these forms are exported in a tiny size in any case; here up to half a gigabyte is written")
@pytest.mark.parametrize("form", BIREFNET_FORMS)
@pytest.mark.parametrize("size", ["swin-t", "swin-l"])
def test_birefnet_exports_at_its_real_size(tmp_path: Path, size: str, form: str) -> None:
    proto = make_birefnet(size, form, weights_file=tmp_path / "weights.bin")
    onnx.save(proto, tmp_path / "birefnet.onnx")
    compiled = exported(tmp_path / "birefnet.onnx", tmp_path / "site", model_config={"size": 1024}, quiet=True)
    assert compiled.outputs[0].shape == (1, 1, 1024, 1024)


@pytest.mark.models
@pytest.mark.long(reason="U²-Netp is exported in any case, and this writes 176 MB")
@pytest.mark.parametrize("name", ["isnet_f32", "isnet_f16", "isnet_int8"])
def test_isnet_exports(tmp_path: Path, name: str) -> None:
    compiled = exported(model_file(name), tmp_path / "site", quiet=True)
    assert compiled.outputs[0].shape == (1, 1, 1024, 1024)
    compiled.weights.verify()


@pytest.mark.parametrize("name", FORMS)
def test_models_in_the_forms_that_people_have_export(tmp_path: Path, name: str) -> None:
    """Their interface goes with them, whole: the page has nobody to ask."""
    form = FORMS[name]
    path = form.write(tmp_path / "form")
    compiled = exported(path, tmp_path / "site", model_config=form.interface, quiet=True)
    interface = compiled.metadata["interface"]
    wanted = as_json(parse_description(form.interface, "the form"))
    compared = set(wanted) - {"size", "output", "channel"}
    assert {key: interface[key] for key in compared} == {key: wanted[key] for key in compared}
    assert interface["output"] == compiled.outputs[0].name
    height, width = interface["size"]
    assert {height, width} <= set(compiled.inputs[0].shape)
