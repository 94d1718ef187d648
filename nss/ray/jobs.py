"""A photo of a run on a cluster, as a job of a batch: the same stages do it, and the same lines tell of it."""

from __future__ import annotations

from dataclasses import dataclass

from nss.batch.planning import Job
from nss.ray import storage
from nss.ray.listing import Pair


@dataclass(frozen=True)
class PhotoJob(Job):
    """A photo of any storage. It has neither a ``source`` nor a ``target``, which are paths.

    Attributes:
        index: its place in the run.
        input: its address.
        output: the address of the output.
        output_below: the same below the target, with slashes.
        replace: what has the output's name is replaced.
    """

    index: int = -1
    input: str = ""
    output: str = ""
    output_below: str = ""
    replace: bool = False

    @classmethod
    def of(cls, pair: Pair, target: str, index: int = -1, *, replace: bool = False, skipped: bool = False) -> PhotoJob:
        """The job of a photo and its output below ``target``."""
        return cls(
            source=None,
            target=None,
            skipped=skipped,
            index=index,
            input=pair.input,
            output=storage.join(target, pair.output),
            output_below=pair.output,
            replace=replace,
        )

    @property
    def name(self) -> str:
        """See `nss.batch.planning.Job`."""
        return self.input

    @property
    def target_name(self) -> str:
        """See `nss.batch.planning.Job`."""
        return self.output

    @property
    def to_standard_output(self) -> bool:
        """See `nss.batch.planning.Job`."""
        return False
