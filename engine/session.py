"""A model ready to run: file, input shapes, backend, adapter and precision fixed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from engine import arguments, opening
from engine.backend import begin_opening, resolve
from engine.compiled.model import CompiledModel
from engine.compiled.verification import Verification
from engine.errors import BackendError, InputError
from engine.executor import Executor as Executor
from engine.executor import PendingRun
from engine.gate import Gate
from engine.handles import Handle, ImageHandle, ImageResult
from engine.image_runs import ImageRuns, split_inputs
from engine.kernel_time import KernelTime
from engine.overflow import SplitOverflowError, check_outputs
from engine.repeats import Repeats
from engine.session_info import SessionInfo as SessionInfo
from engine.session_info import TensorInfo as TensorInfo
from engine.session_info import input_array, tensor_info

Result = TypeVar("Result")

if TYPE_CHECKING:
    # a compiled model runs without what reads ONNX files, and on the processor without WebGPU: imported where used
    from engine.cpu.kernel import Observer
    from engine.graph.ir import Graph
    from engine.graph.model_file import ModelFile
    from engine.graph.target import Target
    from engine.images import MaskOutput, PixelInput


class Session:
    """An ONNX model bound to a backend.

    ``model`` is a path, the file's bytes, a ModelFile read before, or a CompiledModel, which has its own backend,
    precision, input shapes and outputs. ``backend`` is "webgpu", "numpy" (fast algorithms), "reference" (the oracle:
    operator by operator, nothing fused) or "auto": webgpu on a hardware adapter, else numpy. ``adapter`` picks one for
    webgpu: an index, an implementation or part of a name, as ``nss-wgpu devices`` lists them. ``precision`` is "f32";
    "f32-strict", which keeps off a GPU's matrix units; or on webgpu "f16": float16 in memory, float32 in every sum.
    float16 models are computed in float32 by "numpy". ``input_shapes`` binds symbolic dimensions by input name,
    ``input_values`` binds whole inputs to constants. ``outputs`` names the values to keep: None for the model's first
    output, "all", or a list. ``keep_compiled`` keeps ``compiled``, to be saved later. ``in_flight`` is how many runs
    may be under way on webgpu (``submit``): with three one goes up while another is computed and a third is read. Each
    takes memory for its inputs and outputs.

    In "f32" an adapter's matrix units multiply, where it has them (``info.precision`` is "f32-split" then). A run whose
    numbers they do not hold is computed once more in "f32-strict", by another session, which is made for the first such
    run: ``strict`` makes it; without that it is made of the model's file. A compiled model alone cannot be, and raises.

    Any thread may use a session: runs on one processor or one GPU take turns, and give what one thread alone gets, bit
    for bit. ``close`` waits for those that have begun. A forked child may run a session of its parent on "numpy" and
    "reference"; on webgpu it gets a BackendError, as does a new one there once the parent has used WebGPU: make it
    after the fork, or use spawn.

    Raises BackendError for a backend, adapter or precision that is not there or not that of a compiled model, and for
    an adapter that lacks what a compiled model needs; InputError for arguments of another type; and what
    ``engine.graph.load.load`` raises. A graph runs wholly on the backend that was asked for, or is refused.
    """

    def __init__(
        self,
        model: str | Path | bytes | ModelFile | CompiledModel,
        *,
        backend: str = "auto",
        precision: str = "f32",
        input_shapes: Mapping[str, Sequence[int]] | None = None,
        outputs: Sequence[str] | str | None = None,
        input_values: Mapping[str, np.ndarray] | None = None,
        adapter: str | int | None = None,
        keep_compiled: bool = False,
        in_flight: int = 3,
        strict: Callable[[], Session] | None = None,
    ) -> None:
        arguments.check("in_flight", in_flight, Integral, "a number of runs")
        if isinstance(model, CompiledModel):
            opening.check_options(model, backend, precision)
            shapes = arguments.mapping("input_shapes", input_shapes, "shapes")
            values = arguments.mapping("input_values", input_values, "arrays")
            if shapes or outputs is not None or values:
                raise InputError("a compiled model has its input shapes, input values and outputs; compile it again")
            backend = model.backend
            precision = "f16" if model.precision == "f16" else precision
        self._choice, self._precision = resolve(backend, precision, adapter), precision
        self._gate = Gate(_closed_error)
        if self._choice.adapter is not None:
            begin_opening(self._choice.adapter)  # while the model is read
        source: CompiledModel | Graph
        tuning = ""
        with np.errstate(all="ignore"):  # infinities and NaN are results, also of what is computed before a run
            if isinstance(model, CompiledModel):
                verification = Verification(model.weights)
                source, counts = model, model.counts
                self.inputs, self.outputs = [*map(tensor_info, model.inputs)], [*map(tensor_info, model.outputs)]
            else:
                from engine.compiler import read_graph

                read = read_graph(
                    model,
                    input_shapes=input_shapes,
                    outputs=outputs,
                    input_values=input_values,
                    pass_target=None if self._choice.backend == "reference" else self.pass_target,
                )
                counts = read.counts
                self.inputs, self.outputs = [*map(tensor_info, read.inputs)], [*map(tensor_info, read.outputs)]
                source, tuning = opening.compiled(
                    read.graph, self._choice, precision, outputs=read.outputs, counts=counts
                )
                del read  # with weights that no kernel takes as they are
            try:
                self._executor, device = opening.executor(source, self._choice, in_flight)
            except Exception:
                if isinstance(model, CompiledModel):
                    verification.wait()  # damaged weights may be refused in any words
                raise
            if isinstance(model, CompiledModel):
                try:
                    verification.wait()
                except BaseException:
                    self._executor.close()
                    raise
        self._compiled = source if keep_compiled and isinstance(source, CompiledModel) else None
        self._computed = source.precision if isinstance(source, CompiledModel) else "f32"
        if strict is None and not isinstance(model, CompiledModel):
            bindings = {"input_shapes": input_shapes, "outputs": outputs, "input_values": input_values}
            options = {"backend": backend, "precision": "f32-strict", "adapter": adapter}
            strict = partial(_strict_session, model, _stamp(model), **bindings, **options)
        self._strict = Repeats(strict) if strict is not None and self._computed == "f32-split" else None
        self._images = ImageRuns(
            self._executor,
            self._choice.backend,
            *([info.name for info in part] for part in (self.inputs, self.outputs)),
        )
        self.info = SessionInfo(
            backend=self._choice.backend,
            device=device,
            reason=self._choice.reason,
            precision=self._computed,
            nodes_in_file=counts.in_file,
            nodes_loaded=counts.loaded,
            nodes_planned=counts.planned,
            weight_bytes=self._executor.weight_bytes,
            peak_activation_bytes=self._executor.peak_bytes,
            activation_buffer_bytes=self._executor.activation_bytes,
            scratch_bytes=self._executor.scratch_bytes,
            passes=dict(counts.passes),
            matrix_units=isinstance(source, CompiledModel) and opening.uses_matrix_units(source),
            software=self._choice.adapter is not None and self._choice.adapter.software,
            tuning=tuning,
        )

    @property
    def compiled(self) -> CompiledModel | None:
        """The model as it was compiled for this session's adapter, or opened, from ``keep_compiled`` on.

        None without it, after ``release_compiled``, and on "reference". Its weights are packed anew each time that they
        are asked for. Until then it holds what they are packed from: the mapped file, which takes no memory of its own,
        and the weights that the passes have changed, which do.
        """
        return self._compiled

    def release_compiled(self) -> None:
        """Let go of ``compiled``, and of the weights that it holds; the session runs as before."""
        self._compiled = None

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
        holds NaN (unless ``allow_nan``); BackendError when the session is closed, and when in precision "f16" an output
        of finite inputs holds NaN or infinities; DeviceLostError when the GPU went away, after which another session
        gets a new device.
        """
        if observe is None:
            return self.submit(inputs, allow_nan=allow_nan).result()
        with self._gate.entered():
            arrays = self._arrays(inputs, allow_nan)
            results = self._executor.run(arrays, observe)
        outputs = self._named(results)
        if self._computed != "f32":
            try:
                check_outputs(arrays, outputs, self._computed)
            except SplitOverflowError:
                if self._strict is None:
                    raise
                return self._strict.session().run(inputs, allow_nan=allow_nan, observe=observe)
        return outputs

    def submit(self, inputs: Mapping[str, np.ndarray], *, allow_nan: bool = False) -> Handle:
        """Begin a run; ``Handle.result`` waits for its outputs. ``run`` is both.

        Runs of a session end in the order in which they were submitted. On webgpu as many may be under way as
        ``in_flight`` says: the next call then waits until the oldest has been computed, and keeps its outputs for its
        handle. A run that takes several submissions (a model's first, and those of slow adapters) is computed before
        this returns, and so is each on "numpy" and "reference". ``inputs`` may be changed afterwards; where
        ``info.precision`` is "f32-split", only once the result is there, since the run may be computed once more.

        Raises what ``run`` raises for inputs and for a closed session.
        """
        with self._gate.entered():
            arrays = self._arrays(inputs, allow_nan or self._executor.looks_for_nan)
            run = self._executor.submit(arrays, allow_nan=allow_nan)
            return Handle(run, self._outputs_and_more, self._repeat(Session.run, inputs, allow_nan=allow_nan))

    def submit_image(
        self,
        inputs: Mapping[str, np.ndarray | PixelInput],
        mask: MaskOutput | None = None,
        *,
        output: str | None = None,
        allow_nan: bool = False,
    ) -> ImageHandle:
        """Begin a run on webgpu, as ``submit``, where the GPU makes an input of pixels, or a mask of an output.

        Args:
            inputs: all inputs, by name; one of them may be made of pixels.
            mask: what is made of ``output``, the first one by default.
            output: the name of an output.
            allow_nan: as ``run`` has it.

        Raises InputError for pixels that do not become this input, a mask that is not in this output, and on other
        backends than webgpu; TooLargeError for what the device has no room or no time for; BackendError where it fails;
        and what ``submit`` raises. All of it is raised before anything is submitted.
        """
        with self._gate.entered():
            arrays, pixels = split_inputs(inputs, [info.name for info in self.inputs])
            run = self._images.submit(self._arrays(arrays, True, pixels), pixels, mask, output, allow_nan=allow_nan)
            repeat = self._repeat(_image_result, inputs, mask, output=output, allow_nan=allow_nan)
            return ImageHandle(run, mask, self._outputs_and_more, repeat)

    def compile_images(self, inputs: Mapping[str, PixelInput], mask: MaskOutput | None = None) -> None:
        """Begin to compile what ``submit_image`` needs for such pictures, of any size. Raises InputError likewise."""
        with self._gate.entered():
            self._images.compile_ahead(inputs, mask)

    def _outputs_and_more(self, run: PendingRun) -> tuple[dict[str, np.ndarray], Sequence[np.ndarray]]:
        """The outputs of a run, by name, held to what ``run`` promises, and what came behind them."""
        with self._gate.entered():
            results = run.result()
        outputs = self._named(results[: len(self.outputs)])
        if run.overflowed:
            check_outputs((), outputs, self._computed)
        return outputs, results[len(self.outputs) :]

    def _repeat(self, run: Callable[..., Result], *arguments: object, **options: object) -> Callable[[], Result] | None:
        """What computes a run once more, by ``run(session, …)``; None where the first time holds every number."""
        strict = self._strict
        return None if strict is None else lambda: run(strict.session(), *arguments, **options)

    def _named(self, results: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
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
    def under_way(self) -> int:
        """How many runs were submitted whose outputs are not kept for their handles yet: 0 but on webgpu."""
        return self._executor.under_way

    @property
    def milliseconds(self) -> dict[str, float]:
        """Wall time of the last run, whichever thread's, by stage, on webgpu: upload, encode, wait; else empty."""
        return dict(self._executor.milliseconds)

    def executor(self, part: Graph, whole: Graph) -> Executor:
        """Another executor of this session's kind, for a part of a graph that the passes have gone over.

        Values are stored in the precision that they have in the whole. The caller closes it.
        """
        outside = [*whole.inputs, *whole.outputs]
        if self._precision == "f16":
            from engine.gpu.lowering.storage import parameters

            outside += parameters(whole)
        return opening.executor(
            opening.compiled(part, self._choice, self._precision, outside=outside)[0], self._choice
        )[0]

    @property
    def pass_target(self) -> Target:
        """The session's backend, as passes ask it what it runs."""
        return opening.pass_target(self._choice, self._precision)

    def _arrays(
        self, inputs: Mapping[str, np.ndarray], allow_nan: bool, others: Collection[str] = ()
    ) -> list[np.ndarray]:
        """All inputs in their order; those of ``others``, which are no arrays, as empty ones."""
        arguments.check("inputs", inputs, Mapping, "a mapping of inputs' names to arrays")
        unknown = [name for name in inputs if name not in {info.name for info in self.inputs}]
        if unknown:
            raise InputError(f"the model has no input {unknown}; its inputs are {[info.name for info in self.inputs]}")
        return [
            _NOTHING if info.name in others else input_array(info, inputs.get(info.name), allow_nan=allow_nan)
            for info in self.inputs
        ]

    def close(self) -> None:
        """Wait for the runs of other threads, and free what the backend holds; the session cannot run afterwards.

        Runs that were submitted and whose ``result`` nobody has begun to wait for are given up.
        """
        if self._gate.close():
            if self._strict is not None:
                self._strict.close()
            self._images.close()
            self._executor.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_NOTHING = np.empty(0, np.float32)


def _stamp(model: str | Path | bytes | ModelFile) -> tuple[int, ...] | None:
    """What tells a file from what may stand in its place later; None for what this process holds."""
    if not isinstance(model, str | Path):
        return None
    state = Path(model).stat()
    return state.st_ino, state.st_size, state.st_mtime_ns


def _strict_session(model: str | Path | bytes | ModelFile, stamp: tuple[int, ...] | None, **options: Any) -> Session:
    """A session of the same file in another precision. Raises BackendError where the file has changed."""
    try:
        is_same = _stamp(model) == stamp
    except OSError:
        is_same = False
    if not is_same:
        raise BackendError(
            f"{model!s} has changed since it was opened, and numbers of a run are beyond what float32 on matrix units "
            "holds; open it again with precision 'f32-strict'"
        )
    return Session(model, in_flight=1, **options)


def _image_result(session: Session, *arguments: Any, **options: Any) -> ImageResult:
    return session.submit_image(*arguments, **options).result()


def _closed_error() -> BackendError:
    return BackendError("the session is closed; open another to run the model again")
