"""``nss-wgpu check``: whether cut-outs hold straight alpha, and how clean their edges are."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nss.cli.run_options import JsonOption, MaxPixelsOption
from nss.cli.terminal import complain, describe, escaped
from nss.photos.image_size import MAX_PIXELS, limit_pillow

if TYPE_CHECKING:
    from nss.evaluation.examine import Examination

HIDDEN = {"none": "", "zero": ", black under alpha 0", "colour": ", colour under alpha 0"}


def check(
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="Images.", show_default=False)],
    photo: Annotated[
        str | None,
        typer.Option(
            metavar="PHOTO",
            help="The photo that they were made from, of the same size: decides doubts.",
            show_default=False,
        ),
    ] = None,
    max_pixels: MaxPixelsOption = MAX_PIXELS,
    as_json: JsonOption = False,
) -> None:
    """Say whether images have straight or premultiplied alpha, what is hidden, and how far edges are from clean.

    The fringe is how far, in levels of 255, the colours of soft pixels are from those of the foreground next to them.

    Status 1 where a file is premultiplied or cannot be read, and 0 otherwise. Opaque files pass, and undecided ones,
    whose soft pixels are too few or too dark to tell: they look the same either way.
    """
    from nss.evaluation.examine import examine
    from nss.photos import image_io

    limit_pillow(max_pixels)
    original = None if photo is None else image_io.load(photo, max_pixels=max_pixels)
    passed = True
    for name in files:
        try:
            examination = examine(Path(name), original, max_pixels=max_pixels)
        except Exception as failure:
            passed = False
            reason = describe(failure, name)
            complain(reason)
            if as_json:
                print(json.dumps({"name": name, "error": reason}), flush=True)
            continue
        passed &= examination.passed
        if as_json:
            print(json.dumps({**asdict(examination), "passed": examination.passed, "error": None}), flush=True)
        else:
            print(_line(examination), flush=True)
    raise typer.Exit(0 if passed else 1)


def _line(item: Examination) -> str:
    size = f"{item.width} x {item.height}" + (f", {item.bits} bits" if item.bits != 8 else "")
    fringe = f", fringe {item.fringe:.1f}" if item.fringe is not None else ""
    return f"{escaped(item.name)}: {item.alpha} ({item.format}, {size}{HIDDEN[item.hidden]}{fringe})"
