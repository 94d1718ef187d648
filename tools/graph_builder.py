"""Writing ONNX graphs the way PyTorch's exporters write them: static, or with the arithmetic of symbolic dimensions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha1
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LAST = 2**63 - 1
"""What exporters write for the end of an axis."""


@dataclass(frozen=True, slots=True)
class Dim:
    """A dimension: what it is at the size of the export, and the int64 scalar that computes it, where one does."""

    size: int
    name: str | None = None


def size_of(dim: Dim | int) -> int:
    """What the dimension is at the size of the export."""
    return dim if isinstance(dim, int) else dim.size


class GraphBuilder:
    """Collects nodes and initializers, names them after the module at work, and computes symbolic shapes.

    With ``symbolic`` every dimension asked for is a Shape and a Gather, constants are Constant nodes, and reshapes take
    the Concat of their dimensions: what TorchScript's exporter writes. Otherwise shapes are numbers.

    ``weights_file`` is where ``hollow`` weights lie, beside the model; ``model`` makes it.
    """

    def __init__(self, *, opset: int, symbolic: bool, weights_file: Path | None = None) -> None:
        self.opset, self.symbolic, self.weights_file = opset, symbolic, weights_file
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self._counts: Counter[str] = Counter()
        self._scopes: list[str] = []
        self._hollow_bytes = 0

    def scope(self, name: str) -> GraphBuilder:
        """``with builder.scope("decoder"):`` puts the name before those of the nodes made within."""
        self._scopes.append(name)
        return self

    def __enter__(self) -> GraphBuilder:
        return self

    def __exit__(self, *_: object) -> None:
        self._scopes.pop()

    def op(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Add a node; returns the name of its output, or a list of names where it has several."""
        base = "/" + "/".join([*self._scopes, op])
        number = self._counts[base]
        self._counts[base] += 1
        name = f"{base}_{number}" if number else base
        names = [f"{name}_output_{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, name, **attributes))
        return names[0] if outputs == 1 else names

    def weight(self, name: str, array: np.ndarray) -> str:
        """An initializer of that name, stored the first time that it is asked for."""
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(array, name)
        return name

    def hollow(self, name: str, shape: Sequence[int]) -> str:
        """A float32 initializer of zeros that takes no memory: a range of its own of the weights file."""
        assert self.weights_file is not None
        length = 4 * prod(shape)
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape, data_location=TensorProto.EXTERNAL)
        place = {"location": self.weights_file.name, "offset": self._hollow_bytes, "length": length}
        for key, value in place.items():
            tensor.external_data.add(key=key, value=str(value))
        self.initializers[name] = tensor
        self._hollow_bytes += length
        return name

    def constant(self, value: Any, dtype: type = np.int64) -> str:
        """A constant: a Constant node where the exporter would write one, else an initializer for all who need it."""
        array: np.ndarray = np.asarray(value, dtype)
        if self.symbolic:
            return self.op("Constant", value=numpy_helper.from_array(array))
        content = sha1(array.tobytes(), usedforsecurity=False).hexdigest()[:16]
        return self.weight(f"constant_{array.dtype.name}_{'x'.join(map(str, array.shape))}_{content}", array)

    # --- dimensions ---------------------------------------------------------------------------------------------

    def dim(self, x: str, axis: int, size: int) -> Dim:
        """The extent of an axis of ``x``, which is ``size`` at the size of the export."""
        if not self.symbolic:
            return Dim(size)
        return Dim(size, self.op("Gather", self.op("Shape", x), self.constant(axis), axis=0))

    def arithmetic(self, op: str, a: Dim, b: Dim | int) -> Dim:
        """Add, Sub, Mul, Div (towards zero) or Mod of two dimensions."""
        other = size_of(b)
        results = {"Add": a.size + other, "Sub": a.size - other, "Mul": a.size * other}
        size = results[op] if op in results else (a.size // other if op == "Div" else a.size % other)
        if a.name is None and (isinstance(b, int) or b.name is None):
            return Dim(size)
        return Dim(size, self.op(op, self._scalar(a), self._scalar(b)))

    def vector(self, dims: Sequence[Dim | int]) -> str:
        """The dimensions as one int64 tensor."""
        if all(isinstance(dim, int) or dim.name is None for dim in dims):
            return self.constant([size_of(dim) for dim in dims])
        return self.op("Concat", *(self.unsqueeze(self._scalar(dim), 0) for dim in dims), axis=0)

    def _scalar(self, dim: Dim | int) -> str:
        if isinstance(dim, Dim) and dim.name is not None:
            return dim.name
        return self.constant(size_of(dim))

    # --- movement -----------------------------------------------------------------------------------------------

    def reshape(self, x: str, dims: Sequence[Dim | int]) -> str:
        return self.op("Reshape", x, self.vector(dims))

    def unsqueeze(self, x: str, axis: int) -> str:
        return self.op("Unsqueeze", x, self.constant([axis]))

    def transpose(self, x: str, *perm: int) -> str:
        return self.op("Transpose", x, perm=perm)

    def slice(self, x: str, axis: int, start: int, end: Dim | int, step: int | None = None) -> str:
        """``x[start:end:step]`` along ``axis``."""
        stop = self.unsqueeze(end.name, 0) if isinstance(end, Dim) and end.name else self.constant([size_of(end)])
        rest = [] if step is None else [self.constant([step])]
        return self.op("Slice", x, self.constant([start]), stop, self.constant([axis]), *rest)

    def roll(self, x: str, axis: int, by: int) -> str:
        """``torch.roll``: by -s the first s positions come to the end."""
        parts = self.slice(x, axis, -by, LAST), self.slice(x, axis, 0, -by)
        return self.op("Concat", *parts, axis=axis)

    def pad_end(self, x: str, rank: int, amounts: Sequence[tuple[int, Dim]]) -> str:
        """Zeros behind the given axes; where symbolic, by the nodes that turn PyTorch's order of pads into ONNX's."""
        if not self.symbolic:
            pads = [0] * 2 * rank
            for axis, amount in amounts:
                pads[rank + axis] = amount.size
            return self.op("Pad", x, self.constant(pads), mode="constant")
        by_axis = dict(amounts)
        # (begin, end) of the last axis first
        pairs = [dim for axis in reversed(range(rank)) for dim in (Dim(0), by_axis.get(axis, Dim(0)))]
        table = self.op("Reshape", self.vector(pairs), self.constant([-1, 2]))
        turned = self.op(
            "Slice", table, self.constant([-1]), self.constant([-LAST]), self.constant([0]), self.constant([-1])
        )
        flat = self.op("Reshape", self.transpose(turned, 1, 0), self.constant([-1]))
        return self.op("Pad", x, self.op("Cast", flat, to=TensorProto.INT64), "", mode="constant")

    # --- the file -----------------------------------------------------------------------------------------------

    def model(
        self, inputs: Mapping[str, Sequence[int | str]], outputs: Mapping[str, tuple[str, Sequence[int | str]]]
    ) -> onnx.ModelProto:
        """The model: ``inputs`` by name, ``outputs`` by the value that each renames; all float32."""
        for name, (value, _) in outputs.items():
            self.nodes.append(helper.make_node("Identity", [value], [name], f"/{name}"))
        graph = helper.make_graph(
            self.nodes,
            "main_graph",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(dims)) for name, dims in inputs.items()],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(dims)) for name, (_, dims) in outputs.items()],
            list(self.initializers.values()),
        )
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], producer_name="nss-tools")
        proto.ir_version = 9
        if self.weights_file is not None:
            with self.weights_file.open("wb") as file:
                file.truncate(self._hollow_bytes)
        return proto
