"""What an ONNX file's ``metadata_props`` say of its interface: under this project's own key, and what tools write."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from nss.errors import UsageError
from nss.interfaces import preprocessor_config
from nss.interfaces.interface import Description, parse_description, parse_number, parse_numbers

KEY = "nss.interface"
"""The key that holds a whole description, as JSON."""

_ALIASES = {
    "mean": ("image_mean", "mean", "input_mean", "pixel_mean", "norm_mean", "standardization_mean"),
    "std": ("image_std", "std", "input_std", "pixel_std", "norm_std", "standardization_std"),
    "scale": ("rescale_factor", "input_scale"),
    "size": ("input_size", "image_size", "imgsz", "input_shape"),
    "channels": ("channel_order", "color_order", "color_format"),
    "layout": ("input_layout", "data_layout"),
}
"""What others call a key; "standardization" is Deepness', "imgsz" Ultralytics'."""

# Image.BitmapPixelFormat and Image.NominalPixelRange, as Windows ML reads them
_PIXEL_FORMATS = {"bgr8": "BGR", "rgb8": "RGB", "bgra8": None, "rgba8": "RGBA", "gray8": "grey"}
_PIXEL_RANGES: dict[str, dict[str, float]] = {
    "nominalrange_0_255": {"scale": 1.0, "mean": 0.0, "std": 1.0},
    "normalized_0_1": {"scale": 1 / 255, "mean": 0.0, "std": 1.0},
    "normalized_1_1": {"scale": 1 / 255, "mean": 0.5, "std": 0.5},
}


def parse(props: Mapping[str, str], where: str) -> tuple[Description, list[str]]:
    """What the properties say, and lines on what cannot be read; ``where`` begins each.

    The project's own key goes first, then ``preprocessor_config`` as JSON, then single keys in any case.
    """
    description: dict[str, Any] = {}
    lines: list[str] = []
    if (own := props.get(KEY)) is not None:
        if (values := _object(own)) is None:
            lines.append(f"{where}: metadata {KEY}: ignored: it holds no JSON object")
        else:
            _add(values, description, lines, f"{where}: metadata {KEY}")
    if (config := _object(props.get("preprocessor_config", ""))) is not None:
        config_description, more = preprocessor_config.parse(config, f"{where}: metadata preprocessor_config")
        description = {**config_description, **description}
        lines += more
    plain = {key.lower(): value for key, value in props.items()}
    for key, aliases in _ALIASES.items():
        for alias in aliases:
            if alias in plain and key not in description:
                _add({key: _value(key, plain[alias])}, description, lines, f"{where}: metadata {alias}")
    range_values = _PIXEL_RANGES.get(plain.get("image.nominalpixelrange", "").lower(), {})
    if order := _PIXEL_FORMATS.get(plain.get("image.bitmappixelformat", "").lower()):
        range_values = {**range_values, "channels": order}  # type: ignore[dict-item]
    _add({key: value for key, value in range_values.items() if key not in description}, description, lines, where)
    return cast("Description", description), lines


def _add(values: Mapping[str, Any], description: dict[str, Any], lines: list[str], where: str) -> None:
    for key, value in values.items():
        try:
            description |= parse_description({key: value}, where)
        except UsageError as error:
            lines.append(f"{error}; ignored")


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _value(key: str, text: str) -> Any:
    """The value as JSON would have it; the text itself where it cannot be read, which is then refused by that."""
    bare = text.strip().strip("[]()")
    try:
        if key in ("mean", "std"):
            return list(parse_numbers(bare))
        if key == "scale":
            return parse_number(bare)
        if key == "size" and "x" not in bare and ":" not in bare:
            sides = [parse_number(side) for side in bare.replace(",", " ").split()]
            if len(sides) == 4:  # a whole shape
                sides = sides[1:3] if sides[3] in (1, 3, 4) else sides[2:]
            return sides[0] if len(sides) == 1 else sides
    except (ValueError, ZeroDivisionError):
        return text
    return "grey" if text.lower() in ("gray", "grey", "grayscale", "l") else text
