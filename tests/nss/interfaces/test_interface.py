"""A model's interface as data: read, laid over each other, written again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest

from nss.errors import UsageError
from nss.interfaces.interface import (
    POSSIBLE,
    Description,
    EdgeSize,
    FixedSize,
    Interface,
    as_json,
    merge,
    parse_description,
    parse_number,
    parse_numbers,
    parse_size,
    read_config,
)

WHOLE: dict[str, Any] = {
    "input": "x",
    "layout": "NHWC",
    "dtype": "uint8",
    "channels": "BGR",
    "size": {"shortest_edge": 512, "multiple_of": 32},
    "scale": 0.5,
    "mean": [1.0, 2.0, 3.0],
    "std": [1.0],
    "filter": "bilinear",
    "output": "y",
    "channel": 1,
    "activation": "softmax",
    "range": 255.0,
    "inputs": {"ratio": 0.25, "state": [[1, 2]]},
}


def test_json_comes_back_as_it_went() -> None:
    description = parse_description(WHOLE, "file")
    assert parse_description(json.loads(json.dumps(as_json(description))), "again") == description
    assert as_json(description) == WHOLE


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512", FixedSize(512, 512)),
        ("384x512", FixedSize(384, 512)),
        ("shortest:512/32", EdgeSize("shortest", 512, 32)),
        ("longest:1024", EdgeSize("longest", 1024)),
    ],
)
def test_a_size_as_text(text: str, size: FixedSize | EdgeSize) -> None:
    assert parse_size(text) == size
    assert parse_size(str(size)) == size


def test_an_edge_keeps_the_shape_of_the_photo() -> None:
    assert EdgeSize("shortest", 512, 32).of(480, 640) == (512, 672)
    assert EdgeSize("longest", 1024).of(600, 300) == (1024, 512)
    assert EdgeSize("longest", 64, 32).of(1000, 1) == (64, 32)


@pytest.mark.parametrize("text", ["", "0", "-5", "5x", "4x4x4", "middle:5", "shortest:", "1.5", "9999999", "x", "nan"])
def test_no_size(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - int's own too
        parse_size(text)


def test_numbers_as_text() -> None:
    assert parse_number("1/255") == 1 / 255
    assert parse_numbers("0.5, 0.25 1e-1") == (0.5, 0.25, 0.1)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("colour", 1),
        ("layout", "NCWH"),
        ("size", [1, 2, 3]),
        ("size", "abc"),
        ("size", {"middle_edge": 3}),
        ("size", {}),
        ("scale", 0),
        ("std", [1, 0, 1]),
        ("mean", [1, 2]),
        ("mean", "0.5"),
        ("mean", float("nan")),
        ("channel", 1.5),
        ("channel", True),
        ("output", None),
        ("inputs", [1]),
        ("inputs", {"a": "zero"}),
        ("range", float("inf")),
    ],
)
def test_what_is_no_description_is_refused_with_its_place(key: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"^my.json: .*{key}") as failure:
        parse_description({key: value}, "my.json")
    assert str(failure.value).endswith(f": {POSSIBLE.get(key)} is possible") == (key != "colour")


def test_a_description_has_the_keys_of_an_interface_and_their_types() -> None:
    assert get_type_hints(Description) == get_type_hints(Interface)


def test_every_key_says_what_is_possible() -> None:
    assert set(POSSIBLE) == set(Description.__annotations__)
    assert POSSIBLE["channels"] == "RGB, BGR, RGBA or grey"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mean", [0.5, "a", 1]),
        ("mean", None),
        ("scale", "1/255"),
        ("size", "abc"),
        ("size", "4x4x3"),
        ("inputs", {"r1i": np.zeros((2, 2)) > 0, "x": None}),
    ],
)
def test_a_value_is_refused_in_this_projects_words_and_on_one_line(key: str, value: object) -> None:
    with pytest.raises(UsageError) as failure:
        parse_description({key: value}, "my.json")
    assert str(failure.value).endswith(f": {POSSIBLE[key]} is possible")
    assert "\n" not in str(failure.value)


def test_arrays_and_numbers_of_numpy_stand_for_lists_and_numbers() -> None:
    state = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    description = parse_description(
        {
            "mean": np.array([0.5, 0.25, 0.125], np.float32),
            "scale": np.float32(0.5),
            "channel": np.int64(1),
            "size": np.array([48, 64]),
            "inputs": {"state": state, "ratio": np.float64(0.25)},
        },
        "",
    )
    assert description == {
        "mean": (0.5, 0.25, 0.125),
        "scale": 0.5,
        "channel": 1,
        "size": FixedSize(48, 64),
        "inputs": {"state": state.tolist(), "ratio": 0.25},
    }


def test_what_a_run_says_of_its_model_is_read_again() -> None:
    description = parse_description(WHOLE, "")
    assert (
        parse_description({"values": as_json(description), "origins": dict.fromkeys(description, "option")}, "")
        == description
    )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_file_of_windows_is_read_too(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "model.json").write_text('{"mean": 0.5}', encoding)
    assert read_config(tmp_path / "model.json") == {"mean": (0.5,)}


def test_a_configuration_of_another_type_is_the_programs_fault() -> None:
    with pytest.raises(UsageError, match="'model_config' is a mapping or the path of a JSON file, not int"):
        read_config(5)  # type: ignore[arg-type]


def test_the_first_to_speak_wins_and_is_named() -> None:
    first, second = (
        parse_description({"scale": 1, "inputs": {"a": 1}}, ""),
        parse_description({"scale": 2, "range": 255}, ""),
    )
    whole, origins = merge(
        [("option", first), ("file", second), ("guess", parse_description({"inputs": {"a": 2, "b": 3}}, ""))]
    )
    assert whole == {"scale": 1.0, "range": 255.0, "inputs": {"a": 1.0, "b": 3.0}}
    assert origins == {"scale": "option", "inputs": "option", "range": "file"}
