"""Graph → dispatches: which kernel computes each node, into tensors of which layout.

Kernels register themselves by operator (``lowers``); each is a function that takes the node and the Lowering, asks it
for the input tensors and for a place for the output, and adds dispatches. Operators that only relabel hand on a view.
Element-wise nodes wait (``defer``) until a reader needs them: chains of them become one kernel, or the epilogue of the
convolution or product that feeds them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from math import prod
from typing import Any, TypeVar

import numpy as np

from engine.errors import InputError, UnsupportedError
from engine.gpu.dispatch import Dispatch
from engine.gpu.tensor import ITEM_BYTES, NUMPY_TYPES, Slot, Tensor, channels_last, strides_of
from engine.graph.ir import Graph, Node, Value
from engine.ops.concat import concat_axis
from engine.ops.registry import MISFITS, misfit

Kernel = Callable[[Node, "Lowering"], None]

Made = TypeVar("Made")

KERNELS: dict[tuple[str, str], Kernel] = {}

HALF_FROM = 1024
"""Elements from which on float tensors are stored as float16 in f16 precision: scales, biases and statistics are below
it, decide the accuracy, and weigh nothing."""

STORAGE = {
    "bool": "u32",
    "uint8": "u32",
    "uint16": "u32",
    "uint32": "u32",
    "uint64": "u32",
    "int8": "i32",
    "int16": "i32",
    "int32": "i32",
    "int64": "i32",
    "float16": "f32",
    "float32": "f32",
}


def lowers(*ops: str, domain: str = "") -> Callable[[Kernel], Kernel]:
    """Register a kernel for those operators."""

    def register(kernel: Kernel) -> Kernel:
        for op in ops:
            KERNELS[domain, op] = kernel
        return kernel

    return register


def storage_array(array: np.ndarray, dtype: str, what: str) -> np.ndarray:
    """``array`` in a storage type; InputError where an integer does not fit 32 bits."""
    if array.dtype.itemsize == 8 and array.dtype.kind in "iu" and array.size:
        limits = np.iinfo(np.int32 if dtype == "i32" else np.uint32)
        if array.min() < limits.min or array.max() > limits.max:
            raise InputError(
                f"{what} holds an integer outside of 32 bits, which backend 'webgpu' computes in; use 'numpy'"
            )
    with np.errstate(over="ignore"):
        return array.astype(NUMPY_TYPES[dtype], copy=False)


class Lowering:
    """The state of one lowering.

    Attributes:
        graph: what is lowered.
        half: floats of HALF_FROM elements and more are stored as float16.
        matrix_lanes: invocations of a subgroup with matrix units for float16; 0 where there are none.
        binding_limit: bytes that one binding may have; what is larger is processed in ranges.
        outside: what the host writes and reads as float32; default: the graph's inputs and outputs.
        dispatches: what has been added so far, in running order.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        half: bool = False,
        matrix_lanes: int = 0,
        binding_limit: int = 128 << 20,
        outside: Collection[Value] | None = None,
    ) -> None:
        self.graph, self.half, self.binding_limit = graph, half, binding_limit
        self.matrix_lanes = matrix_lanes
        self.dispatches: list[Dispatch] = []
        self.node = Node("", [], [])
        self.consumers = graph.consumers()
        self._outside = {*graph.inputs, *graph.outputs} if outside is None else set(outside)
        self.readers = {value: len(nodes) for value, nodes in self.consumers.items()}
        self._tensors: dict[Value, Tensor] = {}
        self._deferred: dict[Value, Node] = {}
        self._joined = _concat_parts(graph)
        self._wholes: dict[Value, Tensor] = {}
        self._copies: dict[tuple[Any, ...], Tensor] = {}
        self._made: dict[tuple[Any, ...], Any] = {}

    def run(self) -> tuple[list[Tensor], list[Tensor]]:
        """Lower every node. Returns the tensors of the graph's inputs and, each one dense run, of its outputs."""
        inputs = [self._new(value, None) for value in self.graph.inputs]
        self._tensors.update(zip(self.graph.inputs, inputs, strict=True))
        for node in self.graph.nodes:
            self.lower(node)
        outputs: list[Tensor] = []
        for value in self.graph.outputs:
            tensor = self.dense(self.tensor(value))
            # every output is read back from a slot of its own
            shared = tensor.slot.is_constant or any(tensor.slot is other.slot for other in (*inputs, *outputs))
            if shared or tensor.span() != (0, tensor.size):
                tensor = self.copied(tensor)
            outputs.append(tensor)
        return inputs, outputs

    def lower(self, node: Node) -> None:
        """Add the dispatches of ``node``, or keep it for its reader; ModelError where it does not fit its operator."""
        outer, self.node = self.node, node
        try:
            KERNELS[node.domain, node.op](node, self)
        except MISFITS as error:
            raise misfit(node, error) from error
        finally:
            self.node = outer

    # --- inputs -------------------------------------------------------------------------------------------------

    def tensor(self, value: Value) -> Tensor:
        """Where ``value`` lies; a node that waited for its reader is lowered now."""
        if value in self._deferred:
            from engine.gpu.kernels.epilogue import lower_waiting

            node = self._deferred.pop(value)
            outer, self.node = self.node, node
            lower_waiting(node, self)
            self.node = outer
        if value not in self._tensors:
            if value.data is None:
                raise UnsupportedError(f"{self.node.label}: '{value.name}' has no tensor on the GPU")
            self._tensors[value] = self.constant(value.data, value.name)
        return self._tensors[value]

    def input(self, node: Node, index: int) -> Tensor:
        """The tensor of a required input."""
        return self.tensor(node.input(index))

    def optional(self, node: Node, index: int) -> Tensor | None:
        """The tensor of an input, or None where the node leaves it out."""
        value = node.optional_input(index)
        return None if value is None else self.tensor(value)

    def constant(self, array: np.ndarray, label: str, dtype: str | None = None) -> Tensor:
        """A gapless row-major tensor that holds ``array`` from load on; ``dtype`` is its storage type."""
        storage = dtype or self.storage(array.dtype, array.size)
        data = np.ascontiguousarray(storage_array(array, storage, f"constant '{label}'")).reshape(array.shape)
        slot = Slot(_padded(data.nbytes), label, data)
        return Tensor(slot, storage, array.shape, strides_of(array.shape))

    def once(self, key: tuple[Any, ...], make: Callable[[], Made]) -> Made:
        """What ``make`` makes of constants, made once for all that ask by ``key``."""
        if key not in self._made:
            self._made[key] = make()
        made: Made = self._made[key]
        return made

    def derived(self, value: Value, what: str, make: Callable[[], np.ndarray]) -> Tensor:
        """A constant that ``make`` computes of the constant ``value``; made once for all that ask for ``what``."""

        def constant() -> Tensor:
            array = make()
            return self.constant(array, f"{value.name}:{what}", self.storage(array.dtype, array.size))

        return self.once((value, what), constant)

    def storage(self, dtype: np.dtype[Any], size: int) -> str:
        """The storage type of a tensor of ``size`` elements; UnsupportedError for what the GPU does not have."""
        if dtype.name not in STORAGE:
            raise UnsupportedError(f"{self.node.label}: backend 'webgpu' has no {dtype.name}; use backend 'numpy'")
        kind = STORAGE[dtype.name]
        return "f16" if kind == "f32" and self.half and size >= HALF_FROM else kind

    def storage_of(self, value: Value) -> str:
        """The storage type of a value: what the host writes and reads stays float32, which it need not convert."""
        kind = self.storage(value.dtype, value.type.size)
        return "f32" if kind == "f16" and value in self._outside else kind

    # --- outputs ------------------------------------------------------------------------------------------------

    def output(
        self, node: Node, index: int = 0, *, order: Sequence[int] | None = None, reads: Sequence[Tensor] = ()
    ) -> Tensor:
        """A place for an output, its axes from outermost to innermost in ``order`` (default row-major).

        It may be a part of what a Concat will join; kernels therefore write by its strides. It never is in memory that
        holds one of ``reads``: a buffer cannot be read and written in one dispatch.
        """
        value = node.outputs[index]
        assert value is not None
        place = self._in_whole(value, order, reads)
        self._tensors[value] = place or self._new(value, order)
        return self._tensors[value]

    def wanted(self, node: Node, index: int) -> bool:
        """Whether anything reads the output at ``index``."""
        value = node.outputs[index] if index < len(node.outputs) else None
        return value is not None and (value in self.consumers or value in self.graph.outputs)

    def hand_on(self, node: Node, tensor: Tensor, index: int = 0) -> None:
        """Let ``tensor``, a view, be the node's output."""
        value = node.outputs[index]
        assert value is not None
        self._tensors[value] = tensor

    def scratch(self, shape: Sequence[int], dtype: str, label: str, order: Sequence[int] | None = None) -> Tensor:
        """Memory that dispatches of this node pass on among themselves."""
        nbytes = _padded(prod(shape) * ITEM_BYTES[dtype])
        return Tensor(Slot(nbytes, label), dtype, tuple(shape), strides_of(tuple(shape), order))

    def dispatch(self, dispatch: Dispatch) -> None:
        """Add a dispatch; one without rows is left out."""
        dispatch.op, dispatch.node = dispatch.op or self.node.op, dispatch.node or self.node.name
        if dispatch.rows > 0:
            self.dispatches.append(dispatch)

    def dense(self, tensor: Tensor, order: Sequence[int] | None = None) -> Tensor:
        """``tensor``, or a copy of it, as one gapless run with its axes in ``order`` (default row-major)."""
        return tensor if tensor.is_dense(order) else self.copied(tensor, order)

    def copied(self, tensor: Tensor, order: Sequence[int] | None = None, dtype: str | None = None) -> Tensor:
        """A gapless copy of ``tensor``, made once for all that ask."""
        from engine.gpu.kernels.elementwise import copy

        key = (tensor.slot, tensor.offset, tensor.shape, tensor.strides, tuple(order or ()), dtype or tensor.dtype)
        found = self._copies.get(key)
        if found is None:
            found = self.scratch(tensor.shape, dtype or tensor.dtype, f"{tensor.slot.label}:copy", order)
            copy(tensor, found, self)
            if tensor.slot.is_constant or not order:
                self._copies[key] = found
        return found

    def reshaped(self, tensor: Tensor, shape: Sequence[int]) -> Tensor:
        """The same elements in row-major order under another shape: a view where strides allow, else a copy."""
        view = tensor.reshape(tuple(shape))
        if view is None:
            view = self.copied(tensor).reshape(tuple(shape))
        assert view is not None
        return view

    # --- waiting nodes ------------------------------------------------------------------------------------------

    def defer(self, node: Node) -> None:
        """Keep ``node`` until something reads its first output."""
        self._deferred[node.output] = node

    def deferred(self, value: Value) -> Node | None:
        """The waiting node that makes ``value``, if one does."""
        return self._deferred.get(value)

    def take(self, value: Value) -> Node:
        """The waiting node that makes ``value``; it is the caller's now."""
        return self._deferred.pop(value)

    def read_once(self, value: Value) -> bool:
        """Whether one node alone reads ``value``, and it is no output of the graph."""
        return self.readers.get(value, 0) == 1 and value not in self.graph.outputs

    # --- parts of a Concat --------------------------------------------------------------------------------------

    def _new(self, value: Value, order: Sequence[int] | None) -> Tensor:
        return self.scratch(value.shape, self.storage_of(value), value.name, order)

    def whole(self, value: Value) -> Tensor:
        """The place of a Concat's output, made when the first of its parts is."""
        if value not in self._wholes:
            inner = self._in_whole(value, None, ())
            if inner is None:
                order = channels_last(len(value.shape)) if self._joined_on_channels(value) else None
                inner = self._new(value, order)
            self._wholes[value] = inner
        return self._wholes[value]

    def _joined_on_channels(self, value: Value) -> bool:
        return len(value.shape) >= 3 and any(part[0] is value and part[1] == 1 for part in self._joined.values())

    def _in_whole(self, value: Value, order: Sequence[int] | None, reads: Sequence[Tensor]) -> Tensor | None:
        part = self._joined.get(value)
        if part is None:
            return None
        target, axis, start = part
        whole = self.whole(target)
        same_type = whole.dtype == self.storage_of(value)
        in_order = whole.lies_in(range(whole.rank) if order is None else order)
        if not same_type or not in_order or any(whole.slot is tensor.slot for tensor in reads):
            return None
        return whole.slice(axis, start, value.shape[axis])


def _concat_parts(graph: Graph) -> dict[Value, tuple[Value, int, int]]:
    """For each value that a Concat joins: the Concat's output, the axis, and where on it the value begins."""
    parts: dict[Value, tuple[Value, int, int]] = {}
    for node in graph.nodes:
        if node.op != "Concat" or node.domain:
            continue
        axis, start = concat_axis(node, len(node.output.shape)), 0
        for value in node.used_inputs():
            if value not in parts and not value.is_constant and value not in graph.inputs and value.type.size:
                parts[value] = node.output, axis, start
            start += value.shape[axis]
    return parts


def _padded(nbytes: int) -> int:
    """Whole words, and one at least: bindings and copies are counted in them."""
    return max(4, -(-nbytes // 4) * 4)
