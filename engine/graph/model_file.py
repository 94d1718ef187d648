"""An ONNX file, parsed and checked as a file; nothing in it is bound or interpreted yet."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from engine import arguments
from engine.errors import InputError, ModelError, TooLargeError, UnsupportedError
from engine.graph import foreign, functions, mapped, tensors
from engine.graph.dtypes import byte_dtype, dtype_of, name_of
from engine.graph.unsupported_operators import domain_of, normalize_domain

OLDEST_OPSET = 7
"""Operator sets before 7 broadcast and pad by rules of their own; onnx's version converter lifts them."""

LARGEST = 2**31 - 1
"""Bytes of a file: protobuf ends there, and larger models keep their weights in external data."""

Dims = tuple[int | str, ...]
"""Declared dimensions: an integer, the name of a symbolic one, or "?" where it has none."""

# What stands at the end of a network without bounding its output, see `ModelFile.lacks_activation`.
_PRODUCTS = {"Conv", "ConvTranspose", "ConvInteger", "QLinearConv", "Gemm", "MatMul", "MatMulInteger", "QLinearMatMul"}
_AFFINE = {"Add", "Sub", "Sum", "Mul", "Div"}
_MOVES = {
    *("Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Split"),
    *("Resize", "Upsample", "BatchNormalization", "QuantizeLinear", "DequantizeLinear"),
}
_NUMBERS = {"Constant", "DynamicQuantizeLinear"}
"""What gives a number of the file, or the scale that an integer product is multiplied by."""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A parsed model.

    ``folder`` is where its external data lies; None for a model that came as bytes. ``versions`` maps each imported
    domain to its operator-set version. ``content`` is the file, mapped, where the weights lie that ``proto`` holds only
    the places of (`engine.graph.mapped`): it must not be cut short in place while they are in use.
    """

    proto: onnx.ModelProto
    folder: Path | None
    versions: dict[str, int]
    content: memoryview

    @staticmethod
    def read(model: str | Path | bytes) -> ModelFile:
        """Parse a path or the bytes of a file; what is no regular file, such as a pipe, is read once and held.

        Raises ModelError when it cannot be read or is no ONNX model, UnsupportedError for versions out of range,
        TooLargeError where there is no memory to hold it, InputError for what is neither path nor bytes.
        """
        what, folder = "the model given as bytes", None
        if isinstance(model, (bytearray, memoryview)):
            model = bytes(model)
        if isinstance(model, bytes):
            content = memoryview(model)
        else:
            arguments.check("model", model, (str, PathLike), "a path, the bytes of a file, or what was read of one")
            path = Path(model)
            what, folder = f"model '{path}'", path.parent
            try:
                if path.is_dir():
                    raise ModelError(f"{what} is a folder; name the .onnx file in it")
                content = mapped.contents(path, LARGEST)
            except (OSError, ValueError) as error:  # ValueError: a NUL in the name
                raise ModelError(f"{what} cannot be read: {getattr(error, 'strerror', None) or error}") from error
            except MemoryError as error:
                raise TooLargeError(f"{what} does not fit into the memory that is left") from error
        if not content:
            raise ModelError(f"{what} is empty; fetch it again")
        if len(content) > LARGEST:
            raise ModelError(
                f"{what} has {len(content):,} bytes, and an ONNX file at most {LARGEST:,}; export it with external data"
            )
        proto = onnx.ModelProto()
        try:
            proto.ParseFromString(mapped.without_weights(content))
        except DecodeError as error:
            other = foreign.describe(content) or "is not an ONNX file, or is cut short; fetch it again"
            raise ModelError(f"{what} {other}") from error
        if not proto.opset_import or not proto.graph.output:
            lack = "names no operator set" if proto.graph.output else "holds no graph with outputs"
            other = foreign.describe(content) or f"is not an ONNX file: it {lack}"
            raise ModelError(f"{what} {other}")
        if not (_names_are_text(proto.graph) and all(map(_names_are_text, proto.functions))):
            raise ModelError(f"{what} is damaged: it holds names that are not UTF-8; fetch it again")
        versions = _versions(proto)
        try:
            proto = functions.inline(proto)
        except Exception as error:  # the checks of onnx's C++ code raise types of their own
            raise ModelError(f"{what} has functions that cannot be inlined: {error}") from error
        return ModelFile(proto, folder, versions, content)

    @property
    def inputs(self) -> dict[str, Dims]:
        """The declared dimensions of each input that a run must be given, in order."""
        optional = self.optional_inputs
        return {info.name: declared_dims(info) for info in self.proto.graph.input if info.name not in optional}

    @property
    def optional_inputs(self) -> dict[str, Dims]:
        """The declared dimensions of each input that the file has a value for, which another may be bound over."""
        initializers = {tensor.name for tensor in self.proto.graph.initializer}
        return {info.name: declared_dims(info) for info in self.proto.graph.input if info.name in initializers}

    def input_dtype(self, name: str) -> np.dtype[Any]:
        """The dtype of the arrays that an input takes, bytes for 4-bit integers. Raises as ``element_dtype`` does."""
        return byte_dtype(self.element_dtype(name))

    def input_type(self, name: str) -> str:
        """What the elements of an input are, in a word: "float32", "int4". Raises as ``element_dtype`` does."""
        return name_of(self.element_dtype(name))

    def element_dtype(self, name: str) -> np.dtype[Any]:
        """What the elements of an input are.

        Raises UnsupportedError where it is no tensor, or of an unknown type, and InputError where there is no such one.
        """
        info = next((info for info in self.proto.graph.input if info.name == name), None)
        if info is None:
            names = [info.name for info in self.proto.graph.input]
            raise InputError(f"the model has no input '{name}'; its inputs are {names}")
        if not info.type.HasField("tensor_type"):
            raise UnsupportedError(f"input '{name}' is not a tensor")
        return dtype_of(info.type.tensor_type.elem_type, f"input '{name}'")

    @property
    def data_files(self) -> list[PurePosixPath]:
        """The files that hold its external data, relative to ``folder``; ModelError for one that lies outside."""
        return tensors.data_files(self.proto.graph)

    @property
    def outputs(self) -> list[str]:
        """The names of the model's outputs, in order."""
        return [output.name for output in self.proto.graph.output]

    def lacks_activation(self, output: str) -> bool:
        """Whether a convolution or matrix product gives the output its values, with nothing behind it to bound them.

        Additions, scales and what only moves, casts or quantises elements may stand behind it.
        """
        makers = {name: node for node in self.proto.graph.node for name in node.output}
        visited = {tensor.name for tensor in self.proto.graph.initializer}
        pending, has_product = [output], False
        while pending:
            name = pending.pop()
            if name in visited:
                continue
            visited.add(name)
            node = makers.get(name)
            if node is None or domain_of(node):
                return False
            if node.op_type in _PRODUCTS:
                has_product = True
            elif node.op_type in _AFFINE:
                pending.extend(node.input)
            elif node.op_type in _MOVES:
                pending.extend(node.input[:1])
            elif node.op_type not in _NUMBERS:
                return False
        return has_product


def declared_dims(info: onnx.ValueInfoProto) -> Dims:
    """The dimensions that a value is declared with; empty also where the shape is left out."""
    return tuple(
        # some exporters write -1 for a dimension they leave open
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else dim.dim_param or "?"
        for dim in info.type.tensor_type.shape.dim
    )


def _names_are_text(graph: onnx.GraphProto | onnx.FunctionProto) -> bool:
    """Whether every name is valid text: protobuf lets others through, as bytes."""
    names: list[str] = []
    if isinstance(graph, onnx.GraphProto):
        names += [entry.name for entry in (*graph.input, *graph.output)]
        names += [tensor.name for tensor in graph.initializer]
    for node in graph.node:
        names += [node.op_type, node.domain, node.name, *node.input, *node.output]
        names += [entry.name for entry in node.attribute]
        if not all(_names_are_text(entry.g) for entry in node.attribute if entry.HasField("g")):
            return False
    return all(isinstance(name, str) for name in names)


def _versions(proto: onnx.ModelProto) -> dict[str, int]:
    if proto.ir_version > onnx.IR_VERSION:
        raise UnsupportedError(
            f"ONNX IR version {proto.ir_version} is newer than the installed onnx package knows ({onnx.IR_VERSION}); "
            "upgrade onnx"
        )
    versions = {normalize_domain(entry.domain): entry.version for entry in proto.opset_import}
    version, newest = versions.get("", OLDEST_OPSET), onnx.defs.onnx_opset_version()
    if version < OLDEST_OPSET:
        raise UnsupportedError(
            f"operator set {version} is older than {OLDEST_OPSET}; lift the model with onnx.version_converter"
        )
    if version > newest:
        raise UnsupportedError(
            f"operator set {version} is newer than the installed onnx package knows ({newest}); upgrade onnx"
        )
    return versions
