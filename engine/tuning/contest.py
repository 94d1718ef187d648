"""The rows of one kind of layer against each other on a device: all but the slow are held to the oracle, and timed."""

from __future__ import annotations

import time
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import replace
from typing import Any

from engine.compiled.model import CompiledModel
from engine.errors import BackendError, DeviceLostError, EngineError, TooLargeError, UnsupportedError
from engine.gpu.device.device import Device
from engine.tuning.cases import Case
from engine.tuning.race import first_sample, pace, race, slow, winner
from engine.tuning.report import Rejection, TunedLayer
from engine.tuning.timing import Timing, Trial, compile_ahead

SEED = 0
"""Of the inputs on which results are held to the oracle's."""


class Contest:
    """One kind of layer, and the rows that support it.

    ``before`` is the row that the layer has without a tuning. What a row takes does not depend on numbers, so that the
    slow are dropped before there is anything to compare with.
    """

    def __init__(self, device: Device, case: Case, before: str) -> None:
        self.case, self.before = case, before
        self._device = device
        self._models: dict[str, CompiledModel] = {}
        self._trials: dict[str, Trial] = {}
        self._first: dict[str, float] = {}
        self._timings: dict[str, Timing] = {}
        self._right: set[str] = set()
        self._rejected: dict[str, Rejection] = {}
        self._oracle: Future[Any] | None = None

    def prepare(self, threads: Executor) -> None:
        """Begin to compile every row, and to compute what the oracle has."""
        for row in self.case.rows:
            with suppress(EngineError):  # which the row's own turn will find
                self._models[row] = compile_ahead(self._device, self.case, row)
        self._oracle = threads.submit(self.case.oracle, SEED)

    def result(self, last: float) -> TunedLayer | None:
        """The fastest row; None where the time, by ``time.monotonic``, was up before each had its turn.

        Raises DeviceLostError, and what the oracle raises.
        """
        try:
            # the row that the layer has comes first: what is much slower is dropped at once
            for row in sorted(self.case.rows, key=lambda row: row != self.before):
                if time.monotonic() >= last:
                    return None
                self._enter(row)
            # a row that was wrong may have been what others were slow beside
            while unknown := self._finalists() - self._right:
                for row in unknown:
                    self._check(row)
            if self._right and self._device.core_clock.is_down:
                self._trials[min(self._right)].wake()
            seconds = race(
                sorted(self._right), lambda row: self._trials[row].sample(), may_go_on=lambda: time.monotonic() < last
            )
            clock = pace(self._first, seconds)
            dropped = {row: replace(timing, seconds=timing.seconds * clock) for row, timing in self._timings.items()}
            timings = dropped | {row: self._trials[row].timing(median) for row, median in seconds.items()}
        finally:
            self.close()
        return TunedLayer(
            key=self.case.key,
            op=self.case.node.op,
            count=self.case.count,
            table=self.case.row,
            before=self.before,
            after=winner(seconds, self.before) if seconds else self.before,
            timings=timings,
            rejected=self._rejected,
        )

    def close(self) -> None:
        """Let go of all memory."""
        if self._oracle is not None:
            self._oracle.cancel()
        for trial in self._trials.values():
            trial.close()
        self._trials.clear()
        self._models.clear()
        self.case.forget()

    def _enter(self, row: str) -> None:
        """Take a row's first sample; close those that are slow by then."""
        trial = self._trial(row)
        if trial is None:
            return
        seconds = trial.wake()
        if self._first and self._device.core_clock.varies:
            seconds = first_sample(row, self._first, lambda each: self._trials[each].sample())
        self._first[row] = seconds
        self._timings[row] = trial.timing(self._first[row])
        for other in self._trials.keys() & slow(self._first):
            self._trials.pop(other).close()

    def _finalists(self) -> set[str]:
        """The rows that are not slow beside the others that are left."""
        return self._first.keys() - slow(self._first)

    def _check(self, row: str) -> None:
        """Hold a row to the oracle; reject it where it is over the tolerance, or cannot run."""
        trial = self._trial(row)
        if trial is None:
            return
        if self._oracle is not None:
            self._oracle.result()
        trial.check(SEED)
        if trial.is_right:
            self._right.add(row)
        else:
            self._reject(row, "wrong")

    def _trial(self, row: str) -> Trial | None:
        """The row on the device; None where that is not possible, and the row is rejected."""
        if row not in self._trials:
            try:
                self._trials[row] = Trial(self._device, self.case, row, self._models.get(row))
            except DeviceLostError:
                raise
            except UnsupportedError:
                self._reject(row, "unsupported")
            except TooLargeError:
                self._reject(row, "no room")
            except BackendError:
                self._reject(row, "failed")
        return self._trials.get(row)

    def _reject(self, row: str, why: Rejection) -> None:
        self._rejected[row] = why
        self._first.pop(row, None)
        self._timings.pop(row, None)
        if trial := self._trials.pop(row, None):
            trial.close()
