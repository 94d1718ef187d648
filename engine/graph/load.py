"""ONNX protobuf → Graph: shapes bound, constants folded, dead outputs pruned, everything unsupported refused."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from engine import arguments, four_bits
from engine.errors import InputError, ModelError, UnsupportedError
from engine.graph import bounds, signature, tensors, unsupported_operators
from engine.graph.bounds import Budget
from engine.graph.dtypes import DTYPES, ELEM_TYPES, byte_dtype, is_four_bit, name_of
from engine.graph.ir import Graph, Node, TensorType, Value
from engine.graph.model_file import OLDEST_OPSET, Dims, ModelFile, declared_dims
from engine.graph.passes.dead_code import remove_dead_code
from engine.graph.passes.fold_constants import fold
from engine.graph.unsupported_operators import normalize_domain
from engine.ops import infer
from engine.ops.registry import MisfitError, operator_of
from engine.ops.unpack import unpack_node

Shapes = Mapping[str, Sequence[int]]


def load(
    model: str | Path | bytes | ModelFile,
    *,
    input_shapes: Shapes | None = None,
    outputs: Sequence[str] | str | None = None,
    input_values: Mapping[str, np.ndarray] | None = None,
) -> Graph:
    """Read an ONNX model into a static graph.

    ``model`` is a path, the file's bytes, or a file read before. ``input_shapes`` binds symbolic dimensions,
    ``input_values`` binds whole inputs to constants (a Reshape target that the exporter left as an input), also those
    that the file has a value for. ``outputs`` names the values to keep, ``"all"`` the model's outputs, None the first
    of them; what they do not need is not loaded.

    Raises ModelError for a file that is no valid model, UnsupportedError for operators, types or versions that the
    engine does not have, TooLargeError where this machine's memory is short (`engine.graph.bounds`), InputError for
    shapes, values or outputs that do not fit the model.
    """
    file = model if isinstance(model, ModelFile) else ModelFile.read(model)
    shapes = arguments.mapping("input_shapes", input_shapes, "shapes")
    values = arguments.mapping("input_values", input_values, "arrays")
    return _Loader(file, shapes, values, outputs).graph()


class _Loader:
    """One pass over the nodes in running order: infer each, and fold it when all that it reads is known."""

    def __init__(
        self,
        file: ModelFile,
        input_shapes: Shapes,
        input_values: Mapping[str, np.ndarray],
        outputs: Sequence[str] | str | None,
    ) -> None:
        self.proto, self.file, self.versions = file.proto.graph, file, file.versions
        self.nodes: list[Node] = []
        self.budget = Budget()
        self.bindings: list[str] = []  # inputs with symbolic dimensions, and what these became
        if self.proto.sparse_initializer:
            raise UnsupportedError("the model holds sparse initializers; densify them before export")
        self.initializers = {tensor.name: tensor for tensor in self.proto.initializer}
        self.output_names = self._outputs_to_keep(outputs)
        self.order = _reachable(self.proto.node, self.output_names)
        unsupported_operators.check(self.order, self.versions)
        self.inputs = self._bind(input_shapes, input_values)

    def graph(self) -> Graph:
        scope = {name: self._from_bytes(value) for name, value in self.inputs.items()}
        self._add_nodes(self.order, scope)
        outputs = [self._in_bytes(self._value(name, scope, "the graph's outputs"), name) for name in self.output_names]
        name: str | bytes = self.proto.name  # bytes where it is no UTF-8, which no other name may be
        graph = Graph(
            [value for value in self.inputs.values() if not value.is_constant],
            outputs,
            self.nodes,
            name if isinstance(name, str) else name.decode(errors="backslashreplace"),
        )
        remove_dead_code(graph)
        return graph

    def _outputs_to_keep(self, outputs: Sequence[str] | str | None) -> list[str]:
        """The names of the values to keep."""
        model_outputs = [output.name for output in self.proto.output]
        if outputs is None:
            return model_outputs[:1]
        if isinstance(outputs, str) and outputs == "all":
            return model_outputs
        arguments.check("outputs", outputs, Iterable, "a name, a list of names, or None")
        names = [outputs] if isinstance(outputs, str) else list(outputs)
        known = {*model_outputs, *(name for node in self.proto.node for name in node.output)}
        unknown = [name for name in names if not isinstance(name, str) or name not in known]
        if not names:
            raise InputError(f"no output is named; the model has {model_outputs}")
        if unknown:
            raise InputError(f"outputs {unknown} are not in the model; it has {model_outputs}")
        return names

    def _bind(self, shapes: Shapes, values: Mapping[str, np.ndarray]) -> dict[str, Value]:
        """The graph's inputs with their symbolic dimensions bound, or their whole value."""
        infos = {
            info.name: info for info in self.proto.input if info.name not in self.initializers or info.name in values
        }
        for name in [*shapes, *values]:
            if name not in infos:
                raise InputError(f"the model has no input '{name}'; its inputs are {list(infos)}")
        inputs = {}
        for name, info in infos.items():
            dtype, elements = self.file.input_dtype(name), self.file.element_dtype(name)
            narrow = name_of(elements) if is_four_bit(elements) else ""
            if name in values:
                array = _array(name, values[name])
                if array.dtype != dtype:
                    raise InputError(f"input '{name}' is {dtype.name}; the value to bind is {array.dtype.name}")
                if narrow:
                    four_bits.check(array, four_bits.LIMITS[narrow], name)
                shape, value = _shape(info, array.shape), Value.constant(name, array)
            else:
                shape = _shape(info, shapes.get(name))
                if any(isinstance(dim, str) for dim in declared_dims(info)):
                    self.bindings.append(f"'{name}' bound to {list(shape)}")
                value = Value(name, TensorType(dtype, shape), narrow=narrow)
            bounds.check_tensor(value.type, f"input '{name}'")
            inputs[name] = value
        return inputs

    def _from_bytes(self, value: Value) -> Value:
        """An input as the file has it: outside of the graph 4-bit integers are bytes."""
        dtype = self.file.element_dtype(value.name)
        return self._cast(value, dtype, f"{value.name}:{name_of(dtype)}") if is_four_bit(dtype) else value

    def _in_bytes(self, value: Value, name: str) -> Value:
        """An output as it leaves the graph, under its name."""
        if not is_four_bit(value.dtype):
            return value
        value.name = f"{name}:{name_of(value.dtype)}"
        return self._cast(value, byte_dtype(value.dtype), name)

    def _cast(self, value: Value, dtype: np.dtype[Any], name: str) -> Value:
        node = Node(
            "Cast",
            [value],
            [Value(name, TensorType(dtype, value.shape))],
            {"to": ELEM_TYPES[dtype]},
            version=self.versions.get("", OLDEST_OPSET),
            name=f"{name}:cast",
        )
        self._add(node)
        return node.output

    def _value(self, name: str, scope: dict[str, Value], reader: str) -> Value:
        """The value called ``name``; initializers are decoded on first use."""
        if name not in scope:
            if name not in self.initializers:
                raise ModelError(f"{reader}: nothing in the graph makes '{name}'")
            scope[name] = self._stored(self.initializers[name], name)
        return scope[name]

    def _stored(self, tensor: onnx.TensorProto, name: str) -> Value:
        """A tensor of the file as a constant; one of 4-bit integers as what a node unpacks, which stays to be done."""
        kind = tensors.tensor_type(tensor)
        array = tensors.stored_array(tensor, self.file.folder, self.file.content)
        if not is_four_bit(kind.dtype):
            return Value.constant(name, array)
        node = unpack_node(array, name, kind)
        self.nodes.append(node)
        return node.output

    def _add_nodes(self, order: Iterable[onnx.NodeProto], scope: dict[str, Value]) -> None:
        for proto in order:
            if proto.op_type == "If" and not normalize_domain(proto.domain):
                self._add_branch(proto, scope)
            elif (tensor := _four_bit_constant(proto)) is not None:
                scope[proto.output[0]] = self._stored(tensor, proto.output[0])
            else:
                self._add_node(proto, scope)

    def _add_node(self, proto: onnx.NodeProto, scope: dict[str, Value]) -> None:
        domain, op, version = unsupported_operators.meaning(proto, self.versions)
        label = _label(proto)
        node = Node(
            op=op,
            inputs=[self._value(name, scope, label) if name else None for name in proto.input],
            outputs=[None] * len(proto.output),
            attributes={
                entry.name: tensors.attribute(entry, self.file.folder, self.file.content) for entry in proto.attribute
            },
            domain=domain,
            version=version,
            name=_name(proto),
        )
        signature.check(proto, node)
        bounds.check_attributes(node)
        for index in operator_of(node).static:
            if (value := node.optional_input(index)) is not None:
                self._evaluate(value)
        try:
            types = infer(node)
            if len(types) < len(proto.output):
                raise ModelError(f"{node.label}: {len(proto.output)} outputs, the operator has {len(types)}")
            for name, kind in zip(proto.output, types, strict=False):
                bounds.check_tensor(kind, f"{node.label}: output '{name}'")
            node.outputs = [
                Value(name, kind) if name else None for name, kind in zip(proto.output, types, strict=False)
            ]
            self._add(node)
        except MisfitError as error:
            raise ModelError(self._with_bindings(str(error))) from error
        scope.update((value.name, value) for value in node.used_outputs())

    def _add(self, node: Node) -> None:
        """Put the node last, unless all that it makes is known now."""
        fold(node, self.budget)
        if not all(value.is_constant for value in node.used_outputs()):
            self.nodes.append(node)

    def _evaluate(self, value: Value) -> None:
        """Compute the value now where constants alone decide it: `fold` leaves some for the passes."""
        if value.is_constant:
            return
        makers = {made: node for node in self.nodes for made in node.used_outputs()}
        needed: set[Node] = set()
        pending = [value]
        while pending:
            if (node := makers.get(pending.pop())) is None:
                return  # an input of the graph
            if node not in needed:
                needed.add(node)
                pending += [other for other in node.used_inputs() if not other.is_constant]
        for node in self.nodes:
            if node in needed:
                fold(node, self.budget, unpack=True, large_sums=True)

    def _with_bindings(self, message: str) -> str:
        """What does not fit, with the shapes that were chosen for the inputs: an exporter may have fixed others."""
        if not self.bindings:
            return message
        return (
            f"input {' and '.join(self.bindings)}: {message}; the file may hold sizes of the shape that it was "
            "exported with: bind that one"
        )

    def _add_branch(self, proto: onnx.NodeProto, scope: dict[str, Value]) -> None:
        """Put the branch that an If takes in its place; its condition must be known at load."""
        label = _label(proto)
        branches = {entry.name: entry.g for entry in proto.attribute}
        if not proto.input or not {"then_branch", "else_branch"} <= branches.keys():
            raise ModelError(f"{label}: it lacks a condition or a branch")
        condition = self._value(proto.input[0], scope, label)
        self._evaluate(condition)
        if condition.data is None:
            raise UnsupportedError(f"{label} branches on what only a run can know; control flow has no plan")
        if condition.data.size != 1:
            raise ModelError(f"{label}: its condition is {condition.type}, not one truth value")
        branch = branches["then_branch" if condition.data.item() else "else_branch"]
        if len(branch.output) != len(proto.output):
            raise ModelError(f"{label}: {len(proto.output)} outputs, its branch has {len(branch.output)}")
        self.initializers |= {tensor.name: tensor for tensor in branch.initializer}
        names = [output.name for output in branch.output]
        order = _reachable(branch.node, names)
        unsupported_operators.check(order, self.versions)
        inner = dict(scope)
        self._add_nodes(order, inner)
        for name, branch_output in zip(proto.output, names, strict=True):
            if name:
                # an output keeps the name that the model gives it, whatever the branch calls it
                self._add_node(onnx.helper.make_node("Identity", [branch_output], [name], proto.name), inner)
                scope[name] = inner[name]


def _array(name: str, value: np.ndarray) -> np.ndarray:
    try:
        return np.asarray(value)
    except ValueError as error:
        raise InputError(f"input '{name}' is bound to what is no array: {error}") from error


def _four_bit_constant(proto: onnx.NodeProto) -> onnx.TensorProto | None:
    """The tensor of a Constant node whose elements have four bits; None for any other node."""
    if proto.op_type != "Constant" or normalize_domain(proto.domain) or len(proto.output) != 1:
        return None
    tensor = next((entry.t for entry in proto.attribute if entry.name == "value" and entry.HasField("t")), None)
    return tensor if tensor is not None and is_four_bit(DTYPES.get(tensor.data_type)) else None


def _name(proto: onnx.NodeProto) -> str:
    """A node's name, or that of its first output where it has none."""
    return proto.name or next(iter(proto.output), "")


def _label(proto: onnx.NodeProto) -> str:
    """How messages name a node that is not read yet, as `Node.label` does."""
    return f"{proto.op_type} '{_name(proto)}'"


def _shape(info: onnx.ValueInfoProto, binding: Sequence[int] | None) -> tuple[int, ...]:
    """The input's static shape: what the model declares, its symbolic dimensions taken from ``binding``."""
    dims, has_shape = declared_dims(info), info.type.tensor_type.HasField("shape")
    fixed_dims = tuple(dim for dim in dims if isinstance(dim, int))
    if binding is None:
        if len(fixed_dims) < len(dims) or not has_shape:
            raise InputError(f"input '{info.name}' has shape {_dims_text(dims)}; bind its dimensions with input_shapes")
        return fixed_dims
    try:
        shape = tuple(operator.index(dim) for dim in binding)
    except TypeError:
        raise InputError(
            f"input '{info.name}' has shape {_dims_text(dims)}; {binding!r} is no shape to bind it to"
        ) from None
    fits = len(shape) == len(dims) and all(
        isinstance(dim, str) or dim == extent for dim, extent in zip(dims, shape, strict=True)
    )
    if min(shape, default=0) < 0 or (has_shape and not fits):
        raise InputError(f"input '{info.name}' has shape {_dims_text(dims)}, which {list(shape)} does not fit")
    return shape


def _dims_text(dims: Dims) -> str:
    return f"[{', '.join(map(str, dims))}]"


def _reachable(nodes: Sequence[onnx.NodeProto], outputs: Iterable[str]) -> list[onnx.NodeProto]:
    """The nodes that ``outputs`` need, in running order: the file's own where that is one already.

    Raises ModelError on a cycle and on a name that two nodes make.
    """
    producer: dict[str, int] = {}
    for index, node in enumerate(nodes):
        for name in filter(None, node.output):
            if name in producer:
                raise ModelError(f"two nodes make '{name}'; the graph is not in single-assignment form")
            producer[name] = index
    needs: dict[int, set[int]] = {}
    pending = [producer[name] for name in outputs if name in producer]
    while pending:
        index = pending.pop()
        if index not in needs:
            needs[index] = {producer[name] for name in _reads(nodes[index]) if name in producer}
            pending.extend(needs[index])
    order = sorted(needs)
    if any(max(before, default=-1) >= index for index, before in needs.items()):
        try:
            order = list(TopologicalSorter(needs).static_order())
        except CycleError as error:
            names = ", ".join(f"{nodes[i].op_type} '{nodes[i].name or nodes[i].output[0]}'" for i in error.args[1][:4])
            raise ModelError(f"the graph has a cycle through {names}") from error
    return [nodes[index] for index in order]


def _reads(node: onnx.NodeProto) -> Iterable[str]:
    """Every name that the node or a subgraph of it reads; names that a subgraph makes itself may be among them."""
    yield from filter(None, node.input)
    for entry in node.attribute:
        if entry.type == onnx.AttributeProto.GRAPH:
            yield from (output.name for output in entry.g.output)
            for inner in entry.g.node:
                yield from _reads(inner)
