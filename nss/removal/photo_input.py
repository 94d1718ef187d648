"""A photo on its way to a network that has not become its input yet: the GPU makes that of it, or NumPy.

Each stage falls back to NumPy alone. What the GPU does not do is known before; where it fails all the same, since its
memory is full for instance, the log has a line, and the photo is computed as without it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Literal, cast, get_args

import numpy as np

import engine
from nss.errors import NssError, UsageError, one_line, quoted
from nss.interfaces.interface import CHANNELS, Interface
from nss.masks.refine import Refinement
from nss.notices import logged
from nss.photos.image_io import Photo
from nss.removal import gpu_stages, preprocess
from nss.removal.sessions import Handle

ImageBackend = Literal["auto", "numpy", "webgpu"]
"""Where photos become inputs and masks levels: "auto" on the GPU that the network runs on, where it is one, for photos
that are large enough; "numpy" never; "webgpu" always, also where that GPU is a program."""

FEWEST_PIXELS = 1 << 21
"""Of a photo that "auto" takes to the GPU. NumPy has a smaller one ready within 40 ms, and what renders the kernels'
templates takes 0.2 s to be there, once a process."""

PLACES = {"preprocess": "numpy", "postprocess": "numpy"}
"""The stages, and where they run without a GPU."""


def image_backend(value: str) -> ImageBackend:
    """The value, where it is one. Raises UsageError otherwise."""
    if value not in get_args(ImageBackend):
        raise UsageError(f"'image_backend' {quoted(value)}: one of {', '.join(get_args(ImageBackend))} is possible")
    return cast(ImageBackend, value)


def takes_photos(session: engine.Session, backend: ImageBackend) -> bool:
    """Whether photos go to this session as they are."""
    return fewest_pixels(session, backend) is not None


def fewest_pixels(session: engine.Session, backend: ImageBackend) -> int | None:
    """How many pixels a photo has that goes to this session as it is; None where none does."""
    if backend == "numpy" or session.info.backend != "webgpu":
        return None
    if backend == "webgpu":
        return 0
    return None if session.info.software else FEWEST_PIXELS


def make_ready(session: engine.Session, interface: Interface, backend: ImageBackend) -> None:
    """Have the GPU's programs for photos compiled while the first one is decoded; what fails here fails there.

    Not where the first photo may be one that needs none of them.
    """
    if fewest_pixels(session, backend) == 0:
        pixel = Photo(np.zeros((1, 1, 3), np.uint8), None, None, None, "array", ())
        with suppress(engine.EngineError, NssError):
            PhotoInput(pixel, interface, backend, bits=8).compile(session)


class Outputs(dict[str, np.ndarray]):
    """A network's outputs, by name.

    Attributes:
        levels: the mask at the photo's size, uint8 or uint16 HxW, refined, where the GPU has made it.
        places: where each stage ran.
    """

    levels: np.ndarray | None = None
    places: Mapping[str, str] = PLACES


class PhotoInput:
    """A photo, and what is wanted of its mask. Any thread may use it."""

    def __init__(
        self,
        photo: Photo,
        interface: Interface,
        backend: ImageBackend,
        *,
        refinement: Refinement | None = None,
        bits: int | None = None,
        array: np.ndarray | None = None,
        log: Callable[[str], None] = logged,
    ) -> None:
        """Nothing is computed yet.

        Args:
            photo: the photo.
            interface: what the model wants.
            backend: where photos become inputs.
            refinement: what is done to the mask.
            bits: the depth in which its levels are wanted, 8 or 16; None where they are not.
            array: the network's input, where NumPy has made it already.
            log: gets a line where the GPU fails.
        """
        self.photo, self._interface, self._backend = photo, interface, backend
        self._refinement, self._bits, self._log = refinement, bits, log
        self._lock = threading.Lock()
        self._array = array

    @property
    def shape(self) -> tuple[int, ...]:
        """That of ``array``. Raises ImageError for a photo whose input would be too large."""
        size = preprocess.input_size(self.photo.rgb, self._interface, self.photo.name)
        channels = CHANNELS[self._interface.channels]
        return (1, channels, *size) if self._interface.layout == "NCHW" else (1, *size, channels)

    @property
    def array(self) -> np.ndarray:
        """The network's input by NumPy (`nss.removal.preprocess.prepare`); made at the first access."""
        with self._lock:
            if self._array is None:
                photo = self.photo
                self._array = preprocess.prepare(photo.rgb, self._interface, photo.alpha, photo.name)
            return self._array

    def submit(self, session: engine.Session, name: str) -> Handle | None:
        """Begin a run with the photo as the input ``name``, as far as the GPU takes it; None where it takes nothing."""
        if not takes_photos(session, self._backend):
            return None
        pixels, mask = self._pixels(), self._mask(session)
        # as much as possible first; what fails here fails before anything was submitted
        for attempt in dict.fromkeys([(pixels, mask), (pixels, None), (None, mask)]):
            if attempt != (None, None) and (run := self._begun(session, name, *attempt)) is not None:
                return run
        return None

    def compile(self, session: engine.Session) -> None:
        """Begin to compile what `submit` will need on this session, for photos of any size."""
        pixels = self._pixels()
        session.compile_images({} if pixels is None else {self._interface.input: pixels}, self._mask(session))

    def _pixels(self) -> engine.PixelInput | None:
        if self._array is not None:
            return None
        try:
            return gpu_stages.pixel_input(self.photo, self._interface)
        except (gpu_stages.NotOnGpuError, engine.InputError):
            return None

    def _mask(self, session: engine.Session) -> engine.MaskOutput | None:
        if self._bits is None:
            return None
        try:
            return gpu_stages.mask_output(self.photo, self._interface, session.outputs[0], self._refinement, self._bits)
        except (gpu_stages.NotOnGpuError, engine.InputError):
            return None

    def _begun(
        self, session: engine.Session, name: str, pixels: engine.PixelInput | None, mask: engine.MaskOutput | None
    ) -> Handle | None:
        try:
            value = self._reshaped(session) if pixels is None else pixels
            handle = session.submit_image({name: value}, mask)
        except engine.DeviceLostError:
            raise
        except (engine.InputError, engine.BackendError) as error:
            self._tell(error)
            return None
        places = {**PLACES}
        if pixels is not None:
            places["preprocess"] = "webgpu"
        if mask is not None:
            places["postprocess"] = "webgpu"
        return _ImageRun(self, session, name, handle, places)

    def _reshaped(self, session: engine.Session) -> np.ndarray:
        return self.array.reshape(session.inputs[0].shape)

    def _tell(self, error: Exception) -> None:
        self._log(f"{self.photo.name}: {one_line(error)}; done by NumPy")

    def _once_more(self, session: engine.Session, name: str, error: Exception) -> Outputs:
        """The outputs of a run with what NumPy makes, after one that the GPU's stages ended."""
        self._tell(error)
        return Outputs(session.run({name: self._reshaped(session)}))


class _ImageRun:
    """A run with stages on the GPU."""

    def __init__(
        self,
        source: PhotoInput,
        session: engine.Session,
        name: str,
        handle: engine.ImageHandle,
        places: Mapping[str, str],
    ) -> None:
        self._source, self._session, self._name = source, session, name
        self._handle, self._places = handle, places

    @property
    def repeated(self) -> bool:
        """Whether it was computed once more, in precision "f32-strict"."""
        return self._handle.repeated

    def result(self) -> Outputs:
        """Wait for the outputs; where the GPU failed and is still there, those of a run without its stages."""
        try:
            result = self._handle.result()
        except engine.DeviceLostError:
            raise
        except engine.BackendError as error:
            return self._source._once_more(self._session, self._name, error)
        outputs = Outputs(result.outputs)
        outputs.levels, outputs.places = result.mask, self._places
        return outputs
