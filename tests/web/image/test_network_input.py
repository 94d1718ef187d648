"""web/image's resampling, network input and network mask against nss's own."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np

from nss.arrays import resample
from nss.arrays.filters import Filter
from nss.interfaces.interface import EdgeSize, FixedSize, as_json, complete
from nss.masks.photo_mask import PhotoMask
from nss.masks.sanity import nothing_found
from nss.removal import mask_output, preprocess, visible
from tests.web.conftest import HERE, Node
from tests.web.image.cases import Cases, photo

SIZES = [
    ((1, 1), (1, 1)),
    ((1, 1), (5, 3)),
    ((1, 7), (4, 7)),
    ((9, 1), (3, 5)),
    ((3, 5), (64, 64)),
    ((427, 640), (320, 320)),
    ((100, 100), (99, 101)),
    ((64, 64), (64, 64)),
    ((300, 7), (2, 50)),
    ((211, 97), (13, 11)),
]


def test_network_input(run_node: Node, tmp_path: Path) -> None:
    rng = np.random.default_rng(16)
    cases = Cases(tmp_path / "cases")
    _add_weights(cases, rng)
    _add_resized(cases, rng)
    _add_prepared(cases, rng)
    _add_network_masks(cases, rng)
    _add_notes(cases, rng)
    run_node(HERE / "image/network_input.test.mjs", NSS_CASES=cases.write())


def _add_weights(cases: Cases, rng: np.random.Generator) -> None:
    pairs = [(1, 1), (1, 9), (9, 1), (2, 3), (100, 99), (99, 100), (640, 320), (320, 640), (4000, 7), (7, 400)]
    pairs += [(int(old), int(new)) for old, new in rng.integers(1, 700, (60, 2))]
    for method in get_args(Filter):
        for old, new in pairs:
            first, counts, weights = resample.line_weights(old, new, method)
            cases.add(
                "weights", f"{method} {old} to {new}", filter=method, old=old, new=new,
                first=first, counts=counts, weights=weights,
            )  # fmt: skip


def _add_resized(cases: Cases, rng: np.random.Generator) -> None:
    for method in get_args(Filter):
        for old, new in SIZES:
            for channels in (1, 3, 4):
                for dtype in (np.uint8, np.float32):
                    x = rng.integers(0, 256, (*old, channels)).astype(dtype)
                    result = resample.resize(x, new, method)
                    cases.add(
                        "resize", f"{method} {old} to {new}, {channels} {np.dtype(dtype).name}",
                        filter=method, x=x, result=result,
                    )  # fmt: skip


def _add_prepared(cases: Cases, rng: np.random.Generator) -> None:
    usual = complete({"input": "x", "output": 0, "size": FixedSize(64, 48)})
    variants = [
        {},
        {"layout": "NHWC", "channels": "BGR"},
        {"channels": "grey", "mean": (0.5,), "std": (1.0,)},
        {"channels": "RGBA", "mean": (0.5,), "std": (0.25,), "filter": "bicubic-antialias"},
        {"dtype": "uint8", "scale": 1.0, "mean": (0.0,), "std": (1.0,), "filter": "lanczos-antialias"},
        {"dtype": "float16", "filter": "bilinear"},
        {"filter": "nearest", "size": EdgeSize("shortest", 40, 8)},
        {"size": EdgeSize("longest", 70, 32), "scale": 1 / 127.5, "mean": (1.0,), "std": (1.0,)},
    ]
    shapes = [(1, 1), (1, 30), (90, 61), (200, 311)]
    for variant in variants:
        interface = complete({**vars(usual), **variant})  # type: ignore[typeddict-item]
        for shape in shapes:
            for alpha in ("none", "soft", "mostly hidden"):
                if shape == (1, 30) and isinstance(interface.size, EdgeSize) and interface.size.edge == "shortest":
                    continue
                rgba = photo(rng, *shape, alpha=alpha)
                own = None if alpha == "none" else rgba[..., 3]
                result = preprocess.prepare(rgba[..., :3], interface, own)
                cases.add(
                    "prepare", f"{variant} {shape} {alpha}", interface=as_json(interface), rgba=rgba,
                    opaque=own is None, result=result.astype(np.float32) if interface.dtype == "float16" else result,
                )  # fmt: skip
    for method in ("bilinear", "nearest", "bilinear-antialias"):  # longer than what is first reduced
        interface = complete({**vars(usual), "filter": method})  # type: ignore[typeddict-item]
        rgba = photo(rng, 36, 9001)
        result = preprocess.prepare(rgba[..., :3], interface)
        cases.add(
            "prepare", f"{method} of 9001 pixels", interface=as_json(interface), rgba=rgba, opaque=True, result=result
        )
    for alpha in ("none", "soft", "mostly hidden"):
        rgba = photo(rng, 60, 50, alpha=alpha)
        rgba[..., :3] = rng.choice([[0, 0, 0], [255, 255, 255], [130, 199, 255]], p=[0.05, 0.05, 0.9], size=(60, 50))
        result = visible.over_backdrop(rgba[..., :3], rgba[..., 3])
        cases.add("visible", alpha, rgba=rgba, result=result)
    for _ in range(150):  # few colours, so that the choice of the backdrop is close
        rgba = photo(rng, 6, 9, alpha="soft")
        rgba[..., :3] = rng.integers(0, 256, (4, 3))[rng.integers(0, 4, (6, 9))]
        result = visible.over_backdrop(rgba[..., :3], rgba[..., 3])
        cases.add("visible", "few colours", rgba=rgba, result=result)


def _add_network_masks(cases: Cases, rng: np.random.Generator) -> None:
    usual = complete({"input": "x", "output": 0, "size": FixedSize(12, 10)})
    variants = [
        ((1, 1, 12, 10), np.float32, {}),
        ((12, 10), np.float32, {"activation": "sigmoid"}),
        ((1, 3, 12, 10), np.float32, {"activation": "softmax", "channel": 1}),
        ((1, 12, 10, 2), np.float32, {"activation": "softmax", "channel": -1, "layout": "NHWC"}),
        ((1, 2, 12, 10), np.float32, {"channel": -1, "range": 255.0}),
        ((1, 1, 12, 10), np.uint8, {"range": 255.0}),
        ((1, 12, 10), np.int64, {"channel": 2}),
        ((1, 12, 10, 1), np.uint8, {"channel": 0}),
        ((1, 1, 24, 20), np.float32, {}),
        ((1, 1, 12, 12, 10), np.float32, {"channel": 11}),
        ((1, 10, 10, 10), np.float32, {"size": FixedSize(10, 10), "layout": "NHWC", "channel": 3}),
        ((1, 10, 10, 10), np.float32, {"size": FixedSize(10, 10), "channel": 3}),
        ((1, 1, 30, 20), np.float32, {"size": EdgeSize("shortest", 20)}),
    ]
    for shape, dtype, variant in variants:
        interface = complete({**vars(usual), **variant})  # type: ignore[typeddict-item]
        is_integer = np.dtype(dtype).kind in "iu"
        output = rng.integers(0, 4, shape) if is_integer else rng.normal(0, 30, shape)
        output = output.astype(dtype)
        result = mask_output.mask_of(output, interface)
        cases.add(
            "mask", f"{shape} {np.dtype(dtype).name} {variant}", interface=as_json(interface), output=output,
            dtype=np.dtype(dtype).name, result=result,
        )  # fmt: skip
    no_masks = [
        ((1, 5), "float32", {}),
        ((2, 1, 12, 10), "float32", {}),
        ((1, 1, 12, 10), "complex64", {}),
        ((1, 1, 120, 10), "float32", {}),
        ((1, 1, 12, 10), "float32", {"activation": "softmax"}),
        ((1, 3, 12, 10), "float32", {"channel": 3}),
        ((1, 1, 12, 10), "float32", {"channel": 1}),
    ]
    for shape, name, variant in no_masks:
        interface = complete({**vars(usual), **variant})  # type: ignore[typeddict-item]
        why = mask_output.fault(shape, np.dtype(name), interface)
        assert why
        cases.add("no mask", why, interface=as_json(interface), shape=list(shape), dtype=name)


def _add_notes(cases: Cases, rng: np.random.Generator) -> None:
    for size in ((40, 30), (8, 9), (5, 90)):
        for largest in (0.2, 0.49, 0.51, 0.9):
            for alpha in ("none", "soft", "mostly hidden", "all hidden"):
                raw = rng.random((20, 20), np.float32) * np.float32(0.1)
                raw[4, 7] = largest
                raw[9:12, 9:12] = largest - 0.02
                if largest == 0.51:
                    raw[3, 7] = -9  # beside the largest, which it takes from once enlarged
                rgba = photo(rng, *size, alpha=alpha)
                if alpha == "all hidden":
                    rgba[..., 3] = 0
                own = None if alpha == "none" else rgba[..., 3]
                enlarged = PhotoMask.enlarged(raw, size)
                cases.add(
                    "note", f"{size} {largest} {alpha}", raw=raw, rgba=rgba, opaque=own is None,
                    note=nothing_found(enlarged, own), enlarged=enlarged.array,
                )  # fmt: skip
