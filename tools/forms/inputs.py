"""Forms that differ in what goes in: dynamic sizes, and inputs beside the photo."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from tools.forms.form import BYTES, Forms
from tools.forms.net import Dims, Net

FORMS = Forms()

DYNAMIC: Dims = ["batch", 1, "height", "width"]


# --- sizes ----------------------------------------------------------------------------------------------------------


@FORMS.form("dynamic-batch", "dynamic batch")
def dynamic_batch(net: Net) -> None:
    net.mask(net.probability(net.image(batch="batch")), ["batch", 1, *net.size])


@FORMS.form("dynamic-size", "dynamic height and width", alone="said", untold="size", size=[80, 96])
def dynamic_size(net: Net) -> None:
    net.mask(net.probability(net.image("height", "width")), [1, 1, "height", "width"])


@FORMS.form(
    "dynamic-all",
    "dynamic batch, height and width",
    alone="said",
    untold="size",
    size={"longest_edge": 96, "multiple_of": 8},
)
def dynamic_all(net: Net) -> None:
    net.mask(net.probability(net.image("height", "width", "batch")), DYNAMIC)


@FORMS.form(
    "multiple-of-32",
    "dynamic, sides multiples of 32 (MODNet)",
    alone="said",
    untold="size",
    size={"shortest_edge": 64, "multiple_of": 32},
)
def multiple_of_32(net: Net) -> None:
    distances = net.distances(net.image("height", "width", "batch"))
    # what is reduced by 32 and enlarged again fits its own input only at multiples of 32
    context = net.enlarged(net.pooled(distances, 32), 32)
    mixed = net.op("Add", net.op("Mul", distances, net.number(0.8)), net.op("Mul", context, net.number(0.2)))
    net.mask(net.op("Sigmoid", net.head(mixed, 3)), DYNAMIC)


@FORMS.form("dynamic-height", "dynamic height, fixed width", alone="said", untold="size")
def dynamic_height(net: Net) -> None:
    net.mask(net.probability(net.image("height")), [1, 1, "height", net.size[1]])


@FORMS.form("dynamic-in-name", "dynamic sizes of which one works", alone="refused", untold="size")
def dynamic_in_name(net: Net) -> None:
    x = net.reshape(net.image("height", "width"), [1, 3, *net.size])
    net.mask(net.probability(x))


@FORMS.form("unnamed-sizes", "dynamic sizes without names, NHWC", alone="said", untold="size", layout="NHWC")
def unnamed_sizes(net: Net) -> None:
    x = net.transpose(net.image("", ""), 0, 3, 1, 2)
    net.mask(net.transpose(net.probability(x), 0, 2, 3, 1), [1, "", "", 1])


@FORMS.form("without-batch", "[3,H,W] in, [1,H,W] out")
def without_batch(net: Net) -> None:
    x = net.input(net.interface["input"], [3, *net.size])
    mask = net.probability(net.op("Unsqueeze", x, net.constant([0])))
    net.mask(net.op("Squeeze", mask, net.constant([0])), [1, *net.size])


@FORMS.form("picture", "uint8 [H,W,3] in, uint8 [H,W] out", **BYTES)
def picture(net: Net) -> None:
    x = net.op("Cast", net.input(net.interface["input"], [*net.size, 3], np.uint8), to=TensorProto.FLOAT)
    x = net.op("Div", net.op("Unsqueeze", net.transpose(x, 2, 0, 1), net.constant([0])), net.number(255))
    mask = net.op("Squeeze", net.probability(x, scale=1 / 255, mean=[0.0], std=[1.0]), net.constant([0, 1]))
    net.mask(net.op("Cast", net.op("Mul", mask, net.number(255)), to=TensorProto.UINT8), net.size, np.uint8)


# --- other inputs ---------------------------------------------------------------------------------------------------


@FORMS.form("trimap", "a trimap beside the photo", alone="refused", untold="inputs", inputs={"trimap": 0.5})
def trimap(net: Net) -> None:
    logits = net.logits(net.image())
    prior = net.op("Sub", net.input("trimap", [1, 1, *net.size]), net.number(0.5))
    net.mask(net.op("Sigmoid", net.op("Add", logits, net.op("Mul", prior, net.number(10)))))


@FORMS.form("trimap-first", "a trimap before the photo", alone="refused", untold="inputs", inputs={"trimap": 0.6})
def trimap_first(net: Net) -> None:
    prior = net.op("Sub", net.input("trimap", [1, 1, *net.size]), net.number(0.5))
    logits = net.logits(net.image())
    net.mask(net.op("Sigmoid", net.op("Add", logits, net.op("Mul", prior, net.number(10)))))


@FORMS.form(
    "background",
    "a photo of the empty scene beside the photo",
    alone="refused",
    untold="input inputs",
    inputs={"bgr": 0.0},
)
def background(net: Net) -> None:
    photo, scene = net.image(), net.input("bgr", [1, 3, *net.size])
    net.mask(net.probability(net.op("Add", photo, net.op("Mul", scene, net.number(0.1)))))


@FORMS.form("number", "a number beside the photo", alone="refused", untold="inputs", inputs={"ratio": 0.5})
def number(net: Net) -> None:
    logits = net.logits(net.image())
    net.mask(net.op("Sigmoid", net.op("Mul", logits, net.input("ratio", [1]))))


@FORMS.form(
    "ratio",
    "a number that decides sizes (RVM's downsample_ratio)",
    alone="refused",
    untold="inputs",
    inputs={"downsample_ratio": [0.5]},
)
def ratio(net: Net) -> None:
    photo, factor = net.image(), net.input("downsample_ratio", [1])
    one = net.constant([1, 1], np.float32)
    scales = net.op("Concat", one, factor, factor, axis=0)
    back = net.op("Concat", one, *[net.op("Reciprocal", factor)] * 2, axis=0)
    how: dict[str, Any] = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    small = net.logits(net.op("Resize", photo, "", scales, **how))
    net.mask(net.op("Sigmoid", net.op("Resize", small, "", back, **how)))


@FORMS.form("recurrent-defaults", "recurrent states that have defaults in the file", output="pha")
def recurrent_defaults(net: Net) -> None:
    photo, state = net.image(), net.input("r1i", [1, 1, *net.size])
    net.weight("r1i", np.full((1, 1, *net.size), 0.25, np.float32))
    logits = net.op("Add", net.logits(photo), state)
    net.output("fgr", net.op("Sigmoid", photo), [1, 3, *net.size])
    net.mask(net.op("Sigmoid", logits))
    net.output("r1o", net.op("Tanh", logits), [1, 1, *net.size])


@FORMS.form(
    "recurrent",
    "recurrent states and a ratio (RVM)",
    alone="refused",
    untold="inputs size",
    input="src",
    output="pha",
    size={"longest_edge": 96, "multiple_of": 8},
    inputs={"r1i": [[[[0.0]]]], "downsample_ratio": [0.5]},
)
def recurrent(net: Net) -> None:
    photo = net.image("height", "width", "batch")
    state, factor = net.input("r1i", ["r1_b", "r1_c", "r1_h", "r1_w"]), net.input("downsample_ratio", [1])
    logits = net.op("Add", net.op("Mul", net.logits(photo), factor), state)
    net.output("fgr", net.op("Sigmoid", photo), ["batch", 3, "height", "width"])
    net.mask(net.op("Sigmoid", logits), DYNAMIC)
    net.output("r1o", net.op("Tanh", logits), DYNAMIC)
