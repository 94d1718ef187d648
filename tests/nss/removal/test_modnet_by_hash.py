"""MODNet as people have it: known by its hash, and with another hash, guessed in a line whose keys settle it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nss
from tests.fetched import model_file
from tests.nss.conftest import EXAMPLES
from tools.forms import truth
from tools.forms.form import DEFAULTS, Form
from tools.forms.judge import Run, run
from tools.forms.net import Net

pytestmark = pytest.mark.models

BOUND = 3e-6
"""The mean absolute difference from ONNX Runtime that a mask may have: ten times what it has."""


def not_built(_: Net) -> None:
    raise AssertionError("it is a file")


MODNET = Form(
    name="modnet",
    what="a portrait matting network",
    build=not_built,
    interface={
        **DEFAULTS,
        "input": "input",
        "output": "output",
        "size": {"shortest_edge": 512, "multiple_of": 32},
        "mean": [0.5],
        "std": [0.5],
    },
    alone="said",
    untold=frozenset({"size", "mean", "std"}),
)


@pytest.fixture(params=["astronaut.png", "chelsea.png"])
def photo(request: pytest.FixtureRequest) -> Path:
    return EXAMPLES / request.param


@cache
def expected(photo: Path) -> np.ndarray:
    """The mask of ONNX Runtime, with the pre-processing that MODNet was trained with."""
    with Image.open(photo) as image:
        return truth.mask(MODNET, np.asarray(image.convert("RGB")), model=model_file("modnet").read_bytes())


def test_it_is_known_by_its_hash(photo: Path) -> None:
    result = run(model_file("modnet"), photo, expected(photo), backend="numpy")
    assert result.error is not None, result.lines
    assert result.error <= BOUND
    assert not result.keys, result.lines  # nothing was guessed


def test_with_one_byte_changed_the_line_names_the_keys_that_settle_it(tmp_path: Path) -> None:
    photo = EXAMPLES / "chelsea.png"
    content = model_file("modnet").read_bytes()
    assert content[4:11] == b"pytorch"  # the producer
    other = tmp_path / "other.onnx"
    other.write_bytes(content.replace(b"pytorch", b"pytorcH", 1))
    alone = open_model(other)
    assert alone.keys >= {"size", "mean", "std"}, alone.lines
    config = {key: MODNET.interface[key] for key in alone.keys}
    result = run(other, photo, expected(photo), backend="numpy", config=config)
    assert result.error is not None, result.lines
    assert result.error <= BOUND


def open_model(path: Path) -> Run:
    """What is said where nothing is: the photo would take seconds at the size that is guessed, and prove nothing."""
    lines: list[str] = []
    nss.Remover(path, backend="numpy", notify=lines.append).close()
    return Run(None, tuple(lines))
