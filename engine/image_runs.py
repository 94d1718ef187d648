"""Runs of a session that take pixels and give masks in whole numbers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from engine.errors import InputError
from engine.images import MaskOutput, PixelInput


class PendingArrays(Protocol):
    """A run that has been begun; it gives the outputs, and behind them the bytes of a mask."""

    inputs_finite: bool

    @property
    def done(self) -> bool: ...

    def result(self) -> list[np.ndarray]: ...

    def drop(self) -> None: ...


class Pictures(Protocol):
    """What a backend makes of an executor for such runs."""

    def submit(
        self, inputs: Sequence[np.ndarray | PixelInput], mask: MaskOutput | None, output: int, *, allow_nan: bool
    ) -> PendingArrays: ...

    def close(self) -> None: ...


@dataclass(frozen=True, eq=False)
class ImageResult:
    """The outputs, by name, as ``Session.run`` gives them; and the mask, uint8 or uint16 HxW, where one was wanted."""

    outputs: dict[str, np.ndarray]
    mask: np.ndarray | None


class ImageHandle:
    """A run that ``Session.submit_image`` has begun. One that is let go of frees its place for another run."""

    def __init__(
        self,
        run: PendingArrays,
        mask: MaskOutput | None,
        outputs: Callable[[PendingArrays], tuple[dict[str, np.ndarray], Sequence[np.ndarray]]],
    ) -> None:
        """``outputs`` waits for a run: the outputs by name, and what came behind them."""
        self._run, self._mask, self._outputs = run, mask, outputs
        self._result: ImageResult | None = None

    @property
    def done(self) -> bool:
        """Whether ``result`` would give the outputs, or raise, without a wait."""
        return self._result is not None or self._run.done

    def result(self) -> ImageResult:
        """The outputs and the mask; waits for them. Any thread may call it, and each call gives the same arrays.

        Raises what ``Handle.result`` does.
        """
        if self._result is None:
            outputs, others = self._outputs(self._run)
            self._result = ImageResult(outputs, None if self._mask is None else _mask(self._mask, others[0]))
        return self._result

    def __del__(self) -> None:
        run = getattr(self, "_run", None)
        if run is not None:
            run.drop()


def _mask(mask: MaskOutput, words: np.ndarray) -> np.ndarray:
    """The numbers, of the bytes that were read, in whole words."""
    height, width = mask.size
    return words.view(np.uint8 if mask.bits == 8 else np.uint16)[: height * width].reshape(height, width)


class ImageRuns:
    """Runs of one session; what they need on the device is made by the first. Any thread may submit."""

    def __init__(self, executor: Any, backend: str, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        """``inputs`` and ``outputs`` are names."""
        self._executor, self._backend = executor, backend
        self._inputs, self._outputs = inputs, outputs
        self._lock = threading.Lock()
        self._pictures: Pictures | None = None

    def submit(
        self,
        arrays: Sequence[np.ndarray],
        pixels: Mapping[str, PixelInput],
        mask: MaskOutput | None,
        output: str | None,
        *,
        allow_nan: bool,
    ) -> PendingArrays:
        """Begin a run. ``arrays`` are all inputs in their order, of which those that ``pixels`` has do not count.

        Raises InputError where the backend takes no pixels, or the session keeps no such output, and what
        ``engine.gpu.run.pictures`` raises.
        """
        if output not in (None, *self._outputs):
            raise InputError(f"the session keeps no output '{output}'; its outputs are {list(self._outputs)}")
        number = 0 if output is None else self._outputs.index(output)
        values = [pixels.get(name, array) for name, array in zip(self._inputs, arrays, strict=True)]
        return self._made().submit(values, mask, number, allow_nan=allow_nan)

    def _made(self) -> Pictures:
        with self._lock:
            if self._pictures is None:
                if self._backend != "webgpu":
                    raise InputError(f"backend '{self._backend}' takes arrays and no pixels; only 'webgpu' does")
                from engine.gpu.run.pictures import Pictures as GpuPictures

                self._pictures = GpuPictures(self._executor)
            return self._pictures

    def close(self) -> None:
        """Free what they need on the device."""
        with self._lock:
            if self._pictures is not None:
                self._pictures.close()


def split_inputs(
    inputs: Mapping[str, np.ndarray | PixelInput], names: Sequence[str]
) -> tuple[dict[str, np.ndarray], dict[str, PixelInput]]:
    """The inputs that are arrays, and those that are made of pixels. Raises InputError for one that is not in names."""
    pixels = {name: value for name, value in inputs.items() if isinstance(value, PixelInput)}
    if unknown := [name for name in pixels if name not in names]:
        raise InputError(f"the model has no input {unknown}; its inputs are {list(names)}")
    return {name: value for name, value in inputs.items() if not isinstance(value, PixelInput)}, pixels
