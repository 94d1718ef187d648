"""Other people's models: each small network of tools/forms is right everywhere, or a line names what makes it so."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nss.cli.main import main
from tests.engine.gpu.gpu import device, test_adapter
from tools.forms import truth
from tools.forms.form import Form
from tools.forms.judge import bound_of, judge, run
from tools.forms.net import macs
from tools.forms.table import FORMS

SWAPPED = {"RGB": "BGR", "BGR": "RGB"}

every_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())


def cases(*, guesses_size: bool) -> pytest.MarkDecorator:
    """Every form on the processor, and on WebGPU those whose size nothing in the file says, or those whose size does.

    A software adapter takes seconds for the size that is guessed: what was guessed is one thing on every backend.
    """
    return pytest.mark.parametrize(
        ("backend", "form"),
        [
            pytest.param(backend, form, id=f"{backend}-{name}")
            for backend in ("numpy", "reference", "webgpu")
            for name, form in FORMS.items()
            if backend != "webgpu" or ("size" in form.untold) == guesses_size
        ],
    )


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The photo of the forms, as a file."""
    path = tmp_path_factory.mktemp("forms") / "photo.png"
    Image.fromarray(truth.photo()).save(path)
    return path


@functools.cache
def true_mask(name: str) -> np.ndarray:
    """What a form must give for the photo."""
    return truth.mask(FORMS[name], truth.photo())


def place(backend: str) -> dict[str, Any]:
    """The backend, and for WebGPU the adapter of the tests; skips where there is none."""
    if backend != "webgpu":
        return {"backend": backend}
    device()
    adapter = test_adapter()
    assert adapter is not None
    return {"backend": backend, "device": adapter.index}


@cases(guesses_size=False)
def test_a_model_is_right_or_a_line_names_what_makes_it_so(
    form: Form, backend: str, tmp_path: Path, photo: Path
) -> None:
    path, expected = form.write(tmp_path / form.name), true_mask(form.name)
    verdict = judge(form, path, photo, expected, whole=False, **place(backend))
    assert verdict.fault is None, "\n".join([verdict.fault, str(verdict.alone), *verdict.alone.lines])


@cases(guesses_size=True)
def test_a_model_whose_interface_is_given_is_right(form: Form, backend: str, tmp_path: Path, photo: Path) -> None:
    path, expected = form.write(tmp_path / form.name), true_mask(form.name)
    result = run(path, photo, expected, config=form.interface, bound=bound_of(form), **place(backend))
    assert result.right, "\n".join([str(result), *result.lines])


@pytest.mark.parametrize("name", ["halves", "classes", "trimap", "ratio", "dynamic-size", "outputs-alike"])
def test_the_command_names_options_with_which_it_is_right(
    name: str, tmp_path: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    form, out = FORMS[name], tmp_path / "out.png"
    path, expected = form.write(tmp_path / name), true_mask(name)
    keys: set[str] = set()
    for _ in range(3):
        options = [text for key in sorted(keys) for text in option(key, form.interface[key])]
        status = main(
            ["remove", str(photo), "-o", str(out), "--model", str(path), "--backend", "numpy", *options, "--overwrite"]
        )
        errors = capsys.readouterr().err
        more = set(re.findall(r"--model-([a-z]+)", errors)) & set(form.interface)
        if more <= keys:
            break
        keys |= more
    assert keys & form.untold, errors
    assert status == 0, errors
    with Image.open(out) as image:
        assert np.abs(np.asarray(image)[..., 3] / 255 - expected).mean() < 1 / 255


def option(key: str, value: Any) -> list[str]:
    """The option of the command that says this of an interface."""
    if key == "inputs":
        return [
            text for name, constant in value.items() for text in ("--model-inputs", f"{name}={json.dumps(constant)}")
        ]
    argument = ("x" if key == "size" else ",").join(map(str, value)) if isinstance(value, list) else str(value)
    return [f"--model-{key}", argument]


@every_form
def test_a_form_is_small_and_depends_on_its_preparation(form: Form) -> None:
    # a mask that a slip before the network leaves as it is would prove nothing
    expected = true_mask(form.name)
    assert 0.1 < expected.mean() < 0.5
    assert expected.max() > 0.95 > 0.05 > expected.min()
    assert macs(form.model()) < 2e6
    slips: list[dict[str, Any]] = [{"mean": [0.4], "std": [0.4]}, {"scale": form.interface["scale"] / 2}]
    if form.interface["channels"] in SWAPPED:
        slips.append({"channels": SWAPPED[form.interface["channels"]]})
    for slip in slips:
        assert np.abs(truth.mask(form, truth.photo(), **slip) - expected).mean() > 0.01, slip
