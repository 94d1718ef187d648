"""Resampling one position only repeats it, whatever the mode; where it does not, the Resize stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine.graph.passes.broadcast_resize import broadcast_resize
from tests.engine.graph.passes.check import rewrite
from tests.engine.models import model, node

ULP = {"rtol": 3e-7}
"""A linear Resize adds two weighted copies; the Expand is the copy itself."""

MODES = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric"]


@pytest.mark.parametrize("coordinates", MODES)
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_sizes(mode: str, coordinates: str) -> None:
    resize = node("Resize", "x - - sizes", "y", mode=mode, coordinate_transformation_mode=coordinates)
    graph = rewrite(
        model([resize], {"x": [2, 3, 1, 1]}, "y", {"sizes": [2, 3, 4, 7]}, opset=18), broadcast_resize, 1, **ULP
    )
    assert [node.op for node in graph.nodes] == ["Expand"]


@pytest.mark.parametrize(
    ("resize", "constants", "opset"),
    [
        (node("Resize", "x - scales", "y", mode="linear"), {"scales": np.array([1, 1, 4, 7], np.float32)}, 13),
        (node("Resize", "x scales", "y", mode="linear"), {"scales": np.array([1, 1, 4, 7], np.float32)}, 10),
        (node("Upsample", "x scales", "y", mode="linear"), {"scales": np.array([1, 1, 4, 7], np.float32)}, 9),
        (node("Upsample", "x", "y", scales=[1.0, 1.0, 4.0, 7.0]), {}, 7),
        (node("Resize", "x - - sizes", "y", axes=[2, 3], mode="linear"), {"sizes": np.array([4, 7])}, 18),
    ],
)
def test_scales_and_axes(resize: Any, constants: dict[str, Any], opset: int) -> None:
    rewrite(model([resize], {"x": [1, 3, 1, 1]}, "y", constants, opset=opset), broadcast_resize, 1, **ULP)


def test_one_axis_of_one_position() -> None:
    resize = node("Resize", "x - - sizes", "y", mode="linear")
    rewrite(model([resize], {"x": [1, 3, 5, 1]}, "y", {"sizes": [1, 3, 5, 7]}), broadcast_resize, 1, **ULP)


@pytest.mark.parametrize("coordinates", ["asymmetric", "tf_crop_and_resize"])
def test_nothing_of_one_position_is_outside(coordinates: str) -> None:
    constants = {"roi": np.array([0, 0, -1, -1, 1, 1, 2, 2], np.float32), "sizes": np.array([1, 3, 4, 7])}
    exclude = int(coordinates == "asymmetric")
    resize = node(
        "Resize",
        "x roi - sizes",
        "y",
        mode="linear",
        extrapolation_value=9.0,
        exclude_outside=exclude,
        coordinate_transformation_mode=coordinates,
    )
    rewrite(model([resize], {"x": [1, 3, 1, 1]}, "y", constants), broadcast_resize, 1, **ULP)


@pytest.mark.parametrize("shape", [[1, 3, 2, 1], [1, 3, 2, 2], [1, 3, 4, 7]])
def test_stays(shape: list[int]) -> None:
    resize = node("Resize", "x - - sizes", "y", mode="linear")
    rewrite(model([resize], {"x": shape}, "y", {"sizes": [1, 3, 4, 7]}), broadcast_resize, 0)
