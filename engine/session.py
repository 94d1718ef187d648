"""A model ready to run: file, input shapes, backend, adapter and precision fixed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from engine.cpu import blas
from engine.cpu.executor import NumpyExecutor
from engine.cpu.interpreter import ReferenceExecutor
from engine.cpu.kernel import Observer
from engine.errors import BackendError, InputError
from engine.gate import Gate
from engine.gpu.device.adapters import Adapter, adapters
from engine.gpu.device.choice import choose, no_adapter
from engine.gpu.device.device import open_device
from engine.graph.ir import Graph, Value
from engine.graph.load import load
from engine.graph.model_file import ModelFile
from engine.graph.passes import optimize
from engine.kernel_time import KernelTime

BACKENDS = ("auto", "webgpu", "numpy", "reference")
PRECISIONS = ("f32", "f16")


@runtime_checkable
class Executor(Protocol):
    """What a backend makes of a graph: all that a session asks of it.

    Memory in bytes: ``weight_bytes`` of the constants, ``activation_bytes`` allocated for what a run makes,
    ``peak_bytes`` the most of it in use at once, ``scratch_bytes`` beside it. ``milliseconds`` is the wall time of the
    last run by stage, empty where a run has no stages beside its nodes.
    """

    weight_bytes: int
    peak_bytes: int
    activation_bytes: int
    scratch_bytes: int

    @property
    def milliseconds(self) -> Mapping[str, float]: ...

    def run(self, inputs: Sequence[np.ndarray], observe: Observer | None = None) -> list[np.ndarray]: ...

    def profile(self, inputs: Sequence[np.ndarray]) -> list[KernelTime]: ...

    def gpu_seconds(self, runs: int = 1) -> list[float]: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One input or output of a session."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """What will run, and on what; ``reason`` says why "auto" chose that backend, or that it was asked for.

    ``nodes_in_file`` counts the nodes of the model, ``nodes_loaded`` those left after folding shapes and constants and
    pruning, ``nodes_planned`` those after the passes, and ``passes`` how often each fired. ``weight_bytes`` is what the
    loaded constants take, ``peak_activation_bytes`` the planned peak of everything that a run makes,
    ``activation_buffer_bytes`` what is allocated for it, and ``scratch_bytes`` what the workers use beside it.
    """

    backend: str
    device: str
    reason: str
    precision: str
    nodes_in_file: int
    nodes_loaded: int
    nodes_planned: int
    weight_bytes: int
    peak_activation_bytes: int
    activation_buffer_bytes: int
    scratch_bytes: int
    passes: dict[str, int] = field(default_factory=dict)


class Session:
    """An ONNX model bound to a backend.

    ``model`` is a path, the file's bytes, or a ModelFile read before. ``backend`` is "webgpu", "numpy" (fast
    algorithms), "reference" (the oracle: operator by operator, nothing fused) or "auto": webgpu on a hardware adapter,
    else numpy. ``adapter`` picks one for webgpu: an index, an implementation or part of a name, as ``nss-wgpu devices``
    lists them. ``precision`` is "f32", or on webgpu "f16": float16 in memory, float32 in every sum. float16 models are
    computed in float32 by "numpy". ``input_shapes`` binds symbolic dimensions by input name, ``input_values`` binds
    whole inputs to constants. ``outputs`` names the values to keep: None for the model's first output, "all", or a
    list.

    Any thread may use a session: runs on one processor or one GPU take turns, and give what one thread alone gets, bit
    for bit. ``close`` waits for those that have begun. A forked child may run a session of its parent on "numpy" and
    "reference"; on webgpu it gets a BackendError, as does a new one there once the parent has used WebGPU: make it
    after the fork, or use spawn.

    Raises BackendError for a backend, adapter or precision that is not there, and what ``engine.graph.load.load``
    raises. A graph runs wholly on the backend that was asked for, or is refused.
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
        adapter: str | int | None = None,
    ) -> None:
        target = _resolve(backend, precision, adapter)
        self._gate = Gate(_closed_error)
        file = model if isinstance(model, ModelFile) else ModelFile.read(model)
        with np.errstate(all="ignore"):  # infinities and NaN are results, also of what is computed before a run
            graph = load(file, input_shapes=input_shapes, outputs=outputs, input_values=input_values)
            nodes_in_file = len(file.proto.graph.node)
            del file  # its weights, where no one else holds it, before the executor makes its own
            self.inputs = _infos(graph.inputs)
            self.outputs = _infos(graph.outputs)
            nodes_loaded = len(graph.nodes)
            passes = {} if target.backend == "reference" else optimize(graph)
            self._target, self._precision = target, precision
            self._executor, device = _executor(graph, target, precision)
        self.info = SessionInfo(
            backend=target.backend,
            device=device,
            reason=target.reason,
            precision=precision,
            nodes_in_file=nodes_in_file,
            nodes_loaded=nodes_loaded,
            nodes_planned=len(graph.nodes),
            weight_bytes=self._executor.weight_bytes,
            peak_activation_bytes=self._executor.peak_bytes,
            activation_buffer_bytes=self._executor.activation_bytes,
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

        ``observe`` is called with the operator, the node's name and the seconds it took; it must not run or close a
        session. Raises InputError when an input is missing, unknown, has another dtype or shape than the model's, or
        holds NaN (unless ``allow_nan``); BackendError when the session is closed; DeviceLostError when the GPU went
        away, after which another session gets a new device.
        """
        with self._gate.entered():
            results = self._executor.run(self._arrays(inputs, allow_nan), observe)
        return {info.name: array for info, array in zip(self.outputs, results, strict=True)}

    def profile(self, inputs: Mapping[str, np.ndarray]) -> list[KernelTime]:
        """Run once, timing each kernel: on webgpu by the GPU's own clock, otherwise node by node.

        Raises BackendError where the adapter has no timestamps, and what ``run`` raises.
        """
        with self._gate.entered():
            return self._executor.profile(self._arrays(inputs, False))

    def gpu_seconds(self, runs: int = 1) -> list[float]:
        """What ``runs`` runs take by the GPU's own clock, on the inputs of the last one, without upload and readback.

        Raises BackendError on other backends than webgpu, and where the adapter has no timestamps.
        """
        with self._gate.entered():
            return self._executor.gpu_seconds(runs)

    @property
    def milliseconds(self) -> dict[str, float]:
        """Wall time of the last run, whichever thread's, by stage, on webgpu: upload, encode, wait; else empty."""
        return dict(self._executor.milliseconds)

    def executor(self, part: Graph, whole: Graph) -> Executor:
        """Another executor of this session's kind, for a part of a graph that the passes have gone over.

        Values are stored in the precision that they have in the whole. The caller closes it.
        """
        return _executor(part, self._target, self._precision, outside=(*whole.inputs, *whole.outputs))[0]

    def _arrays(self, inputs: Mapping[str, np.ndarray], allow_nan: bool) -> list[np.ndarray]:
        unknown = [name for name in inputs if name not in {info.name for info in self.inputs}]
        if unknown:
            raise InputError(f"the model has no input {unknown}; its inputs are {[info.name for info in self.inputs]}")
        return [_input_array(info, inputs.get(info.name), allow_nan) for info in self.inputs]

    def close(self) -> None:
        """Wait for the runs of other threads, and free what the backend holds; the session cannot run afterwards."""
        if self._gate.close():
            self._executor.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class _Target:
    """The backend that a session runs on, why, and for webgpu the adapter."""

    backend: str
    reason: str
    adapter: Adapter | None = None


def _closed_error() -> BackendError:
    return BackendError("the session is closed; open another to run the model again")


def _resolve(backend: str, precision: str, adapter: str | int | None) -> _Target:
    """What ``backend`` means on this machine; BackendError where it, the adapter or the precision is not there."""
    if backend not in BACKENDS:
        raise BackendError(f"backend '{backend}' is unknown; choose one of {', '.join(BACKENDS)}")
    if precision not in PRECISIONS:
        raise BackendError(f"precision '{precision}' is unknown; choose one of {', '.join(PRECISIONS)}")
    target = _on_gpu(backend, adapter) if backend in ("auto", "webgpu") else _Target(backend, "asked for")
    if target.adapter is None and adapter is not None:
        raise BackendError(f"an adapter is for backend 'webgpu'; '{target.backend}' runs on the processor")
    if precision == "f16" and not (target.adapter and target.adapter.f16):
        where = f"adapter {target.adapter} has no shader-f16" if target.adapter else "the CPU computes in f32"
        raise BackendError(f"precision 'f16' is not available: {where}; use 'f32'")
    return target


def _executor(
    graph: Graph, target: _Target, precision: str, outside: Collection[Value] | None = None
) -> tuple[Executor, str]:
    """What runs the graph, and the name of what it runs on."""
    if target.backend == "reference":
        return ReferenceExecutor(graph), blas.describe(1)
    if target.adapter is not None:
        from engine.gpu.run.executor import GpuExecutor

        device = open_device(target.adapter)
        return GpuExecutor(graph, device, half=precision == "f16", outside=outside), str(target.adapter)
    executor = NumpyExecutor(graph)
    return executor, blas.describe(executor.pool.threads)


def _on_gpu(backend: str, adapter: str | int | None) -> _Target:
    choice = choose(adapter, remembered=backend == "auto")
    if choice.adapter is not None:
        return _Target("webgpu", choice.reason, choice.adapter)
    if backend == "auto":
        return _Target("numpy", choice.reason)
    # asked for by name: a software adapter is slow, not wrong
    software = choose("0") if adapters() else None
    if software is None:
        raise BackendError(f"backend 'webgpu' cannot run here: {no_adapter()}; use backend 'numpy'")
    return _Target("webgpu", "asked for; a software adapter", software.adapter)


def _infos(values: Sequence[Value]) -> list[TensorInfo]:
    return [TensorInfo(value.name, value.dtype, value.shape) for value in values]


def _input_array(info: TensorInfo, value: np.ndarray | None, allow_nan: bool) -> np.ndarray:
    if value is None:
        raise InputError(f"input '{info.name}' is missing; it takes {info.dtype.name}{list(info.shape)}")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InputError(f"input '{info.name}' is no array: {error}") from error
    if array.dtype != info.dtype or array.shape != info.shape:
        raise InputError(
            f"input '{info.name}' takes {info.dtype.name}{list(info.shape)}; "
            f"it was given {array.dtype.name}{list(array.shape)}"
        )
    if array.dtype.kind == "f" and not allow_nan and array.size and np.isnan(array.min()):
        raise InputError(f"input '{info.name}' holds NaN")
    return array
