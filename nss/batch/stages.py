"""The work on one image, cut into the three stages that overlap over many: decode, network, and all that follows."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nss import pipes
from nss.batch.ahead import FirstPhoto
from nss.batch.output_names import stems
from nss.cutouts.compose import ComposedPicture, Cutout
from nss.cutouts.run_info import RunInfo
from nss.errors import ImageError
from nss.masks import sanity
from nss.photos.image_size import MAX_PIXELS
from nss.pipes import OneTimeFile
from nss.removal.host_stages import HostStages, InferredMask, PreparedPhoto

if TYPE_CHECKING:
    from nss.batch.planning import Job
    from nss.masks.refine import Refinement
    from nss.photos.image_io import Photo
    from nss.photos.source import Source
    from nss.removal.remover import Remover

MASK_NAMES = (".mask.png", ".cutout.png", ".mask.tiff", ".png", ".tiff", ".tif")
"""What follows a photo's stem in the name of its mask, in a directory of masks."""

Write = Callable[["Job", Cutout], "tuple[ComposedPicture, bytes | Path] | None"]
"""Composes a cut-out and writes it; gives the path that the file has taken, or its bytes where the calling thread is to
write them, to standard output for instance, or None where the output has come into being meanwhile and is skipped.
Where other processes are to do it, it pickles (`nss.batch.outputs`)."""


@dataclass(frozen=True)
class Result:
    """What is left of an image when its file is written: no pixels, so that many can be waiting to be reported.

    Attributes:
        width: of the photo, in pixels.
        height: of the photo, in pixels.
        box: left, top, right and bottom of the written picture within the photo.
        notes: what was done to the image that its owner may want to know.
        info: what made the cut-out, and in which time.
        coverage: the mean of the mask, 0 to 1.
        nothing_found: as :class:`nss.Cutout` has it.
        output: the file's path, or its bytes where the calling thread is to write them.
    """

    width: int
    height: int
    box: tuple[int, int, int, int]
    notes: tuple[str, ...]
    info: RunInfo
    coverage: float
    nothing_found: bool
    output: bytes | Path


class NothingFoundError(ImageError):
    """Nothing was found in a photo, and that is to be a failure."""


@dataclass(frozen=True)
class HostWork:
    """The stages on the host: data, as far as ``write`` is, so that another process can do them.

    Attributes:
        stages: what a photo goes through before the network and after it; None where masks are given.
        masks: a file with the mask of a single image, or a directory of masks, that stand for a network.
        refinement: what is done to each mask.
        write: composes and writes.
        max_pixels: how many a photo, or a mask, may have.
        fail_empty: a photo in which nothing was found fails.
        level_bits: the depth of the mask's levels, 8 or 16, where ``write`` takes no more of the mask.
    """

    stages: HostStages | None
    masks: Path | OneTimeFile | None
    refinement: Refinement
    write: Write
    max_pixels: int = MAX_PIXELS
    fail_empty: bool = False
    level_bits: int | None = None

    def load(self, job: Job) -> PreparedPhoto | Cutout:
        """The decoded photo and the network's input, or the cut-out with a mask that was given.

        Raises:
            NssError: the photo cannot be read.
        """
        source = job.source if job.source is not None else read_standard_input()
        if self.stages is not None:
            return self.stages.prepare(source, job.name)
        from nss.removal.given_mask import apply_mask

        assert self.masks is not None
        return apply_mask(source, mask_for(job, self.masks), job.name, max_pixels=self.max_pixels)

    def finish(self, job: Job, network_output: InferredMask | Cutout) -> Result | None:
        """The mask at the photo's size, refined, composed and written; None where the file exists and is skipped.

        Raises:
            NothingFoundError: nothing was found, and that is to be a failure.
            NssError: the cut-out cannot be made or written.
        """
        if isinstance(network_output, Cutout):
            cutout = network_output
        else:
            assert self.stages is not None
            cutout = self.stages.finish(network_output)
        if self.fail_empty and cutout.nothing_found:
            note = next(note for note in cutout.notes if note.startswith(sanity.NOTHING))
            raise NothingFoundError(f"{job.name}: {note}")
        cutout = cutout.refined(self.refinement)
        outcome = self.write(job, cutout)
        if outcome is None:
            return None
        picture, output = outcome
        height, width = cutout.photo_mask.shape
        return Result(
            width=width,
            height=height,
            box=picture.box,
            notes=(*cutout.notes, *picture.notes),
            info=cutout.info,
            coverage=cutout.coverage,
            nothing_found=cutout.nothing_found,
            output=output,
        )


class Work:
    """The three stages of `nss.pipeline.pipeline.Pipeline` in this process, each called from any thread."""

    def __init__(self, host: HostWork, remover: Remover | None, first: FirstPhoto | None = None) -> None:
        """``remover``: what runs the network, where no masks are given. ``first``: the first photo, where it was begun
        to be decoded before there was a remover.
        """
        self._host, self._remover, self._first = host, remover, first

    @property
    def host(self) -> HostWork:
        """What is done on the host."""
        return self._host

    def load(self, job: Job) -> PreparedPhoto | Cutout | None:
        """What goes to the network, as `HostWork.load` makes it, or None to skip.

        Raises:
            NssError: the job was planned as one that fails, or the photo cannot be read.
        """
        if job.error is not None:
            raise job.error
        if job.skipped:
            return None
        if self._remover is None:
            return self._host.load(job)
        if self._first is not None and (decoded := self._first.take(job)):
            photo, milliseconds = decoded
            prepared = self._prepared(self._remover, photo, job)
            return replace(prepared, times={**prepared.times, "decode": milliseconds})
        return self._prepared(self._remover, read_standard_input() if job.source is None else job.source, job)

    def _prepared(self, remover: Remover, source: Source | Photo, job: Job) -> PreparedPhoto:
        bits = self._host.level_bits
        return remover.prepare(source, job.name, refinement=self._host.refinement, mask_bits=bits)

    def infer(self, _: Job, network_input: PreparedPhoto | Cutout | None) -> InferredMask | Cutout | None:
        """The network's mask."""
        if not isinstance(network_input, PreparedPhoto):
            return network_input
        assert self._remover is not None
        return self._remover.infer(network_input)

    def finish(self, job: Job, network_output: InferredMask | Cutout | None) -> Result | None:
        """What becomes of a photo behind the network, as `HostWork.finish` has it."""
        return None if network_output is None else self._host.finish(job, network_output)


def mask_for(job: Job, masks: Path | OneTimeFile) -> Path | OneTimeFile:
    """The mask that belongs to an image. Raises ImageError where a directory of masks has none."""
    if isinstance(masks, OneTimeFile) or not masks.is_dir():
        return masks
    source = job.source or Path("stdin")
    stem = source.stem
    for beginning in stems(source, masks):
        for name in MASK_NAMES:
            if os.path.isfile(path := masks / (beginning + name)):  # noqa: PTH113 - false for one that is too long
                return path
    names = ", ".join(f"{stem}{name}" for name in MASK_NAMES[:2])
    raise ImageError(f"{job.name}: has no mask in {masks}{os.sep}: there is no {names} or {stem}{MASK_NAMES[3]}")


def read_standard_input() -> bytes:
    """All of standard input. Raises ImageError where it is closed, or a terminal."""
    if sys.stdin is None:
        raise ImageError("<standard input>: is closed; send an image to it (nss-wgpu remove - < photo.jpg)")
    if sys.stdin.isatty():
        raise ImageError("<standard input>: is a terminal; send an image to it (nss-wgpu remove - < photo.jpg)")
    try:
        return pipes.read_to_end(sys.stdin.fileno())
    except OSError as error:
        raise ImageError(f"<standard input>: cannot be read: {error.strerror or error}") from error
