"""A repository of small networks on the hub that tests play, and models asked for there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, numpy_helper

import nss
from nss.models import local_models, resolve
from tests.engine.models import model, node
from tests.nss.fake_hub import FILE, REPO, FakeHub, isolate

LATER_COMMIT = "f" * 40
CONFIGURATION = b'{"image_mean": [0.5, 0.5, 0.5]}'
WEIGHTS = np.array([0.5, -0.25, 1], np.float32).reshape(1, 3, 1, 1)


def network(factor: float = 1.0, location: str | None = None) -> bytes:
    """A network that mixes the channels; with its weights in a file of that name where one is given."""
    nodes = [node("Conv", "x w", "y"), node("Sigmoid", "y", "mask")]
    proto = model(nodes, {"x": [1, 3, 16, 16]}, "mask", {"w": WEIGHTS * np.float32(factor)})
    (tensor,) = proto.graph.initializer
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), "w"))
    if location is not None:
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)
    return proto.SerializeToString()


def variants(*suffixes: str) -> dict[str, bytes]:
    """Networks that differ, as the files of variants whose names end so."""
    return {f"onnx/model{suffix}.onnx": network(1 + number) for number, suffix in enumerate(suffixes)}


MODEL = network()


@contextmanager
def serving(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """A hub with one repository, which has one network, its configuration and what else there is."""
    with FakeHub(MODEL, card={"license": "apache-2.0"}) as server:
        server.files = {FILE: MODEL, "preprocessor_config.json": CONFIGURATION, "README.md": b"x", "config.json": b"{}"}
        isolate(monkeypatch, tmp_path, server.url)
        yield server


def resolve_model(name: str = REPO, variant: str | None = None) -> local_models.ResolvedModel:
    return resolve.resolve(name, variant=variant, allow_fetch=True, notify=lambda _: None)


def notices(name: str = REPO) -> list[str]:
    lines: list[str] = []
    resolve.resolve(name, allow_fetch=True, notify=lines.append)
    return lines


def refusal(name: str = REPO, *, variant: str | None = None, allow_fetch: bool = True) -> nss.NssError:
    with pytest.raises(nss.NssError) as failure:
        resolve.resolve(name, variant=variant, allow_fetch=allow_fetch, notify=lambda _: None)
    assert "\n" not in str(failure.value)
    return failure.value
