"""Make model/ beside this file: a network that says which of ten colours a picture of 32 x 32 pixels has, and how much.

python web/examples/classifier/make_model.py [FOLDER]

A convolution scores each pixel by its distance to each colour, a softmax chooses, and the average over all pixels is
the share of each colour. Any other ONNX file goes the same way: engine.compile, and engine.save_compiled.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

import engine

SIDE = 32
COLOURS = {
    "black": (0, 0, 0),
    "grey": (128, 128, 128),
    "white": (255, 255, 255),
    "red": (220, 30, 30),
    "orange": (250, 140, 20),
    "yellow": (250, 230, 40),
    "green": (40, 160, 60),
    "blue": (40, 80, 220),
    "purple": (140, 50, 170),
    "pink": (250, 150, 190),
}
SHARPNESS = 60
"""How fast a colour's score falls with the square of the distance, in colours from 0 to 1."""


def classifier() -> ModelProto:
    """image, float32 [1, 3, 32, 32] from 0 to 1 → scores, float32 [1, 10], which sum up to 1."""
    colours = np.array(list(COLOURS.values()), np.float32) / 255
    # -|pixel - colour|² without |pixel|², which is the same for all colours
    weights = 2 * SHARPNESS * colours[:, :, None, None]
    bias = -SHARPNESS * np.sum(colours**2, axis=1)
    nodes = [
        helper.make_node("Conv", ["image", "weights", "bias"], ["distances"]),
        helper.make_node("Softmax", ["distances"], ["pixels"], axis=1),
        helper.make_node("GlobalAveragePool", ["pixels"], ["shares"]),
        helper.make_node("Flatten", ["shares"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, len(COLOURS)])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(bias, "bias")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "model"
    compiled = engine.compile(
        classifier().SerializeToString(),
        origin=engine.ModelOrigin("colours", licence="Apache-2.0"),
        metadata={"classes": list(COLOURS)},
    )
    engine.save_compiled(compiled, folder)


if __name__ == "__main__":
    main()
