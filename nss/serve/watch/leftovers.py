"""What a server that was killed has left of a watch: photos in work, and temporary files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from nss.batch.sidecars import path_for
from nss.files import output_file
from nss.serve.watch.journal import Entry, Journal
from nss.serve.watch.settings import WatchSettings

MOST_CRASHES = 2
"""A photo that was in work so often when the server ended by itself is left alone."""

CRASHED = f"the server ended {MOST_CRASHES} times while it was at work on it"


def mark_of(outbox: Path) -> str:
    """What the names of this watch's temporary files begin with, the same at every start."""
    digest = hashlib.sha256(os.fsencode(os.path.realpath(outbox))).hexdigest()
    return f"watch-{digest[:12]}-"


def take_up(journal: Journal, settings: WatchSettings) -> list[str]:
    """Settle what was in work when the last server ended, by itself or by a kill; returns what there is to say.

    A cut-out that has got its name is whole, and done. Any other photo is a suspect, and at the second time guilty.
    """
    lines = []
    for entry in journal.all():
        if entry.event not in ("begun", "writing"):
            continue
        name = settings.inbox / entry.photo
        if _has_its_name(entry, settings.outbox):
            journal.write(replace(entry, event="done", file=None, crashes=0))
            if settings.sidecar and not os.path.lexists(path_for(settings.outbox / entry.output)):
                lines.append(f"{name}: its cut-out was written before the server was killed, and no record beside it")
            continue
        crashed = replace(entry, event="crashed", file=None, crashes=entry.crashes + 1)
        if crashed.crashes >= MOST_CRASHES:
            crashed = replace(crashed, event="failed", why=CRASHED)
            lines.append(f"{name}: {CRASHED}; it is left alone until it changes")
        journal.write(crashed)
    return lines


def remove_temporaries(outbox: Path, folders: Iterable[Path], outputs: Iterable[str]) -> None:
    """Remove the temporary files of this watch from ``folders`` of the cut-outs, and where these outputs go."""
    mark = mark_of(outbox)
    targets = {outbox / output for output in outputs if output}
    # the folder of an output counts, and where a link of its name leads to; its name itself only where it is one
    known = {target.parent for target in targets if not target.is_symlink()}
    for folder in {outbox, *folders} - known:
        targets.add(folder / "photo")
    for target in targets:
        output_file.clear_up(target, mark, ())


def _has_its_name(entry: Entry, outbox: Path) -> bool:
    """Whether the file that was about to get a name has it. A share may have another device after each start."""
    if entry.event != "writing" or entry.file is None or not entry.file[1]:
        return False
    try:
        return (outbox / entry.output).stat(follow_symlinks=False).st_ino == entry.file[1]
    except OSError:
        return False
