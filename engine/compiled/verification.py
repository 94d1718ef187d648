"""Weights held to their hashes beside other work, such as uploading them."""

from __future__ import annotations

from threading import Thread

from engine.compiled.model import Weights


class Verification:
    """Begins to verify ``weights`` in a thread, which nobody who leaves early waits for."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._error: BaseException | None = None
        self._thread = Thread(target=self._verify, name="engine-verification", daemon=True)
        self._thread.start()

    def _verify(self) -> None:
        try:
            self._weights.verify()
        except BaseException as error:
            self._error = error

    def wait(self) -> None:
        """Wait for the end. Raises ModelError where a part of the weights is damaged."""
        self._thread.join()
        if self._error is not None:
            raise self._error
