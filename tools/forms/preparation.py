"""Forms that differ in what they want of the photo's numbers: normalisation, channels, and what says which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nss.interfaces.interface import IMAGENET_MEAN, IMAGENET_STD
from tools.forms.form import Forms
from tools.forms.net import Net

FORMS = Forms()

HALVES: dict[str, Any] = {"mean": [0.5] * 3, "std": [0.5] * 3}
"""x / 127.5 - 1"""
UNIT: dict[str, Any] = {"mean": [0.0], "std": [1.0]}
"""0..1"""
RAW: dict[str, Any] = {"scale": 1, **UNIT}
"""0..255"""
IMAGENET: dict[str, Any] = {"scale": 1 / 255, "mean": list(IMAGENET_MEAN), "std": list(IMAGENET_STD)}

BY_CHANNEL = (1, 3, 1, 1)


def plain(net: Net) -> None:
    """One image in, one probability out."""
    net.mask(net.probability(net.image()))


# --- nothing in the file says it ------------------------------------------------------------------------------------

FORMS.form("imagenet", "ImageNet's mean and std, as most are trained", untold="mean std")(plain)
FORMS.form("halves", "x/127.5 - 1", alone="said", untold="mean std", **HALVES)(plain)
FORMS.form("unit", "0..1 in", alone="said", untold="mean std", **UNIT)(plain)
FORMS.form("raw-folded", "0..255 in, normalisation folded into the first Conv", alone="said", untold="scale", **RAW)(
    plain
)
FORMS.form("bgr", "BGR in", alone="said", untold="channels mean std", channels="BGR")(plain)
FORMS.form("grey", "one grey channel in", alone="said", untold="mean std", channels="grey", mean=[0.5], std=[0.5])(
    plain
)
FORMS.form("rgba", "RGBA in", alone="said", untold="channels mean std", channels="RGBA", **UNIT)(plain)


# --- the graph says it ----------------------------------------------------------------------------------------------


@FORMS.form("raw-sub-div", "0..255 in, Sub and Div inside", **RAW)
def raw_sub_div(net: Net) -> None:
    mean, std = (net.number([255 * v for v in values], BY_CHANNEL) for values in (IMAGENET_MEAN, IMAGENET_STD))
    net.mask(net.probability(net.op("Div", net.op("Sub", net.image(), mean), std), **IMAGENET))


@FORMS.form("raw-mul-add", "0..255 in, Mul 1/127.5 and Add -1 inside", **RAW)
def raw_mul_add(net: Net) -> None:
    x = net.op("Add", net.op("Mul", net.image(), net.number(1 / 127.5)), net.number(-1))
    net.mask(net.probability(x, scale=1 / 255, **HALVES))


@FORMS.form("raw-div-sub-div", "0..255 in, Div 255, Sub mean, Div std inside", **RAW)
def raw_div_sub_div(net: Net) -> None:
    x = net.op("Div", net.image(), net.number(255))
    x = net.op("Sub", x, net.number(IMAGENET_MEAN, BY_CHANNEL))
    net.mask(net.probability(net.op("Div", x, net.number(IMAGENET_STD, BY_CHANNEL)), **IMAGENET))


@FORMS.form("raw-batchnorm", "0..255 in, BatchNormalization inside", **RAW)
def raw_batchnorm(net: Net) -> None:
    mean, variance = [255 * v for v in IMAGENET_MEAN], [(255 * v) ** 2 for v in IMAGENET_STD]
    parts: list[Sequence[float]] = [[1] * 3, [0] * 3, mean, variance]
    x = net.op("BatchNormalization", net.image(), *(net.number(part, (3,)) for part in parts), epsilon=1e-5)
    net.mask(net.probability(x, **IMAGENET))


@FORMS.form("unit-sub-div", "0..1 in, ImageNet's Sub and Div inside", **UNIT)
def unit_sub_div(net: Net) -> None:
    x = net.op("Sub", net.image(), net.number(IMAGENET_MEAN, BY_CHANNEL))
    net.mask(net.probability(net.op("Div", x, net.number(IMAGENET_STD, BY_CHANNEL)), **IMAGENET))


@FORMS.form("unit-mul-sub", "0..1 in, Mul 2 and Sub 1 inside", **UNIT)
def unit_mul_sub(net: Net) -> None:
    x = net.op("Sub", net.op("Mul", net.image(), net.number(2)), net.number(1))
    net.mask(net.probability(x, **{**UNIT, **HALVES}))


@FORMS.form("raw-depthwise", "0..255 in, a depthwise 1x1 Conv normalises", alone="said", untold="scale", **RAW)
def raw_depthwise(net: Net) -> None:
    gain = 1 / (255 * np.asarray(IMAGENET_STD))
    bias = -np.asarray(IMAGENET_MEAN) / IMAGENET_STD
    net.mask(net.probability(net.conv(net.image(), gain.reshape(3, 1, 1, 1), bias, group=3), **IMAGENET))


@FORMS.form("raw-bgr-inside", "0..255 in, channels turned to BGR by Gather, Sub Caffe's means inside", **RAW)
def raw_bgr_inside(net: Net) -> None:
    means = net.number([103.94, 116.78, 123.68], BY_CHANNEL)
    x = net.op("Sub", net.op("Gather", net.image(), net.constant([2, 1, 0]), axis=1), means)
    trained = {"scale": 1, "mean": [103.94, 116.78, 123.68], "std": [1.0]}
    net.mask(net.probability(x, channels="BGR", **trained))


# --- something beside the graph says it -----------------------------------------------------------------------------

FORMS.form(
    "metadata",
    "metadata_props: mean and std as text",
    metadata={"mean": "0.5, 0.5, 0.5", "std": "0.5, 0.5, 0.5"},
    **HALVES,
)(plain)
FORMS.form(
    "metadata-json",
    "metadata_props: image_mean and image_std as JSON",
    metadata={"image_mean": "[0.5, 0.5, 0.5]", "image_std": "[0.25, 0.25, 0.25]"},
    mean=[0.5] * 3,
    std=[0.25] * 3,
)(plain)
FORMS.form(
    "metadata-255",
    "metadata_props: mean and std of 0..255, as OpenMMLab has them",
    metadata={"mean": "[123.675, 116.28, 103.53]", "std": "[58.395, 57.12, 57.375]"},
)(plain)
FORMS.form(
    "metadata-whole",
    "metadata_props: the interface under this project's own key",
    metadata={"nss.interface": '{"channels": "BGR", "mean": [0.5], "std": [0.5], "scale": 0.00392156862745098}'},
    channels="BGR",
    **HALVES,
)(plain)

HUGGING_FACE: dict[str, Any] = {
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.25, 0.25, 0.25],
    "image_processor_type": "ViTImageProcessor",
    "resample": 3,
    "rescale_factor": 1 / 255,
    "size": {"height": 48, "width": 64},
}

FORMS.form(
    "config-beside",
    "preprocessor_config.json beside the file, bicubic",
    files={"preprocessor_config.json": HUGGING_FACE},
    mean=[0.5] * 3,
    std=[0.25] * 3,
    filter="bicubic-antialias",
)(plain)
FORMS.form(
    "config-not-normalised",
    "preprocessor_config.json: do_normalize false",
    files={"preprocessor_config.json": {**HUGGING_FACE, "do_normalize": False, "resample": 2}},
    **UNIT,
)(plain)
FORMS.form(
    "config-not-rescaled",
    "preprocessor_config.json: do_rescale false, do_normalize false",
    files={"preprocessor_config.json": {**HUGGING_FACE, "do_rescale": False, "do_normalize": False, "resample": 2}},
    **RAW,
)(plain)


@FORMS.form(
    "config-above",
    "preprocessor_config.json one folder up, dynamic height and width",
    path="onnx/model.onnx",
    files={"preprocessor_config.json": {**HUGGING_FACE, "resample": 2, "size": {"height": 64, "width": 48}}},
    mean=[0.5] * 3,
    std=[0.25] * 3,
    size=[64, 48],
)
def config_above(net: Net) -> None:
    net.mask(net.probability(net.image("height", "width", "batch")), ["batch", 1, "height", "width"])


@FORMS.form(
    "config-shortest-edge",
    "preprocessor_config.json: shortest_edge, dynamic height and width",
    path="onnx/model_fp16.onnx",
    files={"preprocessor_config.json": {**HUGGING_FACE, "resample": 2, "size": {"shortest_edge": 48}}},
    mean=[0.5] * 3,
    std=[0.25] * 3,
    size={"shortest_edge": 48},
)
def config_shortest_edge(net: Net) -> None:
    net.mask(net.probability(net.image("height", "width", "batch")), ["batch", 1, "height", "width"])


@FORMS.form("uint8-in", "uint8 in, Cast and Div inside", dtype="uint8", **RAW)
def uint8_in(net: Net) -> None:
    x = net.op("Div", net.op("Cast", net.image(), to=1), net.number(255))
    net.mask(net.probability(x, scale=1 / 255, **UNIT))


@FORMS.form("float16", "float16 in and out", dtype="float16")
def float16(net: Net) -> None:
    net.mask(net.probability(net.image()), dtype=np.float16)
