"""Runs of a session that take pixels and give masks in whole numbers."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from engine import arguments
from engine.errors import InputError
from engine.executor import PendingRun
from engine.images import MaskOutput, PixelInput


class Pictures(Protocol):
    """What a backend makes of an executor for such runs."""

    def submit(
        self, inputs: Sequence[np.ndarray | PixelInput], mask: MaskOutput | None, output: int, *, allow_nan: bool
    ) -> PendingRun: ...

    def compile_ahead(self, inputs: Sequence[PixelInput | None], mask: MaskOutput | None, output: int) -> None: ...

    def close(self) -> None: ...


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
    ) -> PendingRun:
        """Begin a run. ``arrays`` are all inputs in their order, of which those that ``pixels`` has do not count.

        Raises InputError where the backend takes no pixels, or the session keeps no such output, and what
        ``engine.gpu.run.pictures`` raises.
        """
        if output not in (None, *self._outputs):
            raise InputError(f"the session keeps no output '{output}'; its outputs are {list(self._outputs)}")
        number = 0 if output is None else self._outputs.index(output)
        values = [pixels.get(name, array) for name, array in zip(self._inputs, arrays, strict=True)]
        return self._made().submit(values, mask, number, allow_nan=allow_nan)

    def compile_ahead(self, pixels: Mapping[str, PixelInput], mask: MaskOutput | None) -> None:
        """``Session.compile_images``."""
        self._made().compile_ahead([pixels.get(name) for name in self._inputs], mask, 0)

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
    arguments.check("inputs", inputs, Mapping, "a mapping of inputs' names to arrays and pixels")
    pixels = {name: value for name, value in inputs.items() if isinstance(value, PixelInput)}
    if unknown := [name for name in pixels if name not in names]:
        raise InputError(f"the model has no input {unknown}; its inputs are {list(names)}")
    return {name: value for name, value in inputs.items() if not isinstance(value, PixelInput)}, pixels
