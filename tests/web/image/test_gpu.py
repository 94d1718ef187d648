"""web/image/gpu against nss: the same photos through the same network of one product a pixel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

import engine
from nss.cutouts import background, pixels
from nss.interfaces.interface import FixedSize, Interface, as_json, complete
from nss.masks.photo_mask import PhotoMask
from nss.masks.refine import Refinement
from nss.removal import mask_output, preprocess
from tests.engine import models
from tests.web.conftest import HERE, Node
from tests.web.image.cases import Cases, photo
from tests.web.models import onnxruntime_outputs

WEIGHTS = [[0.4, 0.25, -0.2]]
BIAS = [0.45]
RAMP = 0.2
"""What the network adds from left to right: no mask is of one value."""

PHOTOS = {
    "one pixel": (1, 1),
    "odd size": (33, 127),
    "a photo": (427, 640),
    "tall, with a filter that does not widen": (4321, 3),
}

INTERFACES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "sigmoid": ({"activation": "sigmoid", "channels": "BGR", "layout": "NHWC"}, {}),
    "two classes": (
        {"activation": "softmax", "channel": -1, "range": 0.5},
        {"weights": [[1.0, 2.0, -1.0], *WEIGHTS], "bias": [0.1, *BIAS]},
    ),
    "two classes, channels last": (
        {"channel": 1, "layout": "NHWC"},
        {"weights": [[1.0, 2.0, -1.0], *WEIGHTS], "bias": [0.1, *BIAS]},
    ),
    "a map of classes": ({"channel": 1}, {"weights": [[1.0, 1.0, 1.0]], "bias": [1.1], "outputDtype": "int32"}),
    "grey": ({"channels": "grey", "mean": (0.5,), "std": (0.5,)}, {"weights": [[0.7]], "bias": [0.4]}),
    "an input of bytes": (
        {"dtype": "uint8", "scale": 1.0, "mean": (0.0,), "std": (1.0,)},
        {"weights": [[0.002, 0.004, -0.002]], "bias": [0.1]},
    ),
    "an input of halves": ({"dtype": "float16", "filter": "nearest"}, {}),
    "RGBA": ({"channels": "RGBA", "mean": (0.5,), "std": (0.5,)}, {"weights": [[*WEIGHTS[0], 0.1]]}),
}

SETTINGS: dict[str, dict[str, Any]] = {
    "levels": {"refinement": {"black": 0.2, "white": 0.7}},
    "smooth": {"refinement": {"smooth": 1.5}},
    "expand": {"refinement": {"expand": 2.5}},
    "contract and feather": {"refinement": {"expand": -1.0, "feather": 2.0}},
    "all of them": {"refinement": {"black": 0.1, "white": 0.9, "smooth": 1.0, "expand": 1.0, "feather": 1.0}},
    "invert": {"invert": True, "hidden": "zero"},
    "zero": {"hidden": "zero", "refinement": {"black": 0.3}},
    "a colour behind": {"background": {"colour": [10, 200, 30, 255]}, "hidden": "bleed"},
    "a translucent colour behind": {"background": {"colour": [255, 0, 128, 102]}, "invert": True},
    "a colour that is none": {"background": {"colour": [255, 0, 128, 0]}},
}


def test_gpu_stages(run_node: Node, tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    cases = Cases(tmp_path / "cases")
    for name, size in PHOTOS.items():
        changes = {"filter": "bilinear"} if "filter" in name else {}
        _add(cases, name, photo(rng, *size), changes)
    for alpha in ("soft", "mostly hidden"):
        _add(cases, f"alpha that is {alpha}", photo(rng, 61, 90, alpha=alpha), {})
    _add(cases, "alpha that does not count", photo(rng, 61, 90, alpha="mostly hidden"), {}, opaque=True)
    for name, (changes, network) in INTERFACES.items():
        _add(cases, name, photo(rng, 71, 83), changes, network)
    for name, settings in SETTINGS.items():
        _add(cases, name, photo(rng, 83, 127, alpha="soft"), {}, settings=settings)
    _add_refused(cases, "no structure", photo(rng, 9, 9), weight=0.0, ramp=0.0)
    for name, level in (("black", 0), ("white, and not finite", 255)):
        _add_refused(cases, name, np.full((9, 9, 4), (level, level, level, 255), np.uint8), weight=3e38, ramp=0.5)
    _add_compiled(cases, photo(rng, 75, 101, alpha="soft"))
    folder = cases.write()
    (folder / "kernels.json").write_text(json.dumps(engine.image_kernels()), encoding="utf-8")
    run_node(HERE / "image/gpu.test.mjs", NSS_CASES=folder)


def _add_refused(cases: Cases, name: str, rgba: np.ndarray, *, weight: float, ramp: float) -> None:
    interface = complete(
        {"input": "x", "output": "y", "size": FixedSize(64, 64), "mean": (0.0,), "std": (1.0,), "activation": "sigmoid"}
    )
    network = {
        "height": 64,
        "width": 64,
        "layout": "NCHW",
        "dtype": "float32",
        "weights": [[weight] * 3],
        "bias": [0.0],
    }
    cases.add(
        "refused",
        name,
        photo=rgba,
        opaque=True,
        interface=as_json(interface),
        settings={},
        network={**network, "ramp": ramp},
    )


def _add_compiled(cases: Cases, rgba: np.ndarray) -> None:
    """A case of a compiled model, which lies beside the cases."""
    weight = np.random.default_rng(3).normal(0, 0.3, (1, 3, 3, 3)).astype(np.float32)
    proto = models.model(
        [models.node("Conv", "x w", "t", pads=[1, 1, 1, 1]), models.node("Sigmoid", "t", "y")],
        {"x": ("float32", (1, 3, 64, 64))},
        "y",
        {"w": weight},
    )
    interface = complete({"input": "x", "output": 0, "size": FixedSize(64, 64)})
    compiled = engine.compile(proto.SerializeToString(), metadata={"interface": as_json(interface)})
    engine.save_compiled(compiled, cases.folder / "model")
    own_alpha = rgba[..., 3].copy()
    given = preprocess.prepare(rgba[..., :3], interface, own_alpha)
    mask = mask_output.mask_of(onnxruntime_outputs(proto.SerializeToString(), {"x": given})["y"], interface)
    cases.add(
        "runner",
        "a compiled model",
        photo=rgba,
        opaque=False,
        interface=as_json(interface),
        settings={"refinement": {"black": 0.1}},
        mask=mask,
        rgba=_composed(rgba, PhotoMask.enlarged(mask, rgba.shape[:2]), own_alpha, {"refinement": {"black": 0.1}}),
    )


def _add(
    cases: Cases,
    name: str,
    rgba: np.ndarray,
    changes: dict[str, Any],
    network: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    *,
    opaque: bool = False,
) -> None:
    """What nss makes of a photo: the network's input, its mask, and the cut-out."""
    interface = complete({"input": "x", "output": "y", "size": FixedSize(64, 64), **changes})  # type: ignore[typeddict-item]
    weights, bias = (network or {}).get("weights", WEIGHTS), (network or {}).get("bias", BIAS)
    own_alpha = rgba[..., 3].copy() if int(rgba[..., 3].min()) < 255 and not opaque else None
    given = preprocess.prepare(rgba[..., :3], interface, own_alpha)
    output = _network(given.astype(np.float32), interface, weights, bias)
    if (network or {}).get("outputDtype") == "int32":
        output = np.trunc(output).astype(np.int32)
    mask = mask_output.mask_of(output, interface)
    told = settings or {}
    cases.add(
        "gpu",
        name,
        photo=rgba,
        opaque=own_alpha is None,
        interface=as_json(interface),
        settings=told,
        network={
            "height": 64,
            "width": 64,
            "layout": interface.layout,
            "dtype": interface.dtype,
            "weights": weights,
            "bias": bias,
            "ramp": RAMP,
            **(network or {}),
        },
        input=given.astype(np.float32),
        mask=mask,
        size=list(mask.shape),
        rgba=_composed(rgba, PhotoMask.enlarged(mask, rgba.shape[:2]), own_alpha, told),
        **_tolerance(interface),
    )


def _tolerance(interface: Interface) -> dict[str, Any]:
    # of bytes: a sum that lies between two may become either; of float16: likewise
    return {"uint8": {"tolerance": 1.0}, "float16": {"tolerance": 1e-3}}.get(interface.dtype, {})


def _network(x: np.ndarray, interface: Interface, weights: list[list[float]], bias: list[float]) -> np.ndarray:
    axis = "nhwk,ck->nhwc" if interface.layout == "NHWC" else "nkhw,ck->nchw"
    y = np.einsum(axis, x, np.array(weights, np.float32), optimize=False)
    shape = (1, 1, 1, -1) if interface.layout == "NHWC" else (1, -1, 1, 1)
    width = x.shape[2 if interface.layout == "NHWC" else 3]
    ramp = np.float32(RAMP) * np.arange(width, dtype=np.float32) / np.float32(width)
    ramp = ramp[:, None] if interface.layout == "NHWC" else ramp
    result: np.ndarray = (y + np.array(bias, np.float32).reshape(shape) + ramp).astype(np.float32)
    return result


def _composed(rgba: np.ndarray, mask: PhotoMask, own_alpha: np.ndarray | None, settings: dict[str, Any]) -> np.ndarray:
    """uint8 HxWx4, as nss composes it."""
    rgb, invert = rgba[..., :3], settings.get("invert", False)
    refined = mask.refined(Refinement(**settings.get("refinement", {})), rgb)
    colour = (settings.get("background") or {}).get("colour", [0, 0, 0, 0])
    if not colour[3]:
        return pixels.rgba(rgb, refined, own_alpha, invert=invert, hidden=settings.get("hidden", "keep"))
    alpha = refined.alpha(own_alpha, invert=invert)
    css = f"rgb({colour[0]} {colour[1]} {colour[2]} / {colour[3] / 255})"
    over = background.over(rgb, alpha, css, photo=rgb, icc=None, notes=[])
    if over.shape[2] == 4:
        return over
    return np.concatenate([over, np.full((*over.shape[:2], 1), 255, np.uint8)], axis=2)
