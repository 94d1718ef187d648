"""A model file on a backend: opened, run, and taken up again when the GPU goes away in the middle."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import engine
from nss.errors import GpuUnavailableError, ImageError, ModelUnavailableError, UsageError, one_line, quoted
from nss.interfaces.interface import Description, EdgeSize, Interface
from nss.models import local_models
from nss.notices import Notify
from nss.removal import mask_output, model_inputs, preprocess
from nss.removal.description import FILE, GRAPH, GUESS, ResolvedInterface, interface_of
from nss.removal.model_inputs import image_shape
from nss.removal.sessions import Sessions, Shape


@dataclass(frozen=True)
class RunOptions:
    """Where and how a network runs.

    Attributes:
        backend: ``"auto"``, ``"webgpu"``, ``"numpy"`` or ``"reference"``.
        device: an adapter, as ``engine.Session`` takes it (a number or a name), or None.
        precision: ``"f32"`` or ``"f16"``.
        require_gpu: nothing but a hardware adapter will do.
    """

    backend: str = "auto"
    device: str | int | None = None
    precision: str = "f32"
    require_gpu: bool = False

    @property
    def demands_gpu(self) -> bool:
        """Whether the user asked for the GPU, so that the processor is no substitute for it."""
        return self.require_gpu or self.backend == "webgpu"

    def check(self) -> None:
        """Raise GpuUnavailableError where a GPU is required and there is none, UsageError for a contradiction."""
        if not self.require_gpu:
            return
        if self.backend in ("numpy", "reference"):
            raise UsageError(f"a GPU is required, and backend {quoted(self.backend)} runs on the processor")
        try:
            devices = engine.devices(self.device)
        except engine.BackendError as error:
            raise UsageError(str(error)) from error
        if devices.chosen is None:
            raise GpuUnavailableError(f"a GPU is required: {devices.reason}")
        adapter = next(adapter for adapter in devices.adapters if adapter.index == devices.chosen)
        if adapter.software:
            raise GpuUnavailableError(f"a GPU is required, and {adapter.name} is a software adapter")

    def session(
        self, file: engine.ModelFile, interface: Interface, shape: Sequence[int] | None = None
    ) -> engine.Session:
        """The model on what these options say, for an input of this shape; by default what a square photo gets.

        Raises what opening a session does.
        """
        return engine.Session(
            file,
            backend="webgpu" if self.require_gpu else self.backend,
            adapter=self.device,
            precision=self.precision,
            **bindings(file, interface, shape),
        )


ON_NUMPY = RunOptions(backend="numpy")


@dataclass(frozen=True)
class Output:
    """What the network made of one image.

    Attributes:
        array: the model's output, as it is, in whatever form: `nss.removal.mask_output.mask_of` makes the mask of it.
        notes: what happened on the way.
        info: what it ran on.
        reason: why there.
    """

    array: np.ndarray
    notes: tuple[str, ...]
    info: engine.SessionInfo
    reason: str


@dataclass(frozen=True)
class _OpenModel:
    """The open sessions of a model.

    Attributes:
        sessions: by the shape of the input.
        input: the name of the input that takes the photo.
        reason: why they run on their backend, where that has changed since the model was opened.
        loss: why their GPU was lost; None as long as it is there.
    """

    sessions: Sessions
    input: str
    reason: str | None = None
    loss: str | None = None

    def output(self, image: np.ndarray) -> Output:
        if self.loss is not None:
            raise engine.DeviceLostError(self.loss)
        with self.sessions.entered(image.shape) as session:
            outputs = session.run({self.input: image.reshape(session.inputs[0].shape)})
            reason = session.info.reason if self.reason is None else self.reason
            return Output(next(iter(outputs.values())), (), session.info, reason)


class Network:
    """A model that maps one photo to one mask, on the backend that ``options`` ask for; any thread may run it.

    Where the interface's size follows the photo, there is a session for each shape, of which the last few stay open
    (`nss.removal.sessions`).

    Attributes:
        spec: the model's entry in the catalogue, or one made for a file that has none.
        resolved_interface: its interface, and where each value comes from.
    """

    def __init__(
        self,
        model: local_models.ResolvedModel,
        options: RunOptions,
        notify: Notify,
        user_description: Description | None = None,
    ) -> None:
        """Open the model file.

        Args:
            model: the file.
            options: where and how it runs.
            notify: gets a line when the GPU is lost.
            user_description: what the user says of the interface; it goes before whatever else is known.

        Raises:
            ModelUnavailableError: no mask model, or not as the interface has it; and what `opening` raises.
            UsageError: ``user_description`` contradicts itself.
        """
        self._model, self._options, self._notify = model, options, notify
        self._recovering = threading.Lock()
        self.spec = model.spec
        with opening(model.path):
            file, self.resolved_interface = read(model, user_description)
        self.interface = self.resolved_interface.interface
        # only where the size follows the photo is the file needed again
        self._file = file if isinstance(self.interface.size, EdgeSize) else None
        with self.resolved_interface.blaming_guesses(), opening(model.path):
            self._open_model = _OpenModel(
                self._sessions(file, options, image_shape(self.interface)), self.interface.input
            )
        try:
            self._check_output(self.session.outputs[0])
        except ModelUnavailableError:
            self.close()
            raise

    @property
    def session(self) -> engine.Session:
        """What ran the model last; another one once the GPU was lost."""
        return self._open_model.sessions.newest

    def run(self, image: np.ndarray, name: str) -> Output:
        """The model's output for an image as `nss.removal.preprocess.prepare` makes it.

        Where the GPU is lost, the image is tried again on a new device, and then, unless the GPU was demanded, on
        NumPy, which the images after it stay on. Where several threads lose it, the first to come opens the new session
        for all.

        Raises:
            ImageError: the engine failed, or the GPU was demanded and is gone; ``name`` is the image's.
        """
        model = self._open_model
        try:
            try:
                return model.output(image)
            except engine.TooLargeError:
                raise  # this image's own size is at fault, whatever became of the device meanwhile
            except engine.BackendError as error:
                with self._recovering:
                    # whoever recovers closes the lost session, also under those that have just come to it
                    loss = (
                        isinstance(error, engine.DeviceLostError)
                        or self._open_model is not model
                        or self._open_model.loss
                    )
                    if not loss:
                        raise
                    return self._recover(image, name, model, one_line(error))
        except engine.EngineError as error:
            raise ImageError(f"{name}: {self._at_size(image)}{error}") from error
        except MemoryError as error:
            raise ImageError(f"{name}: {self._at_size(image)}not enough memory") from error

    def close(self) -> None:
        """Wait for the runs of other threads, and free what the sessions hold."""
        self._open_model.sessions.close()

    def _sessions(self, file: engine.ModelFile, options: RunOptions, shape: Shape) -> Sessions:
        session = options.session(file, self.interface, shape)

        def another(shape: Shape) -> engine.Session:
            return options.session(self._file or _file(self._model), self.interface, shape)

        return Sessions(session, shape, another)

    def _check_output(self, output: engine.TensorInfo) -> None:
        channel_is_known = self.resolved_interface.origins["channel"] not in (FILE, GRAPH, GUESS)
        shape, dtype = output.shape, output.dtype
        why = mask_output.fault(shape, dtype, self.interface, name=output.name, channel_is_known=channel_is_known)
        if why:
            raise ModelUnavailableError(f"{self._model.path}: {why}")

    def _at_size(self, image: np.ndarray) -> str:
        """Which input this photo got, where each photo has its own."""
        if not isinstance(self.interface.size, EdgeSize):
            return ""
        height, width = image.shape[2:] if self.interface.layout == "NCHW" else image.shape[1:3]
        return f"with an input of {width} x {height}, of 'size' {self.interface.size}: "

    def _recover(self, image: np.ndarray, name: str, previous: _OpenModel, loss: str) -> Output:
        note = "the GPU was lost; computed on a new device"
        try:
            if self._open_model is previous:
                self._notify(f"{name}: {loss}; trying once more on a new device")
                self._reopen(self._options, loss, image.shape)
            output = self._open_model.output(image)
        except engine.BackendError as error:
            self._open_model = replace(self._open_model, loss=loss)
            if self._options.demands_gpu:
                raise ImageError(
                    f"{name}: the GPU was lost, and a new device failed too: {error}; not computed on NumPy, since the "
                    "GPU was asked for"
                ) from error
            self._notify(f"{name}: {error}; going on with NumPy")
            self._reopen(ON_NUMPY, one_line(error), image.shape)
            output = self._open_model.output(image)
        if output.info.backend != "webgpu":
            note = "the GPU was lost; computed on NumPy"
        return replace(output, notes=(note,))

    def _reopen(self, options: RunOptions, loss: str, shape: Shape) -> None:
        self._open_model = replace(self._open_model, loss=loss)
        with suppress(Exception):  # the handles of a lost device may fail in any way
            self._open_model.sessions.close()
        file = self._file or _file(self._model)
        reason = f"after the GPU was lost ({loss})"
        self._open_model = _OpenModel(self._sessions(file, options, shape), self.interface.input, reason)


@contextmanager
def opening(path: Path) -> Iterator[None]:
    """Turn what the engine raises over the model at ``path`` into the command's errors.

    Raises:
        UsageError: the backend, the adapter or the precision is not there.
        GpuUnavailableError: the GPU was lost.
        ModelUnavailableError: anything else is wrong with the model, its size for this machine included.
    """
    try:
        yield
    except engine.TooLargeError as error:
        raise ModelUnavailableError(f"{path}: {error}") from error
    except engine.DeviceLostError as error:
        raise GpuUnavailableError(f"{path}: {error}; run it again, or with backend 'numpy'") from error
    except engine.BackendError as error:
        raise UsageError(str(error)) from error
    except engine.EngineError as error:
        names_path = str(error).removeprefix("model '").startswith(f"{path}' ")
        raise ModelUnavailableError(str(error) if names_path else f"{path}: {error}") from error
    except MemoryError as error:
        raise ModelUnavailableError(f"{path}: not enough memory to open this model") from error


def read(
    model: local_models.ResolvedModel, user_description: Description | None = None
) -> tuple[engine.ModelFile, ResolvedInterface]:
    """The model file and its interface, checked against the file's inputs and outputs.

    Raises ModelUnavailableError where they contradict each other or something is left open, UsageError where
    ``user_description`` contradicts itself, and what reading the file raises (see `opening`).
    """
    file = _file(model)
    resolved_interface = interface_of(file, model, user_description)
    model_inputs.constants(file, resolved_interface.interface)
    why = model_inputs.fault(file, resolved_interface.interface) or mask_output.missing(
        file.outputs, resolved_interface.interface
    )
    if why:
        raise ModelUnavailableError(f"{model.path}: {why}")
    preprocess.normalisation(resolved_interface.interface)
    return file, resolved_interface


def bindings(file: engine.ModelFile, interface: Interface, shape: Sequence[int] | None = None) -> dict[str, Any]:
    """What `engine.Session` and `engine.compare` bind for an input of this shape: by default, of a square photo."""
    shape = shape or image_shape(interface)
    rank = len(file.inputs[interface.input]) or len(shape)
    return {
        "input_shapes": {interface.input: shape[len(shape) - rank :]},
        "input_values": model_inputs.constants(file, interface),
        "outputs": [mask_output.output_name(file.outputs, interface)],
    }


def _file(model: local_models.ResolvedModel) -> engine.ModelFile:
    return engine.ModelFile.read(model.path if model.content is None else model.content)
