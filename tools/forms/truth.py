"""The mask that a form's network must give for a photo: ONNX Runtime, and before and after it nothing of `nss`.

Pillow resamples; the rest is the definition of an interface, written once more.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from tools.fixtures import PHOTO, onnxruntime_session
from tools.forms.form import Form
from tools.forms.net import LUMA

FILTERS = {"bilinear-antialias": Image.Resampling.BILINEAR, "bicubic-antialias": Image.Resampling.BICUBIC}


@functools.cache
def photo() -> np.ndarray:
    """The photo, uint8 90x132x3: a part of the astronaut, no form's size or shape."""
    with Image.open(PHOTO) as image:
        return np.asarray(image.convert("RGB").crop((60, 20, 500, 320)).resize((132, 90), Image.Resampling.BOX))


def resized(plane: np.ndarray, size: tuple[int, int], name: str = "bilinear-antialias") -> np.ndarray:
    """A plane of numbers at another (height, width), float32."""
    image = Image.fromarray(plane.astype(np.float32))
    return np.asarray(image.resize(size[::-1], FILTERS[name]))


def input_size(size: Any, height: int, width: int) -> tuple[int, int]:
    """Height and width of the network's input, for a photo of that height and width."""
    if isinstance(size, list):
        return size[0], size[1]
    (edge,) = set(size) - {"multiple_of"}
    multiple = size.get("multiple_of", 1)
    length = min(height, width) if edge == "shortest_edge" else max(height, width)
    high, wide = (math.floor(side * size[edge] / length / multiple + 0.5) * multiple for side in (height, width))
    return high, wide


def network_input(how: Mapping[str, Any], rgb: np.ndarray) -> np.ndarray:
    """The photo, uint8 HxWx3, as a network of this interface wants it."""
    size = input_size(how["size"], *rgb.shape[:2])
    planes = [resized(rgb[..., index], size, how["filter"]).astype(np.float64) for index in range(3)]
    if how["channels"] == "BGR":
        planes.reverse()
    elif how["channels"] == "RGBA":
        planes.append(np.full(size, 255.0))
    elif how["channels"] == "grey":
        planes = [sum((weight * plane for weight, plane in zip(LUMA, planes, strict=True)), np.zeros(size))]
    axis = -1 if how["layout"] == "NHWC" else 0
    mean, std = (
        np.broadcast_to(how[key], len(planes)).reshape([-1 if i == axis % 3 else 1 for i in range(3)])
        for key in ("mean", "std")
    )
    x = (np.stack(planes, axis) * how["scale"] - mean) / std
    if how["dtype"] == "uint8":
        x = np.clip(np.rint(x), 0, 255)
    return x[None].astype(how["dtype"])


def network_mask(form: Form, outputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """The mask, float32 HxW in 0..1, that the outputs of the form's network hold."""
    how = form.interface
    scores = outputs[how["output"]].astype(np.float64)
    axis = form.channel_axis
    if how["activation"] == "softmax":
        exponentials = np.exp(scores - scores.max(axis, keepdims=True))
        scores = exponentials / exponentials.sum(axis, keepdims=True)
    if axis is not None:
        scores = scores.take(how["channel"], axis)
    elif how["channel"]:  # of a map of classes
        scores = (scores == how["channel"]).astype(np.float64)
    if how["activation"] == "sigmoid":
        scores = 1 / (1 + np.exp(-scores))
    sides = [side for side in scores.shape if side != 1]
    return (scores.reshape(sides) / how["range"]).astype(np.float32)


def mask(form: Form, rgb: np.ndarray, *, model: bytes | None = None, **slips: Any) -> np.ndarray:
    """The mask, float32 HxW in 0..1, of a photo, uint8 HxWx3.

    ``model`` is the file where the form's own is not meant. With ``slips``, what comes of it where the photo is
    prepared with these keys of the interface instead of its own.
    """
    session = onnxruntime_session(model or form.model().SerializeToString(), threads=1)
    inputs = {value.name: value for value in session.get_inputs()}
    image = network_input({**form.interface, **slips}, rgb)
    rank = len(inputs[form.interface["input"]].shape)
    feeds = {form.interface["input"]: image.reshape(image.shape[-rank:])}
    for name, value in form.interface["inputs"].items():
        shape = [side if isinstance(side, int) else 1 for side in inputs[name].shape]
        array = np.asarray(value, np.float32)
        feeds[name] = np.broadcast_to(array, shape) if not array.ndim else array
    names = [output.name for output in session.get_outputs()]
    outputs = dict(zip(names, session.run(names, feeds), strict=True))
    return np.clip(resized(network_mask(form, outputs), rgb.shape[:2]), 0, 1)
