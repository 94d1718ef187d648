"""Running a network once on two synthetic photos, to learn what its outputs are where nothing says so.

It runs on NumPy, whatever backend was asked for: what is learnt is kept for all of them, and at the least size that the
file allows that is a moment's work. What the outputs were like is kept by the file's SHA-256 in the state folder, as
``trials/<sha256>.json``, until a photo contradicts it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import engine
from nss.errors import NssError
from nss.interfaces.graph_signs import Signs
from nss.interfaces.interface import Activation, Description, FixedSize, Interface
from nss.masks.sanity import SLACK
from nss.models.weights import model_store
from nss.removal import model_inputs, preprocess

LEAST_RANGE = 32.0
"""What an output must reach to be one of 0..255: logits and probabilities stay below, a mask of 0..255 does not."""

SIDES = (64, 128, 256, 512, 1024)
"""Sides that are tried, in pixels, where the file leaves height and width open."""

MASK_WORDS = ("matte", "alpha", "pha", "mask", "foreground_prob")
"""What a mask is called, by those who name their outputs."""

_VERSION = 1


@dataclass(frozen=True)
class Finding:
    """What one output of a network was like on the synthetic photos.

    Attributes:
        name: of the output.
        channels: how many maps it holds; 0 where it holds none.
        height: of each, in pixels.
        width: likewise.
        varies: whether any of its values is unlike another.
        low: the least value.
        high: the greatest.
        sums_to_one: whether its channels do, at each pixel.
        classes: how many the pixels are sorted into, where it is a map of classes; else 0.
    """

    name: str
    channels: int
    height: int
    width: int
    varies: bool
    low: float
    high: float
    sums_to_one: bool
    classes: int = 0


def findings(file: engine.ModelFile, interface: Interface, sha256: str) -> list[Finding]:
    """What the outputs of the file are like, remembered or tried now; nothing where it cannot be run.

    Args:
        file: the model.
        interface: what is known of its input, guesses included; what it says of the output is not looked at.
        sha256: of the file.
    """
    input_key = _input_key(interface)
    if (earlier := _read_findings(sha256, input_key)) is not None:
        return earlier
    results = _try_sizes(file, interface)
    if results:
        value = {"version": _VERSION, "input": input_key, "outputs": [asdict(finding) for finding in results]}
        with suppress(OSError):
            model_store.write_json(_path(sha256), value)
    return results


def forget(sha256: str) -> bool:
    """Forget what a trial learnt of the file, since a photo showed otherwise; whether there was anything to forget."""
    try:
        _path(sha256).unlink()
    except OSError:
        return False
    return True


def choose(findings: Sequence[Finding], description: Description) -> Description:
    """The output, channel, activation and range that the findings speak for, where ``description`` leaves them open.

    The largest output of one channel that varies is the mask, else the largest of two channels; of equals one that is
    called a mask, then the first. Nothing at all where no output can be a mask; no "channel" where it has more than
    two, or is a map of more than two classes.
    """
    output = description.get("output")
    maps = [f for f in findings if f.channels and min(f.height, f.width) > 1]
    if output is not None:
        maps = [f for f in findings if f.name == output]
    elif "channel" not in description:
        maps = [f for f in maps if f.channels <= 2]
    if not maps:
        return {}
    mask = max(maps, key=lambda f: (f.varies, f.channels == 1, f.height * f.width, _is_called_mask(f.name)))
    result: Description = {"output": mask.name}
    if mask.classes:
        return {**result, **({"channel": 0} if mask.classes == 2 else {}), "activation": "none", "range": 1.0}
    if mask.channels <= 2:
        result["channel"] = mask.channels - 1
    result["activation"], result["range"] = _activation(mask)
    return result


def is_class_map(findings: Sequence[Finding], output: str) -> bool:
    """Whether the output sorts pixels into more than two classes."""
    return any(finding.name == output and finding.classes > 2 for finding in findings)


def photos(height: int, width: int) -> list[np.ndarray]:
    """Two photos, uint8 HxWx3: a bright disc on a dark gradient, and a dark figure before bright stripes."""
    y, x = np.mgrid[0:height, 0:width]
    y, x = (y + 0.5) / height, (x + 0.5) / width
    grain = 0.04 * np.sin(97 * x + 31 * y) * np.sin(53 * y - 71 * x)
    disc = (x - 0.55) ** 2 + (y - 0.45) ** 2 < 0.08
    first = np.where(disc[..., None], [0.95, 0.62, 0.35], np.stack([0.08 + 0.1 * x, 0.1 + 0.15 * y, 0.3 - 0.1 * x], -1))
    head = (x - 0.45) ** 2 / 0.014 + (y - 0.34) ** 2 / 0.022 < 1
    shoulders = ((x - 0.45) ** 2 / 0.07 + (y - 1.0) ** 2 / 0.22 < 1) & (y > 0.5)
    stripes = 0.75 + 0.15 * np.sin(18 * x + 4 * y)
    second = np.stack([stripes, 0.95 * stripes + 0.05, 0.8 * stripes], -1)
    second[shoulders], second[head] = [0.2, 0.12, 0.35], [0.55, 0.38, 0.3]
    return [np.rint(np.clip(photo + grain[..., None], 0, 1) * 255).astype(np.uint8) for photo in (first, second)]


def _is_called_mask(name: str) -> bool:
    return any(word in name.lower() for word in MASK_WORDS)


def _activation(mask: Finding) -> tuple[Activation, float]:
    if mask.low >= -SLACK and mask.high <= 1 + SLACK:
        return "none", 1.0
    if mask.low >= -0.5 and LEAST_RANGE <= mask.high <= 255.5:
        return "none", 255.0
    return ("sigmoid" if mask.channels == 1 else "softmax"), 1.0


def _try_sizes(file: engine.ModelFile, interface: Interface) -> list[Finding]:
    dims = file.inputs.get(interface.input, ())
    results: list[Finding] = []
    if len(dims) < 3 or not set(file.inputs) <= {interface.input, *interface.inputs}:
        return results
    for height, width in _sizes(dims, interface):
        try:
            results = _run(file, interface, height, width)
        except (engine.EngineError, NssError, MemoryError, ValueError, TypeError, OverflowError) as error:
            # also where what is asked for does not fit the file
            logging.getLogger(__name__).debug("no trial of %s at %dx%d: %s", interface.input, height, width, error)
            continue
        if any(finding.varies and min(finding.height, finding.width) > 1 for finding in results):
            break
    return results


def _sizes(dims: Sequence[int | str], interface: Interface) -> list[tuple[int, int]]:
    """The sizes to try, from the least on; where one is open the last is the interface's own."""
    rows, columns = (dims[-3], dims[-2]) if interface.layout == "NHWC" else (dims[-2], dims[-1])
    declared_sides = [side if isinstance(side, int) and side > 0 else None for side in (rows, columns)]
    if declared_sides[0] and declared_sides[1]:
        return [(declared_sides[0], declared_sides[1])]
    own = interface.size.of(512, 512)
    step = 1 if isinstance(interface.size, FixedSize) else interface.size.multiple_of
    sides = [-(-side // step) * step for side in SIDES]
    sizes = [(declared_sides[0] or side, declared_sides[1] or side) for side in sides if side <= max(*own, sides[0])]
    return list(dict.fromkeys([*sizes, own]))


def _run(file: engine.ModelFile, interface: Interface, height: int, width: int) -> list[Finding]:
    sized_interface = replace(interface, size=FixedSize(height, width))
    rank = len(file.inputs[interface.input])
    whole = model_inputs.image_shape(sized_interface)
    shape = whole[len(whole) - (rank or len(whole)) :]
    signs = Signs(file)
    votes = {name: vote for name in file.outputs if (vote := signs.votes(name)) is not None}
    names = list(dict.fromkeys([*file.outputs, *(name for name, _ in votes.values())]))
    outputs: dict[str, list[np.ndarray]] = {}
    values = model_inputs.constants(file, interface)
    shapes = {interface.input: shape}
    with engine.Session(file, backend="numpy", input_shapes=shapes, input_values=values, outputs=names) as session:
        for photo in photos(height, width):
            image = preprocess.prepare(photo, sized_interface).reshape(shape)
            for name, array in session.run({interface.input: image}).items():
                outputs.setdefault(name, []).append(array)
    classes = {name: outputs[votes[name][0]][0].shape[votes[name][1]] for name in votes}
    return [_finding(name, outputs[name], classes.get(name)) for name in file.outputs]


def _finding(name: str, arrays: Sequence[np.ndarray], classes: int | None) -> Finding:
    both = np.stack([_maps(array) for array in arrays]).astype(np.float64)
    channels, height, width = both.shape[1:]
    with np.errstate(all="ignore"):
        low, high = float(both.min(initial=np.inf)), float(both.max(initial=-np.inf))
        extent = both.max(axis=(0, 2, 3), initial=-np.inf) - both.min(axis=(0, 2, 3), initial=np.inf)
        sums = bool(channels > 1 and np.allclose(both.sum(axis=1), 1, atol=1e-2) and low >= -SLACK)
    finite = bool(both.size and np.isfinite([low, high]).all())
    if classes is None and arrays[0].dtype.kind in "iu" and channels == 1 and 1 < high < LEAST_RANGE:
        classes = int(high) + 1
    return Finding(
        name=name,
        channels=channels if both.size else 0,
        height=height,
        width=width,
        varies=finite and bool((extent > 1e-3 * max(1.0, abs(low), abs(high))).any()),
        low=low if finite else 0.0,
        high=high if finite else 0.0,
        sums_to_one=sums,
        classes=classes or 0,
    )


def _maps(array: np.ndarray) -> np.ndarray:
    """An output as channels x height x width; the channels are the shorter of the axes on either side."""
    if array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
    if array.ndim == 2:
        return array[None]
    if array.ndim != 3 or array.dtype.kind not in "fiub":
        return np.empty((0, 0, 0))
    return array.transpose(2, 0, 1) if array.shape[2] < min(array.shape[:2]) else array


def _input_key(interface: Interface) -> dict[str, Any]:
    """What of the interface the outputs depend on, as JSON gives it back."""
    keys = ("input", "layout", "channels", "scale", "mean", "std", "inputs")
    input_key: dict[str, Any] = json.loads(json.dumps({key: getattr(interface, key) for key in keys}, default=dict))
    return input_key


def _path(sha256: str) -> Path:
    return model_store.state_dir() / "trials" / f"{sha256}.json"


def _read_findings(sha256: str, input_key: Mapping[str, Any]) -> list[Finding] | None:
    """What was kept of a trial of the same input; None without one, or where it is damaged."""
    try:
        record = json.loads(_path(sha256).read_text("utf-8"))
        if record["version"] != _VERSION or record["input"] != input_key:
            return None
        return [_check_types(Finding(**entry)) for entry in record["outputs"]]
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _check_types(finding: Finding) -> Finding:
    """The finding; TypeError where a field of it is of another type than it should be."""
    types: dict[str, Any] = {"str": str, "int": int, "bool": bool, "float": (int, float)}
    for name, kind in Finding.__annotations__.items():
        if not isinstance(getattr(finding, name), types[kind]):
            raise TypeError(name)
    return finding
