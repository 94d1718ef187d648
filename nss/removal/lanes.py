"""The lanes of a Remover in a pipeline: one for each of its networks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import engine
from nss.pipeline.lanes import Lane, Pending, Ready
from nss.removal.network import Network, Output

IN_FLIGHT = 3
"""Runs on a GPU: one is uploaded, one computed, and one read back."""

Begin = Callable[[Any, str], Pending[Output]]
"""`Network.submit`, of a network's input and a photo's name."""


class InterruptedRunError(Exception):
    """A run on the processor that was ended, since nobody wants its output."""


class NetworkLane(Lane[Any, Any, Any]):
    """One of a Remover's networks.

    What is loaded is a `nss.removal.host_stages.PreparedPhoto`, and the output an InferredMask; whatever else is loaded
    needs no network, and goes through as it is.
    """

    def __init__(
        self,
        network: Network,
        submit: Callable[[Any, Begin], Pending[Any]],
        is_prepared: Callable[[Any], bool],
    ) -> None:
        """``submit``: what the Remover does with a photo, given how to begin it."""
        self.depth = IN_FLIGHT if network.session.info.backend == "webgpu" else 1
        self._network, self._submit, self._is_prepared = network, submit, is_prepared
        self._begin = partial(network.submit, observe=self._observe)
        self._is_interrupted = False

    @property
    def session_info(self) -> engine.SessionInfo:
        """What the network runs on now."""
        return self._network.session.info

    def submit(self, _: Any, loaded: Any) -> Pending[Any]:
        """Begin with a photo."""
        return self._submit(loaded, self._begin) if self._is_prepared(loaded) else Ready(loaded)

    def interrupt(self) -> None:
        """End what runs on the processor; a GPU is done soon."""
        self._is_interrupted = True

    def _observe(self, *_: object) -> None:
        if self._is_interrupted:
            raise InterruptedRunError
