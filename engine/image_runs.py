"""Runs of a session that take pixels and give masks in whole numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from engine.errors import InputError
from engine.images import MaskOutput, PixelInput


class PendingArrays(Protocol):
    """A run that has been begun; it gives the outputs, and behind them the bytes of a mask."""

    @property
    def done(self) -> bool: ...

    def result(self) -> Sequence[np.ndarray]: ...

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


def split_inputs(
    inputs: Mapping[str, np.ndarray | PixelInput], names: Sequence[str]
) -> tuple[dict[str, np.ndarray], dict[str, PixelInput]]:
    """The inputs that are arrays, and those that are made of pixels. Raises InputError for one that is not in names."""
    pixels = {name: value for name, value in inputs.items() if isinstance(value, PixelInput)}
    if unknown := [name for name in pixels if name not in names]:
        raise InputError(f"the model has no input {unknown}; its inputs are {list(names)}")
    return {name: value for name, value in inputs.items() if not isinstance(value, PixelInput)}, pixels
