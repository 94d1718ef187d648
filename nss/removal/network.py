"""A model file on a backend: opened, run, and taken up again when the GPU goes away in the middle."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np

import engine
from nss.errors import ImageError, ModelUnavailableError, one_line
from nss.interfaces.interface import Description, EdgeSize
from nss.models import local_models
from nss.notices import Notify
from nss.pipeline.lanes import LaneLostError, Ready
from nss.removal import mask_output
from nss.removal.model_inputs import image_shape
from nss.removal.opener import Opener
from nss.removal.photo_input import PLACES, Outputs, PhotoInput
from nss.removal.resolved_interface import FILE, GRAPH, GUESS
from nss.removal.run_options import ON_NUMPY, RunOptions
from nss.removal.sessions import Flight, Handle, Sessions, Shape

REPEATED = (
    "computed twice: numbers within the network are beyond what float32 on matrix units holds; precision 'f32-strict' "
    "does without these at once"
)
"""The note of an image whose run was repeated."""

Observer = Callable[[str, str, float], None]
"""Called after each node of a run on the processor; what it raises ends the run."""


@dataclass(frozen=True)
class Output:
    """What the network made of one image.

    Attributes:
        array: the model's output, as it is, in whatever form: `nss.removal.mask_output.mask_of` makes the mask of it.
        notes: what happened on the way.
        info: what it ran on.
        reason: why there.
        seconds: what the image took: since it was submitted, or since the output before it came, if that is later.
        levels: the mask's at the photo's size, where the GPU made them (`nss.removal.photo_input`).
        places: where the stages around the network ran.
    """

    array: np.ndarray
    notes: tuple[str, ...]
    info: engine.SessionInfo
    reason: str
    seconds: float = 0.0
    levels: np.ndarray | None = None
    places: Mapping[str, str] = field(default_factory=lambda: PLACES)


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

    def submit(self, image: np.ndarray | PhotoInput, observe: Observer | None = None) -> Flight:
        if self.loss is not None:
            raise engine.DeviceLostError(self.loss)

        def begin(session: engine.Session) -> Handle:
            if isinstance(image, PhotoInput) and (run := image.submit(session, self.input)) is not None:
                return run
            array = image.array if isinstance(image, PhotoInput) else image
            inputs = {self.input: array.reshape(session.inputs[0].shape)}
            if session.info.backend == "webgpu":
                return session.submit(inputs)
            # at once, and so that it can be ended early
            return Ready(session.run(inputs) if observe is None else session.run(inputs, observe=observe))

        return self.sessions.submit(image.shape, begin)

    def output(self, flight: Flight) -> Output:
        outputs, info = flight.outputs(), flight.session.info
        reason = info.reason if self.reason is None else self.reason
        array = next(iter(outputs.values()))
        notes: tuple[str, ...] = ()
        if flight.repeated:
            info, notes = replace(info, precision="f32"), (REPEATED,)
        if isinstance(outputs, Outputs):
            return Output(array, notes, info, reason, levels=outputs.levels, places=outputs.places)
        return Output(array, notes, info, reason)


class PendingOutput:
    """An image that a network has been given, or what kept it from that."""

    def __init__(
        self,
        network: Network,
        image: np.ndarray | PhotoInput,
        name: str,
        model: _OpenModel,
        begun: Flight | Exception,
        start: float,
    ) -> None:
        """``start``: when the image came, as `time.perf_counter` has it."""
        self.network, self.image, self.name, self.model = network, image, name, model
        self.begun, self.start = begun, start

    def result(self) -> Output:
        """The model's output. Raises what `Network.run` does, and LaneLostError as `Network.submit` says."""
        return self.network._output(self)


class Network:
    """A model that maps one photo to one mask, on the backend that ``options`` ask for; any thread may run it.

    Where the interface's size follows the photo, there is a session for each shape, of which the last few stay open
    (`nss.removal.sessions`).

    Attributes:
        spec: the model's entry in the catalogue, or one made for a file that has none.
        resolved_interface: its interface, and where each value comes from.
        gives_up: asked when the GPU is lost: whether another network takes its images.
    """

    def __init__(
        self,
        model: local_models.ResolvedModel,
        options: RunOptions,
        notify: Notify,
        user_description: Description | None = None,
        *,
        use_cache: bool = True,
        sibling: Network | None = None,
    ) -> None:
        """Open the model.

        Args:
            model: the file.
            options: where and how it runs.
            notify: gets a line when the GPU is lost.
            user_description: what the user says of the interface; it goes before whatever else is known.
            use_cache: whether a model that was compiled before is taken, and one that is compiled now is kept.
            sibling: has the same model on another adapter; what was compiled for it is taken where it fits.

        Raises:
            ModelUnavailableError: no mask model, or not as the interface has it; and what `Opener.first` raises.
            UsageError: ``user_description`` contradicts itself.
        """
        self._model, self._options, self._notify = model, options, notify
        self._recovering = threading.Lock()
        self._last_output = 0.0
        self._closed = False
        self.gives_up: Callable[[], bool] = _never
        self.spec = model.spec
        self._opener: Opener = Opener(
            model, user_description, use_cache=use_cache, sibling=None if sibling is None else sibling._opener
        )
        session = self._opener.first(options)
        self.resolved_interface = self._opener.resolved_interface
        self.interface = self.resolved_interface.interface
        self._open_model = self._with_session(session, options, image_shape(self.interface))
        try:
            self._check_output(self.session.outputs[0])
        except ModelUnavailableError:
            self.close()
            raise

    @property
    def session(self) -> engine.Session:
        """What ran the model last; another one once the GPU was lost."""
        return self._open_model.sessions.newest

    def run(self, image: np.ndarray | PhotoInput, name: str) -> Output:
        """The model's output for an image as `nss.removal.preprocess.prepare` makes it.

        Where the GPU is lost, the image is tried again on a new device, and then, unless the GPU was demanded, on
        NumPy, which the images after it stay on. Where several threads lose it, the first to come opens the new session
        for all.

        Raises:
            ImageError: the engine failed, or the GPU was demanded and is gone; ``name`` is the image's.
        """
        return self.submit(image, name).result()

    def submit(self, image: np.ndarray | PhotoInput, name: str, observe: Observer | None = None) -> PendingOutput:
        """Begin to `run`, on a GPU, where a few runs may be in flight; on the processor it is run at once.

        What is wrong is raised by the result. Where ``gives_up`` says so, a lost GPU is a LaneLostError there.
        """
        model, start = self._open_model, time.perf_counter()
        begun: Flight | Exception
        try:
            begun = model.submit(image, observe)
        except (engine.EngineError, MemoryError) as error:
            begun = error
        return PendingOutput(self, image, name, model, begun, start)

    def _output(self, pending: PendingOutput) -> Output:
        image, name, model = pending.image, pending.name, pending.model
        try:
            try:
                if isinstance(pending.begun, Exception):
                    raise pending.begun
                output = model.output(pending.begun)
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
                    if not loss or self._closed:
                        raise
                    output = self._recover(image, name, model, one_line(error))
        except engine.EngineError as error:
            raise ImageError(f"{name}: {self._at_size(image)}{error}") from error
        except MemoryError as error:
            raise ImageError(f"{name}: {self._at_size(image)}not enough memory") from error
        return replace(output, seconds=self._seconds(pending.start))

    def _seconds(self, start: float) -> float:
        """What an image took whose output has come now. Without a lock: two at once have the same end."""
        before, self._last_output = self._last_output, (now := time.perf_counter())
        return now - max(start, before)

    def close(self) -> None:
        """Wait for the runs of other threads, and free what the sessions hold; what is in flight keeps its output."""
        self._closed = True
        self._open_model.sessions.close()

    @property
    def has_unsaved(self) -> bool:
        """Whether `store` has something to keep."""
        return self._opener.has_unsaved

    def store(self) -> str | None:
        """Keep what was compiled for the next process; why it could not be kept, in one line, or None."""
        return self._opener.store()

    def forget(self) -> None:
        """Keep nothing of the model, since its interface has proved wrong."""
        self._opener.forget()

    def _with_session(
        self, session: engine.Session, options: RunOptions, shape: Shape, reason: str | None = None
    ) -> _OpenModel:
        def another(shape: Shape) -> engine.Session:
            return self._opener.another(options, shape)

        return _OpenModel(Sessions(session, shape, another), self.interface.input, reason)

    def _check_output(self, output: engine.TensorInfo) -> None:
        channel_is_known = self.resolved_interface.origins["channel"] not in (FILE, GRAPH, GUESS)
        shape, dtype = output.shape, output.dtype
        why = mask_output.fault(shape, dtype, self.interface, name=output.name, channel_is_known=channel_is_known)
        if why:
            raise ModelUnavailableError(f"{self._model.path}: {why}")

    def _at_size(self, image: np.ndarray | PhotoInput) -> str:
        """Which input this photo got, where each photo has its own."""
        if not isinstance(self.interface.size, EdgeSize):
            return ""
        height, width = image.shape[2:] if self.interface.layout == "NCHW" else image.shape[1:3]
        return f"with an input of {width} x {height}, of 'size' {self.interface.size}: "

    def _recover(self, image: np.ndarray | PhotoInput, name: str, previous: _OpenModel, loss: str) -> Output:
        if self.gives_up():
            if self._open_model.loss is None:
                self._notify(f"{name}: {loss}; going on without this GPU ({self.session.info.device})")
                self._open_model = replace(self._open_model, loss=loss)
                with suppress(Exception):  # the handles of a lost device may fail in any way
                    self._open_model.sessions.close()
            raise LaneLostError(loss)
        note = "the GPU was lost; computed on a new device"
        try:
            if self._open_model is previous:
                self._notify(f"{name}: {loss}; trying once more on a new device")
                self._reopen(self._options, loss, image.shape)
            output = self._open_model.output(self._open_model.submit(image))
        except engine.BackendError as error:
            self._open_model = replace(self._open_model, loss=loss)
            if self._options.demands_gpu:
                raise ImageError(
                    f"{name}: the GPU was lost, and a new device failed too: {error}; not computed on NumPy, since the "
                    "GPU was asked for"
                ) from error
            self._notify(f"{name}: {error}; going on with NumPy")
            self._reopen(ON_NUMPY, one_line(error), image.shape)
            output = self._open_model.output(self._open_model.submit(image))
        if output.info.backend != "webgpu":
            note = "the GPU was lost; computed on NumPy"
        return replace(output, notes=(note,))

    def _reopen(self, options: RunOptions, loss: str, shape: Shape) -> None:
        self._open_model = replace(self._open_model, loss=loss)
        with suppress(Exception):  # the handles of a lost device may fail in any way
            self._open_model.sessions.close()
        reason = f"after the GPU was lost ({loss})"
        self._open_model = self._with_session(self._opener.another(options, shape), options, shape, reason)


def _never() -> bool:
    return False
