"""What becomes of a cut-out: composed, and given its file, with a record beside it. Data, for processes to do it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nss.batch import planning, sidecars
from nss.files import export, output_file

if TYPE_CHECKING:
    from nss.batch.planning import Exists, Job
    from nss.cutouts.compose import ComposedPicture, Composition, Cutout
    from nss.files.formats import Encoding
    from nss.files.output_file import InputFiles
    from nss.files.picture import Picture
    from nss.masks.refine import Refinement


@dataclass(frozen=True)
class OutputFiles:
    """Gives each picture its file.

    Attributes:
        encoding: of all files.
        inputs: what the command reads, which is never overwritten.
        exists: what becomes of a file that exists.
        sidecar: a record goes beside each, whose name must be free too.
    """

    encoding: Encoding
    inputs: InputFiles
    exists: Exists
    sidecar: bool = False

    def write(self, job: Job, picture: Picture) -> bytes | Path | None:
        """The path that the file has taken, or its bytes where the calling thread is to write them.

        None where the output has come into being meanwhile, and is skipped. Raises ImageError where it cannot be
        written.
        """
        if job.target is None or output_file.is_special(job.target):
            return export.encode(picture, self.encoding, job.target_name)
        planning.make_directories(job)
        try:
            return export.write(
                picture,
                job.target,
                encoding=self.encoding,
                inputs=self.inputs,
                overwrite=self.exists == "overwrite",
                alternatives=job.alternatives(sidecar=self.sidecar) if self.exists == "rename" else None,
            )
        except output_file.ExistsError:
            if self.exists == "skip":
                return None
            raise


@dataclass(frozen=True)
class CutoutWriter:
    """Writes cut-outs, as `nss.batch.stages.Write` has it.

    Attributes:
        files: where they go.
        refinement: what was done to their masks, for the record.
        composition: what they show.
        words: makes the library's words those of whoever keeps the record; a function that a module has by name.
    """

    files: OutputFiles
    refinement: Refinement
    composition: Composition
    words: Callable[[str], str] = str

    def __call__(self, job: Job, cutout: Cutout) -> tuple[ComposedPicture, bytes | Path] | None:
        """Compose and write."""
        files = self.files
        composed = cutout.composed(self.composition, opaque=not files.encoding.has_alpha)
        with cutout.timed("encode"):
            file = files.write(job, composed.picture)
        if file is None:
            return None
        if files.sidecar and not isinstance(file, bytes):
            sidecars.write(
                target=file,
                source=job.source,
                cutout=cutout,
                refinement=self.refinement,
                composition=self.composition,
                encoding=files.encoding,
                notes=[self.words(note) for note in cutout.notes],
                inputs=files.inputs,
                overwrite=files.exists == "overwrite",
            )
        return composed, file


@dataclass(frozen=True)
class SheetWriter:
    """Writes contact sheets, as `nss.batch.stages.Write` has it.

    Attributes:
        files: where they go.
        size: the longer side of each picture, in pixels.
        composition: what the cut-out on them shows.
    """

    files: OutputFiles
    size: int
    composition: Composition

    def __call__(self, job: Job, cutout: Cutout) -> tuple[ComposedPicture, bytes | Path] | None:
        """Draw and write."""
        from nss.cutouts.preview import sheet

        composed = sheet(cutout, self.size, self.composition)
        with cutout.timed("encode"):
            file = self.files.write(job, composed.picture)
        return None if file is None else (composed, file)
