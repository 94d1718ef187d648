"""Runs that take pixels and give masks in whole numbers: stages before and behind an executor's commands."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.errors import InputError
from engine.gpu.images.runner import ImageStages
from engine.gpu.run.around import Epilogue, Prologue, Readback, Upload
from engine.gpu.run.executor import GpuExecutor
from engine.gpu.run.slots import Run
from engine.images import MaskOutput, PixelInput


class Pictures:
    """What an executor needs for them; any thread may submit. ``close`` comes before the executor's own."""

    def __init__(self, executor: GpuExecutor) -> None:
        self._executor = executor
        self.stages = ImageStages(executor.device)

    def submit(
        self, inputs: Sequence[np.ndarray | PixelInput], mask: MaskOutput | None, output: int, *, allow_nan: bool
    ) -> Run:
        """Begin a run; what it gives is the outputs, and with ``mask`` behind them the bytes of that.

        At most one input is made of pixels. ``output`` is the number of the one that the mask is in. Raises as
        ``ImageStages`` and ``GpuExecutor.submit`` do, before anything is submitted.
        """
        made = [number for number, value in enumerate(inputs) if isinstance(value, PixelInput)]
        if len(made) > 1:
            raise InputError("one input of a run is made of pixels, and no more")
        return self._executor.submit(
            [None if isinstance(value, PixelInput) else value for value in inputs],
            allow_nan=allow_nan,
            prologue=self._prologue(made[0], inputs[made[0]]) if made else None,
            epilogue=None if mask is None else self._epilogue(output, mask),
        )

    def _prologue(self, number: int, source: np.ndarray | PixelInput) -> Prologue:
        assert isinstance(source, PixelInput)
        place = self._executor._inputs[number]
        if place.buffer is None:
            raise InputError(f"input '{place.name}' is read by nothing, and is not made of pixels")
        stage = self.stages.input(source, place, self._executor.input_binding(number)[0])
        return Prologue([Upload(source.pixels, stage.buffer, stage.offset)], stage.commands, (number,))

    def _epilogue(self, number: int, mask: MaskOutput) -> Epilogue:
        place = self._executor._outputs[number]
        if place.buffer is None:
            raise InputError(f"output '{place.name}' is constant, and no mask is made of it")
        stage = self.stages.output(mask, place, self._executor.output_binding(number)[0])
        words = -(-stage.nbytes // 4) * 4
        return Epilogue(stage.commands, [Readback(stage.buffer, stage.offset, words)], outputs=True)

    def close(self) -> None:
        """Free the stages' memory."""
        self.stages.close()
