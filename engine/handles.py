"""Runs of a session that have been begun."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from engine.executor import PendingRun
from engine.images import MaskOutput
from engine.overflow import SplitOverflowError

Outputs = Callable[[PendingRun], tuple[dict[str, np.ndarray], Sequence[np.ndarray]]]
"""Waits for a run: the outputs, by name, and what came behind them."""


class Handle:
    """A run that ``Session.submit`` has begun. One that is let go of frees its place for another run.

    Attributes:
        repeated: whether it was computed once more, in precision "f32-strict".
    """

    def __init__(
        self, run: PendingRun, outputs: Outputs, repeat: Callable[[], dict[str, np.ndarray]] | None = None
    ) -> None:
        """``repeat`` computes the outputs in "f32-strict", where "f32" does not hold the numbers of the run."""
        self._run, self._wait, self._repeat = run, outputs, repeat
        self._outputs: dict[str, np.ndarray] | None = None
        self.repeated = False

    @property
    def done(self) -> bool:
        """Whether ``result`` would give the outputs, or raise, without a wait."""
        return self._outputs is not None or self._run.done

    def result(self) -> dict[str, np.ndarray]:
        """The outputs, by name; waits for them. Any thread may call it, and each call gives the same arrays.

        Raises BackendError when the session was closed before the first call, and when in precision "f16" an output of
        finite inputs holds NaN or infinities; DeviceLostError when the GPU went away. An interrupt leaves the run under
        way, and another call waits again.
        """
        if self._outputs is None:
            try:
                self._outputs = self._wait(self._run)[0]
            except SplitOverflowError:
                if self._repeat is None:
                    raise
                self._outputs, self.repeated = self._repeat(), True
            self._repeat = None
        return self._outputs

    def __del__(self) -> None:
        run = getattr(self, "_run", None)
        if run is not None:
            run.drop()


@dataclass(frozen=True, eq=False)
class ImageResult:
    """The outputs, by name, as ``Session.run`` gives them; and the mask, uint8 or uint16 HxW, where one was wanted."""

    outputs: dict[str, np.ndarray]
    mask: np.ndarray | None


class ImageHandle:
    """A run that ``Session.submit_image`` has begun. One that is let go of frees its place for another run.

    Attributes:
        repeated: whether it was computed once more, in precision "f32-strict".
    """

    def __init__(
        self,
        run: PendingRun,
        mask: MaskOutput | None,
        outputs: Outputs,
        repeat: Callable[[], ImageResult] | None = None,
    ) -> None:
        """``repeat`` computes the result in "f32-strict", where "f32" does not hold the numbers of the run."""
        self._run, self._mask, self._outputs, self._repeat = run, mask, outputs, repeat
        self._result: ImageResult | None = None
        self.repeated = False

    @property
    def done(self) -> bool:
        """Whether ``result`` would give the outputs, or raise, without a wait."""
        return self._result is not None or self._run.done

    def result(self) -> ImageResult:
        """The outputs and the mask; waits for them. Any thread may call it, and each call gives the same arrays.

        Raises what ``Handle.result`` does.
        """
        if self._result is None:
            try:
                outputs, others = self._outputs(self._run)
                self._result = ImageResult(outputs, None if self._mask is None else _mask(self._mask, others[0]))
            except SplitOverflowError:
                if self._repeat is None:
                    raise
                self._result, self.repeated = self._repeat(), True
            self._repeat = None
        return self._result

    def __del__(self) -> None:
        run = getattr(self, "_run", None)
        if run is not None:
            run.drop()


def _mask(mask: MaskOutput, words: np.ndarray) -> np.ndarray:
    """The numbers, of the bytes that were read, in whole words."""
    height, width = mask.size
    return words.view(np.uint8 if mask.bits == 8 else np.uint16)[: height * width].reshape(height, width)
