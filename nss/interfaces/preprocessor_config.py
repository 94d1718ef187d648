"""``preprocessor_config.json``, in which Hugging Face's repositories say how a model wants its photo."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar, cast

from nss.arrays.filters import Filter
from nss.errors import UsageError, quoted
from nss.interfaces.interface import Description, parse_description

_Path = TypeVar("_Path", Path, PurePosixPath)

NAME = "preprocessor_config.json"
LARGEST = 1 << 20
"""Bytes; a file of this name that has more is another."""

# Pillow's numbers; its box (4) and Hamming (5) are not among this project's filters.
_RESAMPLE: dict[int, Filter] = {
    0: "nearest",
    1: "lanczos-antialias",
    2: "bilinear-antialias",
    3: "bicubic-antialias",
}
_OTHER = {4: "box", 5: "Hamming"}


def places(model: _Path) -> list[_Path]:
    """Where the configuration of a model's file may lie: beside it, or one folder up where it lies in ``onnx/``."""
    folder = model.parent
    return [place / NAME for place in ((folder, folder.parent) if folder.name == "onnx" else (folder,))]


def beside(model: Path) -> Path | None:
    """The first of the `places` on this machine; None without one.

    A link is taken where it lies, not where it leads: that is how Hugging Face's cache holds its files.
    """
    for path in places(Path(os.path.abspath(model))):  # noqa: PTH100 - resolve() would follow the link
        with suppress(OSError):
            if path.is_file():
                return path
    return None


def read(path: Path) -> tuple[Description, list[str]]:
    """What the file says, and lines on what of it is not followed; nothing of a damaged file is."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
        values = json.loads(content) if len(content) <= LARGEST else None
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no JSON"
        return {}, [f"{path}: ignored: {reason or error}"]
    if not isinstance(values, Mapping):
        return {}, [f"{path}: ignored: it holds no JSON object"]
    return parse(values, str(path))


def parse(values: Mapping[str, Any], where: str) -> tuple[Description, list[str]]:
    """The same of the JSON object itself; ``where`` begins each line.

    Keys are those of transformers and transformers.js. What a model does not say is left open, but for the factor of
    1/255, and RGB, which all of its readers take for granted.
    """
    settings: dict[str, Any] = {}
    lines: list[str] = []
    if values.get("do_flip_channel_order") is True:
        settings["channels"] = "BGR"
    if values.get("do_normalize") is False:
        settings["mean"], settings["std"] = 0.0, 1.0
    else:
        settings |= {key: values[f"image_{key}"] for key in ("mean", "std") if values.get(f"image_{key}") is not None}
    if values.get("do_rescale") is False:
        settings["scale"] = 1.0
    elif values.get("rescale_factor") is not None:
        settings["scale"] = values["rescale_factor"]
    elif settings.keys() & {"mean", "std"}:
        settings["scale"] = 1 / 255
    if values.get("do_resize") is not False:
        _add_size(values, settings, lines, where)
        _add_filter(values.get("resample"), settings, lines, where)
    description: dict[str, Any] = {}
    for key, value in settings.items():
        try:
            description |= parse_description({key: value}, where)
        except UsageError as error:
            lines.append(f"{error}; ignored")
    if description.keys() & {"mean", "std", "scale"}:
        description.setdefault("channels", "RGB")
    return cast("Description", description), lines


def _add_size(values: Mapping[str, Any], settings: dict[str, Any], lines: list[str], where: str) -> None:
    size = values.get("size", values.get("image_size"))
    if values.get("do_center_crop") is True and values.get("crop_size") is not None:
        size = values["crop_size"]
        lines.append(f"{where}: the middle is not cut out, as it says: the whole photo is resized to crop_size")
    if size is None:
        return
    multiple = next((values[key] for key in _MULTIPLES if values.get(key) is not None), 1)
    if not isinstance(size, Mapping):
        settings["size"] = size
    elif "height" in size and "width" in size:
        settings["size"] = [size["height"], size["width"]]
    elif size.get("shortest_edge") is not None:
        settings["size"] = {"shortest_edge": size["shortest_edge"], "multiple_of": multiple}
        if size.get("longest_edge") is not None:
            lines.append(f"{where}: longest_edge beside shortest_edge is not followed")
    elif size.get("longest_edge") is not None:
        settings["size"] = {"longest_edge": size["longest_edge"], "multiple_of": multiple}
    else:
        settings["size"] = size  # `parse_description` refuses it, with a line


_MULTIPLES = ("size_divisor", "size_divisibility", "ensure_multiple_of", "pad_multiple", "pad_size_divisor")
"""What the sides are made multiples of, as transformers, transformers.js and single models call it."""


def _add_filter(resample: Any, settings: dict[str, Any], lines: list[str], where: str) -> None:
    if resample is None:
        return
    if not isinstance(resample, bool) and isinstance(resample, int) and resample in _RESAMPLE:
        settings["filter"] = _RESAMPLE[resample]
    elif not isinstance(resample, bool) and isinstance(resample, int) and resample in _OTHER:
        settings["filter"] = "bilinear-antialias"
        lines.append(f"{where}: resample {resample} ({_OTHER[resample]}) is taken for bilinear")
    else:
        lines.append(f"{where}: resample {quoted(resample)} is none of Pillow's filters; ignored")
