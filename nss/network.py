"""A model file on a backend: opened, run, and taken up again when the GPU goes away in the middle."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import engine
from nss import models
from nss.errors import GpuUnavailableError, ImageError, ModelUnavailableError, UsageError, one_line


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
            raise UsageError(f"a GPU is required, and backend '{self.backend}' runs on the processor")
        try:
            found = engine.devices(self.device)
        except engine.BackendError as error:
            raise UsageError(str(error)) from error
        if found.chosen is None:
            raise GpuUnavailableError(f"a GPU is required: {found.reason}")
        adapter = next(adapter for adapter in found.adapters if adapter.index == found.chosen)
        if adapter.software:
            raise GpuUnavailableError(f"a GPU is required, and {adapter.name} is a software adapter")

    def session(self, file: engine.ModelFile, spec: models.ModelSpec) -> engine.Session:
        """The model on what these options say."""
        return engine.Session(
            file,
            backend="webgpu" if self.require_gpu else self.backend,
            adapter=self.device,
            precision=self.precision,
            input_shapes=input_shapes(spec),
            outputs=[spec.output_name] if spec.output_name else None,
        )


ON_NUMPY = RunOptions(backend="numpy")


@dataclass(frozen=True)
class Output:
    """What the network made of one image.

    Attributes:
        array: the model's output, as it is.
        notes: what happened on the way.
        info: what it ran on.
        reason: why there.
    """

    array: np.ndarray
    notes: tuple[str, ...]
    info: engine.SessionInfo
    reason: str


@dataclass(frozen=True)
class _Opened:
    """A session, why it is on its backend, and why its GPU was lost where nothing could be opened in its place."""

    session: engine.Session
    reason: str
    lost: str | None = None

    def output(self, image: np.ndarray) -> Output:
        if self.lost is not None:
            raise engine.DeviceLostError(self.lost)
        info = self.session.inputs[0]
        outputs = self.session.run({info.name: image.astype(info.dtype, copy=False)})
        return Output(next(iter(outputs.values())), (), self.session.info, self.reason)


class Network:
    """A model that maps one image to one mask, on the backend that ``options`` ask for; any thread may run it.

    Attributes:
        spec: what is known of the model, completed by what stands in the file.
    """

    def __init__(self, model: models.ResolvedModel, options: RunOptions, notify: models.Notify) -> None:
        """Open the model file. Raises what `opening` does, and ModelUnavailableError for what is no mask model."""
        self._model, self._options, self._notify = model, options, notify
        self._recovering = threading.Lock()
        with opening(model.path):
            file, self.spec = read(model)
            session = options.session(file, self.spec)
        self._opened = _Opened(session, session.info.reason)
        if fault := _no_mask_model(session):
            session.close()
            raise ModelUnavailableError(f"{model.path}: {fault}")

    @property
    def session(self) -> engine.Session:
        """What runs the model now; another one once the GPU was lost."""
        return self._opened.session

    def run(self, image: np.ndarray, name: str) -> Output:
        """The model's output for an image ``[1, 3, H, W]``.

        Where the GPU is lost, the image is tried again on a new device, and then, unless the GPU was demanded, on
        NumPy, which the images after it stay on. Where several threads lose it, the first to come opens the new session
        for all.

        Raises:
            ImageError: the engine failed, or the GPU was demanded and is gone; ``name`` is the image's.
        """
        opened = self._opened
        try:
            try:
                return opened.output(image)
            except engine.BackendError as error:
                with self._recovering:
                    # whoever recovers closes the lost session, also under those that have just come to it
                    lost = isinstance(error, engine.DeviceLostError) or self._opened is not opened or self._opened.lost
                    if not lost:
                        raise
                    return self._recovered(image, name, opened, one_line(error))
        except engine.EngineError as error:
            raise ImageError(f"{name}: {error}") from error

    def close(self) -> None:
        """Wait for the runs of other threads, and free what the session holds."""
        self._opened.session.close()

    def _recovered(self, image: np.ndarray, name: str, failed: _Opened, lost: str) -> Output:
        note = "the GPU was lost; computed on a new device"
        try:
            if self._opened is failed:
                self._notify(f"{name}: {lost}; trying once more on a new device")
                self._reopen(self._options, lost)
            output = self._opened.output(image)
        except engine.BackendError as error:
            self._opened = replace(self._opened, lost=lost)
            if self._options.demands_gpu:
                raise ImageError(
                    f"{name}: the GPU was lost, and a new device failed too: {error}; not computed on NumPy, since the "
                    "GPU was asked for"
                ) from error
            self._notify(f"{name}: {error}; going on with NumPy")
            self._reopen(ON_NUMPY, one_line(error))
            output = self._opened.output(image)
        if output.info.backend != "webgpu":
            note = "the GPU was lost; computed on NumPy"
        return replace(output, notes=(note,))

    def _reopen(self, options: RunOptions, lost: str) -> None:
        self._opened = replace(self._opened, lost=lost)
        with suppress(Exception):  # the handles of a lost device may fail in any way
            self._opened.session.close()
        file, self.spec = read(self._model)
        self._opened = _Opened(options.session(file, self.spec), f"after the GPU was lost ({lost})")


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
        raise ModelUnavailableError(f"{path}: {error}") from error
    except MemoryError as error:
        raise ModelUnavailableError(f"{path}: not enough memory to open this model") from error


def read(model: models.ResolvedModel) -> tuple[engine.ModelFile, models.ModelSpec]:
    """The model file, and what is known about it completed with what stands in it."""
    file, spec = engine.ModelFile.read(model.path if model.content is None else model.content), model.spec
    if spec.input_hw is None and file.inputs:
        # a user's own file: its names and sizes tell which network it is, its last layer what its output is
        name, dims = next(iter(file.inputs.items()))
        spec = models.complete_spec(spec, name, dims, tuple(file.outputs))
        logits = file.lacks_activation(str(spec.output_name))
        spec = replace(spec, interface={**spec.interface, "activation": "sigmoid" if logits else "none"})
    return file, spec


def input_shapes(spec: models.ModelSpec) -> dict[str, tuple[int, ...]] | None:
    """The shape of the image that the network takes, by input name; None where the file alone knows."""
    return {spec.input_name: (1, 3, *spec.input_hw)} if spec.input_name and spec.input_hw else None


def _no_mask_model(session: engine.Session) -> str | None:
    """Why the model does not map one RGB image to one mask; None where it does."""
    if len(session.inputs) != 1:
        return f"takes {len(session.inputs)} inputs, not one image"
    image, mask = session.inputs[0], session.outputs[0]
    if image.dtype.kind != "f" or len(image.shape) != 4 or image.shape[:2] != (1, 3):
        return (
            f"takes {image.name} of {image.dtype.name}{list(image.shape)}, "
            "not one image as floating point [1, 3, height, width]"
        )
    channels, sides = mask.shape[:-2], mask.shape[-2:]
    if mask.dtype.kind != "f" or channels not in ((1,), (1, 1)) or min(sides) <= 1:
        return (
            f"gives {mask.name} of {mask.dtype.name}{list(mask.shape)}, "
            "not one mask as floating point [1, 1, height, width]"
        )
    return None
