"""Small networks that mark what is bright on a photo, in the forms that tests of interfaces need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, helper

import engine
from nss.models import resolve
from nss.models.local_models import ResolvedModel
from tests.engine.models import model, node

SIDE = 32
WEIGHTS: dict[str, Any] = {
    "w": np.full((1, 3, 1, 1), 1.5, np.float32),
    "w2": np.array([-1.0, 1.0], np.float32).reshape(2, 1, 1, 1),
    "w3": np.array([-1.0, 1.0, 0.3], np.float32).reshape(3, 1, 1, 1),
    "one": np.ones((1, 1, 1, 1), np.float32),
}


def save_model(
    path: Path,
    nodes: Sequence[NodeProto],
    outputs: Mapping[str, list[Any] | None] | None = None,
    inputs: Mapping[str, Any] | None = None,
    constants: Mapping[str, Any] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """A model of these nodes at ``path``, from "x" to "y" unless told otherwise; outputs by name with declared dims."""
    proto = model(
        nodes, inputs or {"x": [1, 3, SIDE, SIDE]}, " ".join(outputs or {"y": None}), {**WEIGHTS, **(constants or {})}
    )
    for value in proto.graph.output:
        if outputs and (dims := outputs[value.name]) is not None:
            value.CopyFrom(helper.make_tensor_value_info(value.name, onnx.TensorProto.FLOAT, dims))
    for key, text in (metadata or {}).items():
        proto.metadata_props.add(key=key, value=text)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(proto, path)
    return path


def probability(image: str = "x", output: str = "y") -> list[NodeProto]:
    """A mask in 0..1."""
    return [node("Conv", f"{image} w", "logits"), node("Sigmoid", "logits", output)]


def open_model(path: Path) -> tuple[engine.ModelFile, ResolvedModel]:
    """What `nss.removal.description.interface_of` takes."""
    return engine.ModelFile.read(path), resolve.resolve(path, allow_fetch=False, quiet=True)


def rename_tensors(proto: onnx.ModelProto, names: Mapping[str, str] | None = None) -> None:
    """Give every tensor another name, in place; or those of ``names`` the names that it has for them."""

    def name(old: str) -> str:
        return old and (f"t_{old}" if names is None else names.get(old, old))

    for step in proto.graph.node:
        step.input[:] = map(name, step.input)
        step.output[:] = map(name, step.output)
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.initializer, *proto.graph.value_info):
        value.name = name(value.name)
