"""A model ready to run: file, input shapes, backend and precision fixed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from engine.cpu import blas
from engine.cpu.executor import NumpyExecutor
from engine.cpu.interpreter import ReferenceExecutor
from engine.cpu.kernel import Observer
from engine.errors import BackendError, InputError
from engine.graph.ir import Value
from engine.graph.load import load
from engine.graph.model_file import ModelFile
from engine.graph.passes import optimize

BACKENDS = ("auto", "numpy", "reference")


class Executor(Protocol):
    """What a backend makes of a graph."""

    activation_bytes: int
    scratch_bytes: int

    def run(self, inputs: Sequence[np.ndarray], observe: Observer | None = None) -> list[np.ndarray]: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One input or output of a session."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """What will run, and on what.

    ``nodes_in_file`` counts the nodes of the model, ``nodes_loaded`` those left after folding shapes and constants and
    pruning, ``nodes_planned`` those after the passes, and ``passes`` how often each fired. ``weight_bytes`` is what the
    loaded constants take, ``peak_activation_bytes`` the planned peak of everything that a run makes, and
    ``scratch_bytes`` what the workers use beside it.
    """

    backend: str
    device: str
    precision: str
    nodes_in_file: int
    nodes_loaded: int
    nodes_planned: int
    weight_bytes: int
    peak_activation_bytes: int
    scratch_bytes: int
    passes: dict[str, int] = field(default_factory=dict)


class Session:
    """An ONNX model bound to a backend.

    ``model`` is a path, the file's bytes, or a ModelFile read before. ``backend`` is "numpy" (fast algorithms),
    "reference" (the oracle: operator by operator, nothing fused) or "auto". ``precision`` is "f32"; float16 models are
    computed in float32 by "numpy". ``input_shapes`` binds symbolic dimensions by input name, ``input_values`` binds
    whole inputs to constants. ``outputs`` names the values to keep: None for the model's first output, "all", or a
    list.

    Raises BackendError for a backend or precision that is not there, and what ``engine.graph.load.load`` raises.
    """

    def __init__(
        self,
        model: str | Path | bytes | ModelFile,
        *,
        backend: str = "auto",
        precision: str = "f32",
        input_shapes: Mapping[str, Sequence[int]] | None = None,
        outputs: Sequence[str] | str | None = None,
        input_values: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        _check(backend, precision)
        self._closed = False
        file = model if isinstance(model, ModelFile) else ModelFile.read(model)
        graph = load(file, input_shapes=input_shapes, outputs=outputs, input_values=input_values)
        in_file = len(file.proto.graph.node)
        del file  # its weights, where no one else holds it, before the executor makes its own
        self.inputs = _infos(graph.inputs)
        self.outputs = _infos(graph.outputs)
        loaded = len(graph.nodes)
        passes: dict[str, int] = {}
        self._executor: Executor
        if backend == "reference":
            self._executor = ReferenceExecutor(graph)
            device = blas.describe(1)
        else:
            passes = optimize(graph)
            executor = NumpyExecutor(graph)
            device, self._executor = blas.describe(executor.pool.threads), executor
        self.info = SessionInfo(
            backend="numpy" if backend == "auto" else backend,
            device=device,
            precision=precision,
            nodes_in_file=in_file,
            nodes_loaded=loaded,
            nodes_planned=len(graph.nodes),
            weight_bytes=sum(value.type.nbytes for value in graph.constants()),
            peak_activation_bytes=self._executor.activation_bytes,
            scratch_bytes=self._executor.scratch_bytes,
            passes=passes,
        )

    def run(
        self,
        inputs: Mapping[str, np.ndarray],
        *,
        allow_nan: bool = False,
        observe: Observer | None = None,
    ) -> dict[str, np.ndarray]:
        """Compute the outputs, by name, from all inputs, by name.

        ``observe`` is called with the operator, the node's name and the seconds it took; it must not run a session.
        Raises InputError when an
        input is missing, unknown, has another dtype or shape than the model's, or holds NaN (unless ``allow_nan``).
        """
        if self._closed:
            raise BackendError("the session is closed; open another to run the model again")
        unknown = [name for name in inputs if name not in {info.name for info in self.inputs}]
        if unknown:
            raise InputError(f"the model has no input {unknown}; its inputs are {[info.name for info in self.inputs]}")
        arrays = [_fitting(info, inputs.get(info.name), allow_nan) for info in self.inputs]
        results = self._executor.run(arrays, observe)
        return {info.name: array for info, array in zip(self.outputs, results, strict=True)}

    def close(self) -> None:
        """Free the backend's threads; the session cannot run afterwards."""
        self._closed = True
        self._executor.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _check(backend: str, precision: str) -> None:
    if backend == "webgpu":
        raise BackendError("backend 'webgpu' is not in this version yet; use 'numpy'")
    if backend not in BACKENDS:
        raise BackendError(f"backend '{backend}' is unknown; choose one of {', '.join(BACKENDS)}")
    if precision != "f32":
        raise BackendError(f"precision '{precision}' is not available on the CPU; use 'f32'")


def _infos(values: Sequence[Value]) -> list[TensorInfo]:
    return [TensorInfo(value.name, value.dtype, value.shape) for value in values]


def _fitting(info: TensorInfo, given: np.ndarray | None, allow_nan: bool) -> np.ndarray:
    if given is None:
        raise InputError(f"input '{info.name}' is missing; it takes {info.dtype.name}{list(info.shape)}")
    try:
        array = np.asarray(given)
    except ValueError as error:
        raise InputError(f"input '{info.name}' is no array: {error}") from error
    if array.dtype != info.dtype or array.shape != info.shape:
        raise InputError(
            f"input '{info.name}' takes {info.dtype.name}{list(info.shape)}; "
            f"it was given {array.dtype.name}{list(array.shape)}"
        )
    if array.dtype.kind == "f" and not allow_nan and np.isnan(array).any():
        raise InputError(f"input '{info.name}' holds NaN")
    return array
