"""The table of operators: what each means (``reference``) and what it makes of its inputs' types (``infer``)."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.errors import EngineError, ModelError, TooLargeError
from engine.forks import numerics
from engine.graph.dtypes import name_of
from engine.graph.ir import Node, TensorType
from engine.ops.files import FILE_OF, FILES

Arrays = tuple[np.ndarray, ...]


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator over a range of operator-set versions.

    ``static`` lists the inputs that decide shapes (the target of a Reshape, the sizes of a Resize): the loader must be
    able to compute them, since everything is static once the input shapes are bound. ``workspace`` gives the bytes that
    the reference takes beside inputs and outputs, where they do not follow from these.
    """

    op: str
    domain: str
    since: int
    until: int | None
    static: tuple[int, ...]
    infer: Callable[[Node], list[TensorType]]
    reference: Callable[..., np.ndarray | Arrays]
    workspace: Callable[[Node], int]


_OPERATORS: dict[tuple[str, str], list[Operator]] = {}


def operator(
    *names: str, domain: str = "", since: int = 1, until: int | None = None, static: Sequence[int] = ()
) -> Callable[[Any], Any]:
    """Register the decorated class as the meaning of ``names``.

    The class has two static methods: ``infer(node) -> list[TensorType]``, one type for each output the node may have,
    and ``reference(node, *arrays)``, which gets None for an omitted input and returns one array or a tuple of them.
    A third, ``workspace(node) -> int``, is for one that takes much memory beside its inputs and outputs. ``since`` and
    ``until`` are inclusive operator-set versions of ``domain``.
    """

    def register(implementation: Any) -> Any:
        for name in names:
            entry = Operator(
                op=name,
                domain=domain,
                since=since,
                until=until,
                static=tuple(static),
                infer=implementation.infer,
                reference=implementation.reference,
                workspace=getattr(implementation, "workspace", _no_workspace),
            )
            _OPERATORS.setdefault((domain, name), []).append(entry)
        return implementation

    return register


def _no_workspace(_: Node) -> int:
    return 0


def lookup(domain: str, op: str, version: int) -> Operator | None:
    """The operator that gives ``op`` its meaning at that operator-set version, or None where there is none."""
    if op in FILE_OF and (domain, op) not in _OPERATORS:
        importlib.import_module(f"engine.ops.{FILE_OF[op]}")
    for entry in _OPERATORS.get((domain, op), ()):
        if entry.since <= version and (entry.until is None or version <= entry.until):
            return entry
    return None


def operators() -> list[Operator]:
    """Every operator, by domain and name."""
    for file in FILES:
        importlib.import_module(f"engine.ops.{file}")
    return [entry for key in sorted(_OPERATORS) for entry in _OPERATORS[key]]


def operator_of(node: Node) -> Operator:
    """The operator of ``node``; ModelError where coverage let something unknown through."""
    entry = lookup(node.domain, node.op, node.version)
    if entry is None:
        raise ModelError(f"{node.label}: no such operator in domain '{node.domain}' at version {node.version}")
    return entry


MISFITS = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError),
    MemoryError,
)
"""What an operator's ``infer``, ``reference`` or kernel raises on inputs or attributes that it does not take."""


class MisfitError(ModelError):
    """The shapes, types or values that reach a node are none that its operator takes."""


def misfit(node: Node, error: Exception) -> EngineError:
    """The error to raise for one of MISFITS: a MisfitError, or a TooLargeError where memory ran out."""
    types = ", ".join("-" if value is None else str(value.named_type) for value in node.inputs)
    if isinstance(error, MemoryError):
        return TooLargeError(
            f"{node.label}: inputs ({types}) take more memory than this machine has left; use a smaller input shape or "
            "a smaller model"
        )
    return MisfitError(f"{node.label}: inputs ({types}) do not fit the operator: {error or type(error).__name__}")


def infer(node: Node) -> list[TensorType]:
    """The types of the node's outputs, from the types of its inputs and the values of its static inputs.

    Raises ModelError when a static input is not constant or the inputs do not fit the operator, and TooLargeError where
    memory runs out.
    """
    entry = operator_of(node)
    for index in entry.static:
        value = node.optional_input(index)
        if value is not None and not value.is_constant:
            raise ModelError(
                f"{node.label}: input {index} ('{value.name}') decides a shape and depends on the data; "
                "bind it to a value at load"
            )
    try:
        with np.errstate(all="ignore"):
            return entry.infer(node)
    except MISFITS as error:
        raise misfit(node, error) from error


def apply_reference(node: Node, arrays: Sequence[np.ndarray | None]) -> Arrays:
    """What the node's reference makes of ``arrays``, which may be parts of the node's inputs; nothing is checked.

    Raises ModelError when the arrays do not fit the operator, such as an index outside of what it selects from, and
    TooLargeError where memory runs out.
    """
    try:
        with numerics.shared(), np.errstate(all="ignore"):  # infinities and NaN are results, as IEEE 754 has them
            result = operator_of(node).reference(node, *arrays)
    except MISFITS as error:
        raise misfit(node, error) from error
    return result if isinstance(result, tuple) else (result,)


def evaluation_bytes(node: Node) -> int:
    """Bytes to allow for when ``node`` runs by its reference, its outputs included.

    Most references make one more array like their outputs on the way.
    """
    try:
        workspace = operator_of(node).workspace(node)
    except MISFITS as error:
        raise misfit(node, error) from error
    return 2 * sum(value.type.nbytes for value in node.used_outputs()) + workspace


def evaluate(node: Node, arrays: Sequence[np.ndarray | None]) -> Arrays:
    """Run ``node`` by its reference. Returns one array for each output the node may have.

    Where no output has an element nothing is computed, as on every backend. Checks each named output against the
    inferred type: an oracle that disagrees with itself must not go unnoticed. Raises what ``apply_reference`` raises.
    """
    if not any(value.type.size for value in node.used_outputs()):
        return tuple(np.empty(value.shape if value else 0, value.dtype if value else None) for value in node.outputs)
    outputs = apply_reference(node, arrays)
    for value, array in zip(node.outputs, outputs, strict=False):
        if value is not None and (array.shape != value.shape or array.dtype != value.dtype):
            raise ModelError(f"{node.label}: reference gave {name_of(array.dtype)}{list(array.shape)} for {value.type}")
    return outputs
