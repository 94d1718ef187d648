"""What a server has its pipelines do: a photo of a request, or of a watched folder."""

from __future__ import annotations

from typing import Any, Literal, Protocol

from nss.removal.remover import Remover

Stage = Literal["decode", "network", "finish"]
STAGES: tuple[Stage, ...] = ("decode", "network", "finish")


class Cancelled(Exception):  # noqa: N818 - no error: nobody wants the photo any more
    """The task was given up between two stages."""


class Task(Protocol):
    """A photo on its way through a Remover. All methods are called from the pipeline's threads, one at a time.

    Attributes:
        name: what to call the photo.
        is_cancelled: nobody wants it any more: it ends with `Cancelled` before its next stage.
    """

    name: str
    is_cancelled: bool

    def cost(self) -> int:
        """Bytes that it takes in work (`nss.pipeline.photo_bytes`)."""
        ...

    def entered(self, stage: Stage) -> None:
        """It is at this stage now."""
        ...

    def load(self, remover: Remover) -> Any:
        """Decode. A `nss.removal.host_stages.PreparedPhoto` goes to the network, and whatever else is returned to
        `finish` as it is: a cut-out with a mask that was given. Raises what a photo's failure is.
        """
        ...

    def finish(self, remover: Remover, output: Any) -> Any:
        """What becomes of it behind the network. Raises what a photo's failure is."""
        ...

    def done(self, outcome: Any) -> None:
        """It is over: what `finish` gave, or the exception of a stage. Called once."""
        ...
