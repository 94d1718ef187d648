"""Checks of a node against the ONNX signature of its operator: number and types of inputs, kinds of attributes.

Arithmetic takes more types of numbers than ONNX allows, as every backend computes them alike. What is no arithmetic
must have the type that ONNX gives it: indices, axes and sizes, conditions, quantised bytes. What has floats alone in
ONNX must have floats: each backend would round the mean, norm or exponential of integers in its own way. ONNX Runtime
refuses all others too.

Newer versions of an operator compute with more types, and let more inputs be left out, with the same meaning.
Exporters have written such nodes into files of older operator sets. So what the newest version allows there, an older
one does too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from engine.errors import ModelError
from engine.graph.dtypes import DTYPES, is_four_bit, name_of
from engine.graph.ir import Node

ONNX_NAMES = {dtype: f"tensor({TensorProto.DataType.Name(number).lower()})" for number, dtype in DTYPES.items()}
"""What schemas call each dtype."""

NO_ARITHMETIC = tuple(
    frozenset(map(np.dtype, dtypes)) for dtypes in ((np.int32, np.int64), (np.int8, np.uint8), (np.bool_,))
)
"""The types of indices, of quantised bytes and of conditions: an input that may have these alone is held to them."""

MANY = 1000
"""Inputs beyond which a schema means any number."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """An input of an operator.

    ``dtypes`` are those that ONNX allows it, and ``newest_dtypes`` those of the newest version of the operator.
    ``variable`` is the type variable that it shares with others. ``is_optional`` says whether a node may leave it out.
    """

    name: str
    dtypes: frozenset[np.dtype[Any]]
    newest_dtypes: frozenset[np.dtype[Any]]
    variable: str | None
    is_optional: bool

    def refuses(self, dtype: np.dtype[Any]) -> bool:
        """Whether ONNX does not allow the dtype, and the engine follows."""
        if dtype in self.dtypes:
            return False
        if is_four_bit(dtype) or any(self.dtypes <= kind for kind in NO_ARITHMETIC):
            return True
        known_dtypes = self.dtypes | self.newest_dtypes
        takes_floats_alone = all(known.kind == "f" for known in known_dtypes)
        return dtype not in known_dtypes and (dtype == np.bool_ or (takes_floats_alone and dtype.kind != "f"))


@dataclass(frozen=True, slots=True)
class Signature:
    """What a schema says of an operator; the last of ``parameters`` stands for all inputs from there on."""

    min_inputs: int
    max_inputs: int
    parameters: tuple[Parameter, ...]
    attributes: Mapping[str, int]


@cache
def signature(op: str, version: int, domain: str) -> Signature | None:
    """The signature of an operator at an operator-set version; None where onnx has no schema of it."""
    try:
        schema = onnx.defs.get_schema(op, version, domain)
    except onnx.defs.SchemaError:
        return None
    newest = onnx.defs.get_schema(op, domain).inputs
    parameters = tuple(
        _parameter(parameter, newest[index] if index < len(newest) else parameter)
        for index, parameter in enumerate(schema.inputs)
    )
    # the enumeration's stub names no members
    kinds = {name: int(attribute.type.value) for name, attribute in schema.attributes.items()}  # type: ignore[attr-defined]
    return Signature(schema.min_input, schema.max_input, parameters, kinds)


def _parameter(parameter: onnx.defs.OpSchema.FormalParameter, newest: onnx.defs.OpSchema.FormalParameter) -> Parameter:
    optional = onnx.defs.OpSchema.FormalParameterOption.Optional
    return Parameter(
        parameter.name,
        _dtypes(parameter),
        _dtypes(newest),
        parameter.type_str if parameter.is_homogeneous and "(" not in parameter.type_str else None,
        is_optional=optional in (parameter.option, newest.option),
    )


def _dtypes(parameter: onnx.defs.OpSchema.FormalParameter) -> frozenset[np.dtype[Any]]:
    return frozenset(dtype for dtype, name in ONNX_NAMES.items() if name in parameter.types)


def check(proto: onnx.NodeProto, node: Node) -> None:
    """ModelError unless the inputs and attributes of ``node``, read from ``proto``, are what its operator takes."""
    expected = signature(node.op, node.version, node.domain)
    if expected is None:
        return
    if not expected.min_inputs <= len(node.inputs) <= expected.max_inputs:
        raise ModelError(f"{node.label}: {len(node.inputs)} inputs, the operator takes {_span(expected)}")
    bindings: dict[str, np.dtype[Any]] = {}
    for index, value in enumerate(node.inputs):
        parameter = expected.parameters[min(index, len(expected.parameters) - 1)]
        if value is None:
            if not parameter.is_optional:
                raise ModelError(f"{node.label}: required input {index} is missing")
            continue
        if parameter.refuses(value.dtype):
            raise ModelError(
                f"{node.label}: its {parameter.name} '{value.name}' is {name_of(value.dtype)}; ONNX allows "
                f"{', '.join(sorted(map(name_of, parameter.dtypes))) or 'no type that the engine holds'}"
            )
        if parameter.variable and bindings.setdefault(parameter.variable, value.dtype) != value.dtype:
            raise ModelError(
                f"{node.label}: its {parameter.name} '{value.name}' is {name_of(value.dtype)} beside an input of "
                f"{name_of(bindings[parameter.variable])}; ONNX allows one type for both"
            )
    for entry in proto.attribute:
        kind = expected.attributes.get(entry.name)
        if kind is not None and kind != entry.type:
            names = onnx.AttributeProto.AttributeType.Name
            raise ModelError(
                f"{node.label}: attribute {entry.name} is of type {names(entry.type)}; ONNX has it as {names(kind)}"
            )


def _span(expected: Signature) -> str:
    low, high = expected.min_inputs, expected.max_inputs
    if low == high:
        return str(low)
    return f"{low} or more" if high > MANY else f"{low} to {high}"
