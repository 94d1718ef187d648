"""Which folder is watched, and what becomes of its photos."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nss.batch.planning import Exists
from nss.cutouts.compose import Composition
from nss.errors import UsageError, check_number
from nss.files import formats
from nss.files.formats import Encoding
from nss.masks.refine import Refinement
from nss.photos.image_size import MAX_PIXELS
from nss.serve.watch.journal import check_free, journal_path


@dataclass(frozen=True)
class WatchSettings:
    """A folder, where its cut-outs go, and what they are.

    Attributes:
        inbox: the folder that is watched.
        outbox: the folder of the cut-outs.
        recursive: sub-directories are watched too, and kept in ``outbox``.
        exists: what becomes of a photo whose output exists.
        sidecar: a record goes beside each cut-out.
        refinement: what is done to each mask.
        composition: what the cut-outs show.
        encoding: of the files.
        fail_empty: a photo in which nothing was found fails.
        max_pixels: how many a photo may have.
        interval: seconds from one look into the folder to the next.
        verbose: say of each photo that it was written.
        words: makes the library's words those of whoever reads the journal, the records and what is said.
    """

    inbox: Path
    outbox: Path
    recursive: bool = False
    exists: Exists = "skip"
    sidecar: bool = False
    refinement: Refinement = Refinement()  # noqa: RUF009 - frozen
    composition: Composition = Composition()  # noqa: RUF009 - frozen
    encoding: Encoding = Encoding("png")  # noqa: RUF009 - frozen
    fail_empty: bool = False
    max_pixels: int = MAX_PIXELS
    interval: float = 1.0
    verbose: bool = False
    words: Callable[[str], str] = str

    @property
    def suffix(self) -> str:
        """What follows the stem in the names of outputs."""
        return (".mask" if self.composition.mask_only else ".cutout") + formats.suffix_of(self.encoding.format)


def check(settings: WatchSettings) -> None:
    """Refuse what cannot be watched, before models are opened for it.

    Neither folder is made: one that is missing is a slip of the keyboard, or a share that is not mounted.

    Raises:
        UsageError: one of the folders is none, or may not be read or written; they are one folder, or lie in each other
            so that cut-outs would come to lie among the photos; another server watches ``outbox``; the format has no
            such mask; or the interval is no time.
    """
    check_number("interval", settings.interval)
    if not 0 < settings.interval < float("inf"):
        raise UsageError(f"'interval' {settings.interval}: more than 0 seconds are wanted")
    formats.check_bits(settings.encoding, settings.composition.mask_bits)
    inbox, outbox = settings.inbox, settings.outbox
    for folder, what, mode in (
        (inbox, "be watched", os.R_OK | os.X_OK),
        (outbox, "take cut-outs", os.R_OK | os.W_OK | os.X_OK),
    ):
        if not os.path.isdir(folder):  # noqa: PTH112 - unlike Path.is_dir false, not an error, for impossible names
            kind = "is no folder" if os.path.lexists(folder) else "no such folder"
            raise UsageError(f"{folder}: {kind}, and one is to {what}; create it first, or mount its share")
        if not os.access(folder, mode):
            right = "written" if mode & os.W_OK else "read"
            raise UsageError(f"{folder}: is to {what}, and may not be {right}; check who may")
    if os.path.samefile(inbox, outbox):  # noqa: PTH121 - as all of these
        raise UsageError(f"{outbox}: is the folder that is watched; give cut-outs a folder of their own")
    if _is_within(outbox, inbox):
        raise UsageError(f"{outbox}: lies in {inbox}, which is watched; give cut-outs a folder outside of it")
    if settings.recursive and _is_within(inbox, outbox):
        raise UsageError(
            f"{inbox}: lies in {outbox}, where its own folders are kept; give cut-outs a folder that it does not lie in"
        )
    check_free(journal_path(outbox), outbox)


def _is_within(inner: Path, outer: Path) -> bool:
    """Whether a folder lies in another one, by whatever path it is named."""
    outside = outer.stat()
    return any(os.path.samestat(parent.stat(), outside) for parent in Path(os.path.realpath(inner)).parents)
