"""Graph → dispatches: which kernel computes each node, and the layout of every tensor.

Kernels register themselves by operator (``lowers``). Each is a function that takes the node and the Lowering, asks it
for the input tensors and for an output tensor, and adds dispatches. The output of an operator that moves nothing is an
alias: a view of its input. Element-wise nodes wait (``defer``) until a reader needs them: chains of them become one
kernel, or the epilogue of the convolution or product that feeds them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from engine.caps import PORTABLE, Caps
from engine.errors import UnsupportedError
from engine.gpu.lowering.concat_parts import ConcatOutputs
from engine.gpu.lowering.refusals import refusal
from engine.gpu.lowering.storage import fits_half, parameters
from engine.gpu.lowering.table import Decision, Implementation, Layer, Table, check_choices
from engine.gpu.program.chain import ChainInput, Tree, chain_dispatches, copy_dispatches
from engine.gpu.program.dispatch import Dispatch
from engine.gpu.program.overlap import may_overlap
from engine.gpu.program.tensor import (
    Slot,
    Tensor,
    constant_tensor,
    is_wide,
    new_tensor,
    storage_array,
)
from engine.graph.bounds import needs_direct
from engine.graph.dtypes import name_of, whole_bytes
from engine.graph.ir import Graph, Node, TensorType, Value
from engine.ops.registry import MISFITS, misfit

Kernel = Callable[[Node, "Lowering"], None]

Emit = Callable[[Node, "Lowering", Tree, Node], None]
"""Lower a product: its node, the lowering, the chain from ``root`` to the result, and the chain's last node."""

Result = TypeVar("Result")

KERNELS: dict[tuple[str, str], Kernel] = {}

STORAGE = {
    **dict.fromkeys(("bool", "uint4", "uint8", "uint16", "uint32", "uint64"), "u32"),
    **dict.fromkeys(("int4", "int8", "int16", "int32", "int64"), "i32"),
    **dict.fromkeys(("float16", "float32"), "f32"),
}


def lowers(*ops: str, domain: str = "") -> Callable[[Kernel], Kernel]:
    """Register a kernel for those operators."""

    def register(kernel: Kernel) -> Kernel:
        for op in ops:
            KERNELS[domain, op] = kernel
        return kernel

    return register


@dataclass(frozen=True, slots=True)
class RowMoments:
    """Mean and sum of squared distances from it of each share of each row of a value, in the layout that kernels/
    convolution/row_moments.py has. A share is so many ``channels``; the last one may have fewer."""

    tensor: Tensor
    channels: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """A node that waits for its reader, and how it is lowered.

    ``lower`` lowers it with the nodes that wait under it. A product has ``emit``, which lowers it with a chain in its
    epilogue, and reads ``reads`` tensors itself.
    """

    node: Node
    lower: Kernel
    emit: Emit | None = None
    reads: int = 0


class Lowering:
    """The state of one lowering.

    Attributes:
        graph: the graph to lower.
        caps: what the device can do. Operands larger than one of its bindings are processed in ranges of rows.
        half: activations and the weights of products are stored as float16 (engine/gpu/lowering/storage.py).
        choices, preferences: implementations that are forced, or preferred (engine/gpu/lowering/table.py).
        outside: values that the host writes and reads as float32; default: the graph's inputs and outputs.
        concats: the outputs of Concats, which producers of their parts write views of.
        dispatches: the dispatches so far, in the order in which they run.
        nodes: for each dispatch the node that it computes; of a product with a chain in its epilogue the product.
        joined: for each node that another one's kernels compute so far, that one.
        row_moments: for each value whose kernel wrote moments of its rows so far, those.
        decisions: which rows of tables were taken so far, in order.
        keeps_nan: whether what is read at a place that is NaN must be NaN, not what stands outside: float32 on matrix
            units may have left it there, and is computed again only where NaN reaches an output.
    """

    def __init__(
        self,
        graph: Graph,
        caps: Caps = PORTABLE,
        *,
        half: bool = False,
        outside: Collection[Value] | None = None,
        choices: Mapping[str, str] | None = None,
        preferences: Mapping[str, str] | None = None,
    ) -> None:
        self.graph, self.caps, self.half, self.binding_limit = graph, caps, half, caps.binding_limit
        self.choices, self.preferences = dict(choices or {}), dict(preferences or {})
        check_choices(self.choices)
        self.keeps_nan = not half and caps.matrix_units is not None
        self.dispatches: list[Dispatch] = []
        self.nodes: list[Node] = []
        self.joined: dict[Node, Node] = {}
        self.row_moments: dict[Value, RowMoments] = {}
        self.decisions: list[Decision[Any]] = []
        self.node = self._product = Node("", [], [])
        self.consumers = graph.consumers()
        self._outside = {*graph.inputs, *graph.outputs} if outside is None else set(outside)
        self._parameters = parameters(graph) if half else set()
        self._tensors: dict[Value, Tensor] = {}
        self._waiting: dict[Value, Waiting] = {}
        self.concats = ConcatOutputs(graph, self.value_storage)
        self._copies: dict[tuple[Any, ...], tuple[Tensor, int]] = {}
        self._writes: dict[Slot, list[Tensor]] = {}
        self._memo: dict[tuple[Any, ...], Any] = {}

    def run(self) -> tuple[list[Tensor], list[Tensor]]:
        """Lower every node. Returns the tensors of the graph's inputs, and those of its outputs, each a dense run."""
        inputs = [self._new_tensor(value, None) for value in self.graph.inputs]
        self._tensors.update(zip(self.graph.inputs, inputs, strict=True))
        for node in self.graph.nodes:
            self.lower(node)
        outputs: list[Tensor] = []
        for value in self.graph.outputs:
            tensor = self.dense(self.tensor(value))
            # every output is read back from a slot of its own
            shared = tensor.slot.is_constant or any(tensor.slot is other.slot for other in (*inputs, *outputs))
            if shared or tensor.span() != (0, tensor.size):
                tensor = self.dense_copy(tensor)
            outputs.append(tensor)
        return inputs, outputs

    def lower(self, node: Node) -> None:
        """Add the dispatches of ``node``, or defer it. Raises ModelError where the node does not fit its operator.

        A node whose output an earlier kernel wrote beside its own needs none.
        """
        if node.output in self._tensors:
            return
        outer = self.node, self._product
        self.node = self._product = node
        try:
            reason = refusal(node, self.caps, self.half)
            if reason is not None:
                raise UnsupportedError(f"{node.label}: {reason}; use backend 'numpy'")
            KERNELS[node.domain, node.op](node, self)
        except MISFITS as error:
            raise misfit(node, error) from error
        finally:
            self.node, self._product = outer

    def choose(self, table: Table[Layer], layer: Layer) -> Implementation[Layer]:
        """The implementation of a layer: the first of the table that supports and suits it, or the forced one."""
        row = table.choose(layer, self.caps, self.choices, self.preferences)
        self.decisions.append(Decision(self._product, table, layer, row, self.caps, self.choices))
        return row

    def has_extremes(self) -> bool:
        """Whether a layer of the graph has extreme weights, so that all must be summed by their definitions."""
        return self.memoise(("extremes",), lambda: needs_direct(self.graph))

    # --- inputs -------------------------------------------------------------------------------------------------

    def tensor(self, value: Value) -> Tensor:
        """The tensor of ``value``. A deferred node that computes it is lowered now."""
        if value in self._waiting:
            waiting = self._waiting.pop(value)
            outer = self.node, self._product
            self.node = self._product = waiting.node
            waiting.lower(waiting.node, self)
            self.node, self._product = outer
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
        """A gapless row-major tensor that holds ``array`` from load on.

        ``dtype`` is its storage type, by default that of a parameter; a product's weights have ``weight_storage``.
        """
        array = whole_bytes(array)
        storage = dtype or self.parameter_storage(array.dtype)
        if is_wide(array.dtype):  # refused now, not when it is uploaded
            array = storage_array(array, storage, f"constant '{label}'")
        return constant_tensor(lambda: array, label, storage, array.shape)

    def memoise(self, key: tuple[Any, ...], compute: Callable[[], Result]) -> Result:
        """The result of ``compute``, a function of constants alone, which is called once for each ``key``."""
        if key not in self._memo:
            self._memo[key] = compute()
        result: Result = self._memo[key]
        return result

    def derived_constant(
        self,
        value: Value,
        form: str,
        compute: Callable[[], np.ndarray],
        dtype: str | None = None,
        kind: TensorType | None = None,
    ) -> Tensor:
        """A constant that ``compute`` derives from the constant ``value``, memoised for each ``form`` and ``dtype``.

        Where its type, ``kind``, is given, ``compute`` is called when the constant is uploaded, and may be again; else
        now. Large constants are given so: no two of them are held at a time.
        """

        def constant() -> Tensor:
            label = f"{value.name}:{form}"
            if kind is None or is_wide(kind.dtype):
                return self.constant(compute(), label, dtype)
            return constant_tensor(compute, label, dtype or self.parameter_storage(kind.dtype), kind.shape)

        return self.memoise((value, form, dtype), constant)

    def factor(self, node: Node, index: int) -> Tensor:
        """The tensor of an input that a product multiplies: of a constant, as weights."""
        value = node.input(index)
        if value.data is None:
            return self.tensor(value)
        data = value.data
        return self.derived_constant(value, "weights", lambda: data, dtype=self.weight_storage(value), kind=value.type)

    def parameter_storage(self, dtype: np.dtype[Any]) -> str:
        """The storage type of what is no activation and no weight. UnsupportedError where the GPU has none."""
        name = name_of(dtype)
        if name not in STORAGE:
            raise UnsupportedError(f"{self.node.label}: backend 'webgpu' has no {name}; use backend 'numpy'")
        return STORAGE[name]

    def storage(self, dtype: np.dtype[Any]) -> str:
        """The storage type of an activation. Raises UnsupportedError where the GPU has none."""
        kind = self.parameter_storage(dtype)
        return "f16" if kind == "f32" and self.half else kind

    def weight_storage(self, value: Value) -> str:
        """The storage type of a product's weights: float32 in half precision too where float16 would overflow."""
        kind = self.storage(value.dtype)
        data = value.data
        if kind == "f16" and data is not None and not self.memoise((value, "fits"), lambda: fits_half(data)):
            return "f32"
        return kind

    def value_storage(self, value: Value) -> str:
        """The storage type of a value. Values of ``outside`` stay float32, which the host need not convert."""
        is_single = value in self._outside or value in self._parameters
        return self.parameter_storage(value.dtype) if is_single else self.storage(value.dtype)

    # --- outputs ------------------------------------------------------------------------------------------------

    def output(
        self,
        node: Node,
        index: int = 0,
        *,
        order: Sequence[int] | None = None,
        reads: Sequence[Tensor] = (),
        twin: Tensor | None = None,
    ) -> Tensor:
        """The tensor to write an output to, its axes from outermost to innermost in ``order`` (default row-major).

        It may be a view of the output of a Concat that reads the value, so kernels write by its strides. It never lies
        in the slot of one of ``reads``: a buffer cannot be read and written in one dispatch. A kernel that writes the
        result into its ``twin`` too gets a tensor outside of the Concat's output.
        """
        value = node.outputs[index]
        assert value is not None
        view = None if twin is not None else self.concats.view(value, order, reads)
        self._tensors[value] = view or self._new_tensor(value, order)
        if twin is not None:
            self.concats.add_twin(value)
        return self._tensors[value]

    def is_read(self, node: Node, index: int) -> bool:
        """Whether anything reads the output at ``index``."""
        value = node.outputs[index] if index < len(node.outputs) else None
        return value is not None and (value in self.consumers or value in self.graph.outputs)

    def alias(self, node: Node, tensor: Tensor, index: int = 0) -> None:
        """Make the node's output an alias of ``tensor``, a view."""
        value = node.outputs[index]
        assert value is not None
        self._tensors[value] = tensor

    def scratch(self, shape: Sequence[int], dtype: str, label: str, order: Sequence[int] | None = None) -> Tensor:
        """A gapless tensor in a slot of its own, for intermediate results of the node."""
        return new_tensor(tuple(shape), dtype, label, order=order)

    def dispatch(self, dispatch: Dispatch) -> None:
        """Add a dispatch, unless it has no rows."""
        dispatch.op, dispatch.node = dispatch.op or self.node.op, dispatch.node or self.node.name
        if dispatch.rows > 0:
            self.dispatches.append(dispatch)
            self.nodes.append(self._product)
            for operand in dispatch.writes:
                self._writes.setdefault(operand.tensor.slot, []).append(operand.tensor)

    def elementwise(self, tree: Tree, reads: Sequence[ChainInput], y: Tensor, *, dtype: np.dtype[Any]) -> None:
        """Add the dispatches that evaluate ``tree``, whose result is of ``dtype``, over all of ``y``."""
        for dispatch in chain_dispatches(tree, reads, y, dtype=dtype, binding_limit=self.binding_limit):
            self.dispatch(dispatch)

    def copy(self, x: Tensor, y: Tensor) -> None:
        """Add the dispatches that copy ``x`` into ``y``, which has its shape; float types convert."""
        for dispatch in copy_dispatches(x, y, binding_limit=self.binding_limit):
            self.dispatch(dispatch)

    def dense(self, tensor: Tensor, order: Sequence[int] | None = None) -> Tensor:
        """``tensor`` where it is a gapless run with its axes in ``order`` (default row-major), else a copy that is."""
        return tensor if tensor.is_dense(order) else self.dense_copy(tensor, order)

    def dense_copy(self, tensor: Tensor, order: Sequence[int] | None = None, dtype: str | None = None) -> Tensor:
        """A gapless copy of ``tensor``, made once: anew only where something may have written there since."""
        order = tuple(range(tensor.rank)) if order is None else tuple(order)
        key = (tensor.slot, tensor.offset, tensor.shape, tensor.strides, order, dtype or tensor.dtype)
        writes = self._writes.get(tensor.slot, [])
        duplicate, seen = self._copies.get(key, (None, 0))
        if duplicate is None or any(may_overlap(tensor, written) for written in writes[seen:]):
            duplicate = self.scratch(tensor.shape, dtype or tensor.dtype, f"{tensor.slot.label}:copy", order)
            self.copy(tensor, duplicate)
            self._copies[key] = duplicate, len(writes)
        return duplicate

    def reshape(self, tensor: Tensor, shape: Sequence[int]) -> Tensor:
        """The same elements in row-major order under another shape: a view where strides allow, else a copy."""
        view = tensor.reshape(tuple(shape))
        return self.dense_copy(tensor).view(tuple(shape)) if view is None else view

    # --- deferred nodes -----------------------------------------------------------------------------------------

    def defer(self, waiting: Waiting) -> None:
        """Let a node wait until something reads its first output."""
        self._waiting[waiting.node.output] = waiting

    def waiting(self, value: Value) -> Waiting | None:
        """The node that computes ``value`` where it waits, and how it is lowered; else None."""
        return self._waiting.get(value)

    def pop_waiting(self, value: Value) -> Node:
        """Remove the node that computes ``value`` from those that wait, for the caller to lower. Returns it."""
        node = self._waiting.pop(value).node
        self.joined[node] = self.node
        return node

    def emit_product(self, value: Value, emit: Emit, tree: Tree, last: Node) -> None:
        """Lower the product that computes ``value``, which waits, with the chain ``tree`` up to ``last``."""
        outer, self._product = self._product, self._waiting.pop(value).node
        chain = [last, *(node for node, reader in self.joined.items() if reader is last)]
        self.joined.update(dict.fromkeys(chain, self._product))
        emit(self._product, self, tree, last)
        self._product = outer

    def has_one_reader(self, value: Value) -> bool:
        """Whether exactly one node reads ``value``, and ``value`` is no output of the graph."""
        return len(self.consumers.get(value, ())) == 1 and value not in self.graph.outputs

    def _new_tensor(self, value: Value, order: Sequence[int] | None) -> Tensor:
        return self.scratch(value.shape, self.value_storage(value), value.name, order)
