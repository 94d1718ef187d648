"""Forms that differ in what they give: where the mask is, its type and range, and what is still to be done to it."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from tools.forms.form import BYTES, Forms
from tools.forms.net import Net

FORMS = Forms()

LOGITS: dict[str, Any] = {"activation": "sigmoid"}


# --- probabilities and logits ---------------------------------------------------------------------------------------


@FORMS.form("conv-of-probabilities", "last operator a Conv over three probabilities")
def conv_of_probabilities(net: Net) -> None:
    distances = net.distances(net.image())
    heads = [net.op("Sigmoid", net.head(distances, 3, radius=radius)) for radius in (0.45, 0.55, 0.65)]
    weights = np.reshape([0.3, 0.4, 0.3], (1, 3, 1, 1))
    net.mask(net.conv(net.op("Concat", *heads, axis=1), weights))


@FORMS.form("logits", "logits of a Conv", **LOGITS)
def logits(net: Net) -> None:
    net.mask(net.logits(net.image()))


@FORMS.form("logits-depth-to-space", "logits through DepthToSpace", **LOGITS)
def depth_to_space(net: Net) -> None:
    height, width = net.size
    distances = net.pooled(net.distances(net.image()), 2)
    heads = [net.head(distances, 3, radius=radius) for radius in (0.5, 0.54, 0.56, 0.6)]
    x = net.conv(net.op("Concat", *heads, axis=1), np.eye(4)[..., None, None])
    net.mask(net.op("DepthToSpace", x, blocksize=2), [1, 1, height, width])


@FORMS.form("logits-concat", "logits of two halves of the image through Concat", **LOGITS)
def concat(net: Net) -> None:
    distances = net.distances(net.image())
    halves = [net.slice(distances, 2, *rows) for rows in ((0, 24), (24, 48))]
    net.mask(net.op("Concat", *(net.head(half, 3) for half in halves), axis=2))


@FORMS.form("logits-pad", "logits through Pad", **LOGITS)
def pad(net: Net) -> None:
    inner = net.slice(net.slice(net.distances(net.image()), 2, 4, -4), 3, 4, -4)
    net.mask(net.op("Pad", net.head(inner, 3), net.constant([0, 0, 4, 4] * 2), net.number(-12.0)))


@FORMS.form("logits-gather", "logits of one class of three through Gather", **LOGITS)
def gather(net: Net) -> None:
    distances = net.distances(net.image())
    heads = [net.head(distances, 3, radius=radius) for radius in (0.2, 0.55, 0.9)]
    x = net.conv(net.op("Concat", *heads, axis=1), np.eye(3)[..., None, None])
    net.mask(net.op("Gather", x, net.constant([1]), axis=1))


@FORMS.form("logits-reduce-mean", "logits of four heads through ReduceMean", **LOGITS)
def reduce_mean(net: Net) -> None:
    distances = net.distances(net.image())
    heads = [net.head(distances, 3, radius=radius) for radius in (0.45, 0.5, 0.6, 0.65)]
    x = net.conv(net.op("Concat", *heads, axis=1), np.eye(4)[..., None, None])
    net.mask(net.op("ReduceMean", x, axes=[1], keepdims=1))


@FORMS.form("logits-resize", "logits of half the size through Resize", **LOGITS)
def resize(net: Net) -> None:
    net.mask(net.enlarged(net.head(net.pooled(net.distances(net.image()), 2), 3), 2))


@FORMS.form("range-255", "0..255 out", range=255)
def range_255(net: Net) -> None:
    net.mask(net.op("Mul", net.probability(net.image()), net.number(255)))


@FORMS.form("uint8-out", "uint8 out", range=255)
def uint8_out(net: Net) -> None:
    scaled = net.op("Add", net.op("Mul", net.probability(net.image()), net.number(255)), net.number(0.5))
    net.mask(net.op("Cast", scaled, to=TensorProto.UINT8), dtype=np.uint8)


# --- several outputs ------------------------------------------------------------------------------------------------


def coarse(net: Net, mask: str) -> None:
    """An output of 3x4 pixels."""
    net.output("coarse", net.pooled(mask, 16), [1, 1, net.size[0] // 16, net.size[1] // 16])


@FORMS.form("coarse-first", "a coarse output before the mask")
def coarse_first(net: Net) -> None:
    mask = net.probability(net.image())
    coarse(net, mask)
    net.mask(mask)


@FORMS.form(
    "coarse-detail-matte",
    "MODNet's outputs in training: coarse, detail, matte",
    alone="said",
    untold="output",
    output="matte",
)
def coarse_detail_matte(net: Net) -> None:
    mask = net.probability(net.image())
    coarse(net, mask)
    edges = net.op("Mul", net.op("Mul", mask, net.op("Sub", net.number(1), mask)), net.number(4))
    net.output("detail", edges, [1, 1, *net.size])
    net.mask(mask)


@FORMS.form("foreground-and-alpha", "a foreground of three channels, then alpha (RVM, BEN2)", output="pha")
def foreground_and_alpha(net: Net) -> None:
    x = net.image()
    net.output("fgr", net.op("Sigmoid", x), [1, 3, *net.size])
    net.mask(net.probability(x))


@FORMS.form("side-outputs", "the mask, then training's side outputs (U²-Net)")
def side_outputs(net: Net) -> None:
    distances = net.distances(net.image())
    net.mask(net.op("Sigmoid", net.head(distances, 3)))
    for index, radius in enumerate((0.4, 0.7)):
        net.output(f"side{index}", net.op("Sigmoid", net.head(distances, 3, radius=radius)), [1, 1, *net.size])


@FORMS.form("constant-first", "an output that never varies before the mask")
def constant_first(net: Net) -> None:
    mask = net.probability(net.image())
    net.output("prior", net.op("Clip", mask, net.number(0.5), net.number(0.5)), [1, 1, *net.size])
    net.mask(mask)


@FORMS.form("outputs-alike", "two outputs alike, named 0 and 1", alone="said", untold="output", output="1")
def outputs_alike(net: Net) -> None:
    distances = net.distances(net.image())
    net.output("0", net.op("Sigmoid", net.head(distances, 3, radius=0.2)), [1, 1, *net.size])
    net.mask(net.op("Sigmoid", net.head(distances, 3)))


# --- shapes ---------------------------------------------------------------------------------------------------------


@FORMS.form("mask-hw", "[H,W] out")
def mask_hw(net: Net) -> None:
    net.mask(net.op("Squeeze", net.probability(net.image()), net.constant([0, 1])), net.size)


@FORMS.form("mask-1hw", "[1,H,W] out")
def mask_1hw(net: Net) -> None:
    net.mask(net.op("Squeeze", net.probability(net.image()), net.constant([1])), [1, *net.size])


@FORMS.form("mask-1hw1", "[1,H,W,1] out of an NCHW input")
def mask_1hw1(net: Net) -> None:
    net.mask(net.transpose(net.probability(net.image()), 0, 2, 3, 1), [1, *net.size, 1])


@FORMS.form("nhwc", "NHWC in and out", layout="NHWC")
def nhwc(net: Net) -> None:
    x = net.transpose(net.image(), 0, 3, 1, 2)
    net.mask(net.transpose(net.probability(x), 0, 2, 3, 1), [1, *net.size, 1])


@FORMS.form("nhwc-in", "NHWC in, NCHW out", layout="NHWC")
def nhwc_in(net: Net) -> None:
    net.mask(net.probability(net.transpose(net.image(), 0, 3, 1, 2)))


@FORMS.form("mediapipe", "uint8 NHWC in, uint8 NHWC out", **BYTES)
def mediapipe(net: Net) -> None:
    x = net.transpose(net.op("Cast", net.image(), to=1), 0, 3, 1, 2)
    mask = net.probability(net.op("Div", x, net.number(255)), scale=1 / 255, mean=[0.0], std=[1.0])
    scaled = net.op("Mul", net.transpose(mask, 0, 2, 3, 1), net.number(255))
    net.mask(net.op("Cast", scaled, to=TensorProto.UINT8), [1, *net.size, 1], np.uint8)


@FORMS.form("half-size-out", "a mask of half the input's size")
def half_size_out(net: Net) -> None:
    height, width = net.size
    mask = net.op("Sigmoid", net.head(net.pooled(net.distances(net.image()), 2), 3))
    net.mask(mask, [1, 1, height // 2, width // 2])


# --- classes --------------------------------------------------------------------------------------------------------


def two_classes(net: Net, x: str, *, foreground: int = 1) -> str:
    """Logits ``[1, 2, H, W]`` of background and foreground."""
    half = net.op("Mul", net.logits(x), net.number(0.5))
    pair = [net.op("Neg", half), half]
    return net.conv(net.op("Concat", *pair[:: 1 if foreground else -1], axis=1), np.eye(2)[..., None, None])


@FORMS.form("softmax", "two channels of softmax", channel=1, channel_axis=1)
def softmax(net: Net) -> None:
    net.mask(net.op("Softmax", two_classes(net, net.image()), axis=1), [1, 2, *net.size])


@FORMS.form(
    "softmax-foreground-first", "two of softmax, foreground first", alone="said", untold="channel", channel_axis=1
)
def softmax_foreground_first(net: Net) -> None:
    net.mask(net.op("Softmax", two_classes(net, net.image(), foreground=0), axis=1), [1, 2, *net.size])


@FORMS.form("softmax-nhwc", "two channels of softmax, NHWC", layout="NHWC", channel=1, channel_axis=3)
def softmax_nhwc(net: Net) -> None:
    scores = two_classes(net, net.transpose(net.image(), 0, 3, 1, 2))
    net.mask(net.op("Softmax", net.transpose(scores, 0, 2, 3, 1), axis=3), [1, *net.size, 2])


@FORMS.form("softmax-nhwc-out", "two channels of softmax, NCHW in and NHWC out", channel=1, channel_axis=3)
def softmax_nhwc_out(net: Net) -> None:
    scores = net.transpose(two_classes(net, net.image()), 0, 2, 3, 1)
    net.mask(net.op("Softmax", scores, axis=3), [1, *net.size, 2])


@FORMS.form("rgba-out", "a cut-out of four channels", alone="refused", untold="channel", channel=3, channel_axis=1)
def rgba_out(net: Net) -> None:
    photo = net.image()
    mask = net.probability(photo)
    colours = net.op("Mul", net.op("Sigmoid", photo), mask)
    net.mask(net.op("Concat", colours, mask, axis=1), [1, 4, *net.size])


@FORMS.form("two-logits", "two channels of logits", channel=1, channel_axis=1, activation="softmax")
def two_logits(net: Net) -> None:
    net.mask(two_classes(net, net.image()), [1, 2, *net.size])


@FORMS.form("argmax", "argmax of two classes, int64 [1,H,W]")
def argmax(net: Net) -> None:
    scores = two_classes(net, net.image())
    net.mask(net.op("ArgMax", scores, axis=1, keepdims=0), [1, *net.size], np.int64)


@FORMS.form("argmax-uint8", "argmax of two classes as uint8")
def argmax_uint8(net: Net) -> None:
    classes = net.op("ArgMax", two_classes(net, net.image()), axis=1, keepdims=1)
    net.mask(net.op("Cast", classes, to=TensorProto.UINT8), dtype=np.uint8)


@FORMS.form("bool-out", "a comparison, bool out")
def bool_out(net: Net) -> None:
    net.mask(net.op("Greater", net.probability(net.image()), net.number(0.5)), dtype=np.bool_)


@FORMS.form(
    "three-classes",
    "softmax of background, edge and foreground",
    alone="refused",
    untold="channel",
    channel=2,
    channel_axis=1,
)
def three_classes(net: Net) -> None:
    weights = np.reshape([-1, 0, 1], (3, 1, 1, 1))
    net.mask(net.op("Softmax", net.conv(net.logits(net.image()), weights), axis=1), [1, 3, *net.size])


@FORMS.form(
    "classes",
    "21 classes of logits",
    alone="refused",
    untold="channel",
    channel=15,
    channel_axis=1,
    activation="softmax",
)
def classes(net: Net) -> None:
    net.mask(many_classes(net), [1, 21, *net.size])


@FORMS.form("class-map", "argmax of 21 classes, int64 [1,H,W]", alone="refused", untold="channel", channel=15)
def class_map(net: Net) -> None:
    net.mask(net.op("ArgMax", many_classes(net), axis=1, keepdims=0), [1, *net.size], np.int64)


def many_classes(net: Net) -> str:
    """Logits ``[1, 21, H, W]``, of which 15 is the foreground, as persons are among PASCAL's classes."""
    weights = np.linspace(-1, 1, 21 * 3).reshape(21, 3, 1, 1)
    photo = net.image()
    others = net.conv(photo, weights)
    heads = [net.slice(others, 1, 0, 15), net.logits(photo), net.slice(others, 1, 16, 21)]
    return net.conv(net.op("Concat", *heads, axis=1), np.eye(21)[..., None, None])
