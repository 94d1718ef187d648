"""``metadata_props``: the project's own key, what tools write, and what cannot be read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nss.interfaces import model_metadata
from nss.interfaces.interface import EdgeSize, FixedSize, as_json
from tests.nss.interfaces.preprocessor_configs import WHOLE


def parse(**props: str) -> tuple[dict[str, Any], list[str]]:
    description, lines = model_metadata.parse(props, "m.onnx")
    return dict(description), lines


def test_the_own_key_holds_any_description() -> None:
    own = {"mean": [0.5], "size": {"shortest_edge": 512, "multiple_of": 32}, "output": 2, "inputs": {"r": 0.0}}
    description, lines = parse(**{model_metadata.KEY: json.dumps(own), "mean": "9"})
    assert (as_json(description), lines) == (own, [])  # type: ignore[arg-type]
    assert description["size"] == EdgeSize("shortest", 512, 32)


@pytest.mark.parametrize(
    ("props", "description"),
    [
        ({"mean": "[0.5, 0.5, 0.5]", "std": "(1, 1, 1)"}, {"mean": (0.5,) * 3, "std": (1.0,) * 3}),
        ({"image_mean": "0.485 0.456 0.406"}, {"mean": (0.485, 0.456, 0.406)}),
        ({"standardization_mean": "[0.4]", "standardization_std": "[0.2]"}, {"mean": (0.4,), "std": (0.2,)}),
        ({"Mean": "127.5", "rescale_factor": "1/255"}, {"mean": (127.5,), "scale": 1 / 255}),
        ({"input_size": "512"}, {"size": FixedSize(512, 512)}),
        ({"imgsz": "[640, 384]"}, {"size": FixedSize(640, 384)}),
        ({"input_size": "384x512"}, {"size": FixedSize(384, 512)}),
        ({"input_shape": "[1, 3, 384, 512]"}, {"size": FixedSize(384, 512)}),
        ({"input_shape": "[1, 384, 512, 3]"}, {"size": FixedSize(384, 512)}),
        ({"channel_order": "bgr"}, {"channels": "BGR"}),
        ({"color_format": "GRAY"}, {"channels": "grey"}),
        ({"input_layout": "nhwc"}, {"layout": "NHWC"}),
        (
            {"Image.NominalPixelRange": "Normalized_1_1", "Image.BitmapPixelFormat": "Bgr8"},
            {"scale": 1 / 255, "mean": (0.5,), "std": (0.5,), "channels": "BGR"},
        ),
        ({"Image.NominalPixelRange": "NominalRange_0_255"}, {"scale": 1.0, "mean": (0.0,), "std": (1.0,)}),
        ({"onnx.infer": "onnxruntime.quant", "author": "someone", "scale": "4", "names": "{0: 'cat'}"}, {}),
    ],
)
def test_what_tools_write(props: dict[str, str], description: dict[str, Any]) -> None:
    assert parse(**props) == (description, [])


def test_a_whole_configuration_may_be_in_it() -> None:
    description, lines = parse(preprocessor_config=json.dumps(WHOLE), imgsz="64")
    assert (description["size"], description["mean"], lines) == (FixedSize(1024, 768), (0.5,) * 3, [])


@pytest.mark.parametrize(
    ("props", "line"),
    [
        ({"mean": "half"}, 'm.onnx: metadata mean: mean "half": a number, or'),
        ({"mean": "0.5, 0.5"}, 'm.onnx: metadata mean: mean "0.5, 0.5": a number, or'),
        ({"std": "0"}, "m.onnx: metadata std: std [0.0]: a number other"),
        ({"rescale_factor": "1/0"}, "m.onnx: metadata rescale_factor: scale"),
        ({"input_size": "-1"}, "m.onnx: metadata input_size: size"),
        ({"input_size": "1.5"}, "m.onnx: metadata input_size: size"),
        ({"channel_order": "CMYK"}, 'm.onnx: metadata channel_order: channels "CMYK": RGB, BGR,'),
        ({model_metadata.KEY: "no JSON"}, "m.onnx: metadata nss.interface: ignored"),
        ({model_metadata.KEY: "[]"}, "m.onnx: metadata nss.interface: ignored"),
        ({model_metadata.KEY: '{"colour": 1}'}, 'm.onnx: metadata nss.interface: "colour" is no part'),
    ],
)
def test_what_cannot_be_read_is_said_and_ignored(props: dict[str, str], line: str) -> None:
    description, lines = parse(**props, channel_order="BGR") if "channel_order" not in props else parse(**props)
    assert [note.startswith(line) and "ignored" in note for note in lines] == [True]
    assert description == ({} if "channel_order" in props else {"channels": "BGR"})
