"""Col2Im (ONNX version 18): columns of window contents added up into an image, the adjoint of im2col."""

from __future__ import annotations

from math import prod

import numpy as np

from engine.graph.ir import Node, TensorType
from engine.ops.arguments import ints, static_ints
from engine.ops.registry import operator
from engine.ops.types import accumulator
from engine.ops.window import Window, resolve


def _window(node: Node, shape: tuple[int, ...], image: tuple[int, ...], block: tuple[int, ...]) -> Window:
    """The window of ``block`` over ``image``; ValueError when columns of ``shape`` are not what it gathers."""
    window = resolve(node, image, block)
    if min(window.begin + window.end) < 0:
        raise ValueError(f"pads {window.begin} and {window.end} must not be negative")
    if len(shape) != 3 or shape[1] % window.taps or shape[2] != prod(window.out):
        raise ValueError(f"columns of shape {shape} for windows {block} at {prod(window.out)} positions")
    return window


@operator("Col2Im", since=18, static=[1, 2])
class Col2Im:
    """``[N, C·block, positions]`` to ``[N, C, *image]``."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x = node.input(0)
        image, block = static_ints(node, 1), static_ints(node, 2)
        window = _window(node, x.shape, image, block)
        return [TensorType(x.dtype, (x.shape[0], x.shape[1] // window.taps, *image))]

    @staticmethod
    def workspace(node: Node) -> int:
        x, image, block = node.input(0), static_ints(node, 1), static_ints(node, 2)
        window = _window(node, x.shape, image, block)
        elements = x.type.size + x.shape[0] * x.shape[1] // window.taps * prod(window.canvas(image))
        return elements * accumulator(x.dtype).itemsize

    @staticmethod
    def reference(node: Node, x: np.ndarray, image_shape: np.ndarray, block_shape: np.ndarray) -> np.ndarray:
        image, block = ints(image_shape) or (), ints(block_shape) or ()
        window = _window(node, x.shape, image, block)
        columns = x.astype(accumulator(x.dtype), copy=False)
        columns = columns.reshape(x.shape[0], x.shape[1] // window.taps, *block, *window.out)
        return window.fold(columns, image).astype(x.dtype, copy=False)
