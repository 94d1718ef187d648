"""Many photos through one Remover, as an iterator."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from typing import Any, TypeVar

import engine
from nss.cutouts.compose import Cutout
from nss.errors import NssError, UsageError, one_line, quoted
from nss.photos.image_io import Photo
from nss.photos.source import Source
from nss.pipeline.budget import MemoryBudget, default_bytes
from nss.pipeline.lanes import AnyLane
from nss.pipeline.photo_bytes import EACH, FINISHING, source_bytes
from nss.pipeline.pipeline import Pipeline

AnySource = TypeVar("AnySource", bound=Source | Photo)


def map_photos(
    sources: Iterable[AnySource],
    load: Callable[[AnySource], Any],
    lanes: Callable[[], Sequence[AnyLane]],
    finish: Callable[[AnySource, Any], Cutout],
    *,
    jobs: int | None,
    ordered: bool,
    memory: int | None,
    max_pixels: int,
) -> Generator[tuple[AnySource, Cutout | NssError], None, None]:
    """Each source with its cut-out, or with what went wrong; see `nss.Remover.map`. Nothing begins before the first.

    Raises UsageError at once where ``jobs`` or ``memory`` are not positive, or ``sources`` is a single image.
    """
    if isinstance(sources, (str, bytes, bytearray, memoryview)) or not isinstance(sources, Iterable):
        # a path's letters would each be a path, and bytes numbers
        raise UsageError(f"'sources' is of type {type(sources).__name__}; give a list, or any iterable, of images")
    for name, number in (("jobs", jobs), ("memory", memory)):
        if number is not None and not (isinstance(number, int) and number > 0):
            raise UsageError(f"'{name}' is {quoted(number)}; a positive whole number is wanted")

    def cost(source: AnySource) -> int:
        if isinstance(source, Photo):
            height, width = source.size
            return EACH + round(FINISHING * height * width)
        return source_bytes(source, max_pixels=max_pixels)

    def results() -> Generator[tuple[AnySource, Cutout | NssError], None, None]:
        pipeline = Pipeline(
            load,
            lanes(),
            finish,
            workers=engine.available_cores() if jobs is None else jobs,
            budget=MemoryBudget(default_bytes() if memory is None else memory),
            cost=cost,
            ordered=ordered,
            results_hold_pixels=True,
        )
        with closing(pipeline.results(sources)) as pairs:
            for source, result in pairs:
                yield source, as_nss_error(result, source) if isinstance(result, Exception) else result
                del source, result  # which the caller may be done with

    return results()


def as_nss_error(error: Exception, source: Source | Photo) -> NssError:
    """What went wrong with a photo; what no one foresaw becomes a line with the photo's name, and is its cause."""
    if isinstance(error, NssError):
        return error
    if isinstance(source, Photo):
        name = source.name
    else:
        name = os.fsdecode(source) if isinstance(source, (str, os.PathLike)) else "<image>"
    if isinstance(error, MemoryError):
        what = NssError(f"{name}: not enough memory")
    else:
        what = NssError(f"{name}: unexpected {type(error).__name__}: {one_line(error)} (please report it)")
    what.__cause__ = error
    return what
