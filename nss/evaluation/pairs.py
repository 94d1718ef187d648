"""Masks and cut-outs compared with the truth: which files belong together, and the scores of each pair."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from nss.errors import ImageError, UsageError
from nss.evaluation.metrics import Scores, colour_error, scores
from nss.photos import image_io
from nss.photos.image_io import Photo
from nss.photos.image_size import MAX_PIXELS

ENDINGS = (".cutout", ".mask", "")
"""What may follow an image's name in the name of a prediction; where there are several, the first is taken."""

FOREGROUND = ".foreground"
"""What follows an image's name in the name of the file with its true colours."""

MEASURES = tuple(field.name for field in fields(Scores))


@dataclass(frozen=True)
class Pair:
    """A prediction and its truth.

    Attributes:
        name: the image's name: the truth's file name without extension.
        pred: a mask, or an image with alpha.
        truth: the true mask.
        foreground: the true colours, or None.
        error: why the pair cannot be compared, known from the names alone, or None.
    """

    name: str
    pred: Path
    truth: Path
    foreground: Path | None = None
    error: str | None = None


@dataclass(frozen=True)
class Evaluation:
    """The scores of a pair, or the error."""

    pair: Pair
    scores: Scores | None
    error: ImageError | None = None


def match_pairs(pred_dir: Path, truth_dir: Path) -> tuple[list[Pair], list[str]]:
    """The pairs that two folders make, by name, and a line for each file that has no counterpart.

    Raises:
        UsageError: one of them is no folder, or cannot be read.
    """
    truths, foregrounds = _truths(truth_dir)
    preds = _predictions(pred_dir)
    pairs, lines = [], []
    for name, files in truths.items():
        if name not in preds:
            lines.append(f"{files[0]}: has no prediction in {pred_dir}")
            continue
        predictions, colours = preds.pop(name), foregrounds.get(name, [])
        duplicates = next((group for group in (files, predictions, colours) if len(group) > 1), None)
        error = (
            f"{' and '.join(file.name for file in duplicates)} are for the same image; keep one" if duplicates else None
        )
        foreground = colours[0] if colours else None
        pairs.append(Pair(name, pred=predictions[0], truth=files[0], foreground=foreground, error=error))
    for files in preds.values():
        lines += [f"{file}: has no truth in {truth_dir}" for file in files]
    return pairs, lines


def compare_pairs(pairs: list[Pair], max_pixels: int = MAX_PIXELS) -> Iterator[Evaluation]:
    """The scores of each pair, or why there are none; no image may have more than ``max_pixels``."""
    for pair in pairs:
        try:
            if pair.error:
                raise ImageError(pair.error)
            (pred, photo), (truth, _) = _mask(pair.pred, max_pixels), _mask(pair.truth, max_pixels)
            _same_size(pair.truth, truth, pair.pred, pred)
            result = scores(pred, truth)
            if pair.foreground and photo.alpha is not None:
                colours = image_io.load(pair.foreground, max_pixels=max_pixels).rgb
                _same_size(pair.foreground, colours, pair.pred, pred)
                # what is wholly transparent shows no colour
                result = replace(result, colour=colour_error(photo.rgb, colours, truth * (pred > 0)))
            yield Evaluation(pair, result)
        except ImageError as error:
            yield Evaluation(pair, None, error)


def mean(results: list[Scores]) -> Scores | None:
    """The mean of each measure, of the colour error over the images that have one; None without results."""
    if not results:
        return None
    columns = {name: [value for item in results if (value := getattr(item, name)) is not None] for name in MEASURES}
    return Scores(**{name: math.fsum(values) / len(values) for name, values in columns.items() if values})


def _truths(folder: Path) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    """The true masks and the true colours in a folder, by image name."""
    masks: dict[str, list[Path]] = {}
    colours: dict[str, list[Path]] = {}
    for file in _images(folder):
        if file.stem.endswith(FOREGROUND):
            colours.setdefault(file.stem.removesuffix(FOREGROUND), []).append(file)
        else:
            masks.setdefault(file.stem, []).append(file)
    return masks, colours


def _predictions(folder: Path) -> dict[str, list[Path]]:
    """The predictions in a folder by image name: of several endings those with the first of ``ENDINGS``."""
    by_ending: dict[str, dict[str, list[Path]]] = {}
    for file in _images(folder):
        ending = next(ending for ending in ENDINGS if file.stem.endswith(ending))
        by_ending.setdefault(file.stem.removesuffix(ending), {}).setdefault(ending, []).append(file)
    return {name: next(ranks[ending] for ending in ENDINGS if ending in ranks) for name, ranks in by_ending.items()}


def _images(folder: Path) -> list[Path]:
    try:
        return sorted(
            file for file in folder.iterdir() if file.suffix.lower() in image_io.EXTENSIONS and file.is_file()
        )
    except OSError as error:
        raise UsageError(f"{folder}: cannot be listed as a folder: {error.strerror}") from error


def _mask(path: Path, max_pixels: int) -> tuple[np.ndarray, Photo]:
    """A file as a mask, float32 HxW in 0..1, and as an image."""
    photo = image_io.load(path, max_pixels=max_pixels)
    grey = bool((photo.rgb == photo.rgb[..., :1]).all())
    if photo.alpha is not None and not grey and bool((photo.alpha == 255).all()):
        # a cut-out that lost nothing, where `load_mask` cannot know that it is no photo
        return np.ones(photo.size, np.float32), photo
    return image_io.load_mask(path, max_pixels=max_pixels), photo


def _same_size(path: Path, image: np.ndarray, pred: Path, mask: np.ndarray) -> None:
    sizes = [f"{array.shape[1]} x {array.shape[0]}" for array in (mask, image)]
    if sizes[0] != sizes[1]:
        raise ImageError(f"{pred} is {sizes[0]} pixels and {path} {sizes[1]}; they must be of one size")
