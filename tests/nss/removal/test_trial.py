"""A trial on two synthetic photos: which output is the mask, and what has to be done to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import engine
import nss
from nss.errors import ModelUnavailableError
from nss.models.weights import model_store
from nss.removal import description, trial
from nss.removal.resolved_interface import ResolvedInterface
from tests.engine.models import node
from tests.nss.tiny_models import SIDE, open_model, probability, save_model

LOGITS = node("Conv", "x w", "l")
GREY = {"channels": "grey", "mean": (0.5,), "std": (1.0,)}


def interface_of(path: Path, **keys: Any) -> ResolvedInterface:
    return description.interface_of(*open_model(path), keys)  # type: ignore[arg-type]


def mask_keys(result: ResolvedInterface) -> tuple[object, ...]:
    interface = result.interface
    return interface.output, interface.channel, interface.activation, interface.range


def _case(nodes: list[onnx.NodeProto], outputs: str, answer: tuple[object, ...], name: str) -> object:
    return pytest.param(nodes, outputs, answer, id=name)


@pytest.mark.parametrize(
    ("nodes", "outputs", "answer"),
    [
        _case(
            [*probability(output="p"), node("Conv", "p one", "y")], "y", ("y", 0, "none", 1), "conv of probabilities"
        ),
        _case([LOGITS, node("Identity", "l", "y")], "y", ("y", 0, "sigmoid", 1), "logits"),
        _case(
            [node("Conv", "x w4", "l4", strides=[2, 2]), node("DepthToSpace", "l4", "y", blocksize=2)],
            "y",
            ("y", 0, "sigmoid", 1),
            "depth to space",
        ),
        _case(
            [LOGITS, node("Concat", "l l", "c", axis=1), node("ReduceMean", "c", "y", axes=[1])],
            "y",
            ("y", 0, "sigmoid", 1),
            "mean of heads",
        ),
        _case(
            [*probability(output="p"), node("Sqrt", "p", "s"), node("Mul", "s 255", "y")],
            "y",
            ("y", 0, "none", 255),
            "0..255",
        ),
        _case(
            [*probability(output="p"), node("Mul", "p 255", "q"), node("Cast", "q", "y", to=2)],
            "y",
            ("y", 0, "none", 255),
            "uint8",
        ),
        _case(
            [
                *probability(output="detail"),
                node("AveragePool", "detail", "coarse", kernel_shape=[8, 8], strides=[8, 8]),
                node("Identity", "detail", "matte"),
            ],
            "coarse detail matte",
            ("matte", 0, "none", 1),
            "coarse, detail, matte",
        ),
        _case(
            [*probability(output="a"), node("Identity", "a", "b")], "a b", ("a", 0, "none", 1), "of equals the first"
        ),
        _case(
            [*probability(output="p"), node("Mul", "x p", "fgr"), node("Identity", "p", "out")],
            "fgr out",
            ("out", 0, "none", 1),
            "foreground and alpha",
        ),
        _case(
            [*probability(output="p"), node("Mul", "p 255", "q"), node("Div", "q 200", "r"), node("Sub", "r 0.1", "y")],
            "y",
            ("y", 0, "sigmoid", 1),
            "logits of a few tenths beyond 0..1",
        ),
        _case(
            [
                *probability(output="p"),
                node("ReduceMean", "x", "m", axes=[1, 2, 3]),
                node("Relu", "m", "r"),
                node("Add", "p r", "y"),
            ],
            "y",
            ("y", 0, "sigmoid", 1),
            "logits on the brighter of the photos",
        ),
        _case(
            [*probability(output="p"), node("Conv", "logits w2", "two")],
            "two p",
            ("p", 0, "none", 1),
            "one channel beside two",
        ),
        _case(
            [*probability(output="p"), node("Mul", "p nothing", "flat")],
            "flat p",
            ("p", 0, "none", 1),
            "one never varies",
        ),
        _case(
            [LOGITS, node("Conv", "l w2", "c"), node("Softmax", "c", "y", axis=1)], "y", ("y", 1, "none", 1), "softmax"
        ),
        _case([LOGITS, node("Conv", "l w2", "y")], "y", ("y", 1, "softmax", 1), "two logits"),
        _case(
            [LOGITS, node("Conv", "l w2", "c"), node("ArgMax", "c", "y", axis=1)], "y", ("y", 0, "none", 1), "argmax"
        ),
        _case([*probability(output="p"), node("Squeeze", "p axes", "y")], "y", ("y", 0, "none", 1), "[H, W]"),
        _case(
            [LOGITS, node("Conv", "l w2", "c"), node("Transpose", "c", "y", perm=[0, 2, 3, 1])],
            "y",
            ("y", 1, "softmax", 1),
            "NHWC",
        ),
    ],
)
def test_what_the_outputs_are(
    nodes: list[onnx.NodeProto], outputs: str, answer: tuple[object, ...], tmp_path: Path
) -> None:
    constants = {
        "w4": np.full((4, 3, 1, 1), 1.5, np.float32),
        "255": np.float32(255),
        "200": np.float32(200),
        "0.1": np.float32(0.1),
        "nothing": np.float32(0),
        "axes": np.array([0, 1]),
    }
    path = save_model(tmp_path / "m.onnx", nodes, dict.fromkeys(outputs.split()), constants=constants)
    assert mask_keys(interface_of(path)) == answer


def test_of_more_channels_none_is_known_until_one_is_named(tmp_path: Path) -> None:
    path = save_model(tmp_path / "m.onnx", [LOGITS, node("Conv", "l w3", "y")])
    assert interface_of(path).origins["channel"] == "guess"  # and the model is refused where it is opened
    with pytest.raises(ModelUnavailableError, match="gives y of float32"):
        nss.Remover(path, backend="numpy", quiet=True)
    assert mask_keys(interface_of(path, channel=1)) == ("y", 1, "softmax", 1)
    classes = save_model(tmp_path / "c.onnx", [LOGITS, node("Conv", "l w3", "c"), node("ArgMax", "c", "y", axis=1)])
    with pytest.raises(ModelUnavailableError, match=r"gives y, a map of several classes; .*by 'channel'"):
        interface_of(classes)
    assert mask_keys(interface_of(classes, channel=2)) == ("y", 2, "none", 1)


def test_what_is_asked_for_stands(tmp_path: Path) -> None:
    nodes = [*probability(output="a"), node("Identity", "logits", "b")]
    path = save_model(tmp_path / "m.onnx", nodes, {"a": None, "b": None})
    assert mask_keys(interface_of(path)) == ("a", 0, "none", 1)
    assert mask_keys(interface_of(path, output="b")) == ("b", 0, "sigmoid", 1)
    assert mask_keys(interface_of(path, output=-1, activation="none")) == ("b", 0, "none", 1)
    levels = [*probability(output="p"), node("Sqrt", "p", "s"), node("Mul", "s 255", "y")]
    path = save_model(tmp_path / "levels.onnx", levels, constants={"255": np.float32(255)})
    for activation, range_ in (("none", 255), ("sigmoid", 1), ("softmax", 1)):  # the last two give 0..1
        assert mask_keys(interface_of(path, activation=activation)) == ("y", 0, activation, range_)


def test_open_sizes_are_tried_from_the_least_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[tuple[int, int]] = []
    run = trial._run

    def note_size(file: Any, interface: Any, height: int, width: int) -> Any:
        sizes.append((height, width))
        return run(file, interface, height, width)

    monkeypatch.setattr(trial, "_run", note_size)
    shape = {"x": [1, 3, "h", "w"]}
    interface_of(save_model(tmp_path / "any.onnx", [LOGITS, node("Identity", "l", "y")], inputs=shape))
    assert sizes == [(64, 64)]
    halves = [node("Split", "x parts", "top bottom", axis=2), node("Add", "top bottom", "s"), node("Conv", "s w", "y")]
    constants = {"parts": np.array([128, 128])}  # runs at 256 alone
    path = save_model(tmp_path / "one.onnx", halves, inputs=shape, constants=constants)
    assert mask_keys(interface_of(path)) == ("y", 0, "sigmoid", 1)
    assert sizes[1:] == [(64, 64), (128, 128), (256, 256)]
    interface_of(
        save_model(tmp_path / "fixed.onnx", [LOGITS, node("Identity", "l", "y")], inputs={"x": [1, 3, SIDE, SIDE]})
    )
    assert sizes[4:] == [(SIDE, SIDE)]


def test_what_cannot_be_tried_is_guessed_by_its_last_operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise engine.TooLargeError("no memory")

    monkeypatch.setitem(vars(engine), "Session", fail)
    result = interface_of(save_model(tmp_path / "m.onnx", [LOGITS, node("Identity", "l", "y")]))
    assert mask_keys(result) == ("y", 0, "sigmoid", 1)
    assert result.origins["activation"] == "guess"
    assert "'activation'" in result.guesses[-1]
    assert not (model_store.state_dir() / "trials").exists()


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """An entry for each time that a network is run."""
    inputs: list[str] = []
    try_sizes = trial._try_sizes

    def count_tries(file: Any, interface: Any) -> Any:
        inputs.append(interface.input)
        return try_sizes(file, interface)

    monkeypatch.setattr(trial, "_try_sizes", count_tries)
    return inputs


def test_a_trial_is_remembered_for_the_file_and_the_preparation(tmp_path: Path, tries: list[str]) -> None:
    path = save_model(tmp_path / "m.onnx", [LOGITS, node("Identity", "l", "y")])
    first = interface_of(path)
    assert first == interface_of(path)
    assert len(tries) == 1
    (record,) = (model_store.state_dir() / "trials").iterdir()
    assert record.name == f"{model_store.hash_file(path)}.json"
    assert mask_keys(interface_of(path, mean=(0.0,), std=(1.0,))) == mask_keys(first)
    assert len(tries) == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda _: "[]",
        lambda text: text.replace('"low"', '"lowest"'),
        lambda text: text.replace('"name": "y"', '"name": 7'),
        lambda text: json.dumps({**json.loads(text), "version": 0}),
    ],
)
def test_a_damaged_record_is_tried_anew(damage: Callable[[str], str], tmp_path: Path, tries: list[str]) -> None:
    path = save_model(tmp_path / "m.onnx", [LOGITS, node("Identity", "l", "y")])
    first = interface_of(path)
    (record,) = (model_store.state_dir() / "trials").iterdir()
    record.write_text(damage(record.read_text()))
    assert interface_of(path) == first
    assert len(tries) == 2


def test_a_photo_that_contradicts_the_trial_is_said_and_the_trial_forgotten(tmp_path: Path, tries: list[str]) -> None:
    # 0..1 on any photo but a white one
    nodes = [
        node("ReduceMin", "x", "m", keepdims=1),
        node("Relu", "m", "r"),
        *probability(output="p"),
        node("Add", "p r", "y"),
    ]
    path = save_model(tmp_path / "m.onnx", nodes)
    lines: list[str] = []
    with nss.Remover(path, backend="numpy", notify=lines.append) as remover:
        ordinary = remover.remove(trial.photos(40, 60)[0])
        assert ordinary.notes == ()
        (record,) = (model_store.state_dir() / "trials").iterdir()
        white = remover.remove(np.full((40, 60, 3), 255, np.uint8))
        assert "a trial had shown one, and is forgotten" in white.notes[-1]
        assert "'activation', 'range'" in white.notes[-1]
        assert not record.exists()
    assert "a trial on two synthetic photos shows no activation" in lines[-1]
    interface_of(path)
    assert len(tries) == 2
    assert not trial.forget("0" * 64)


def test_the_photos_have_a_subject_and_are_unlike() -> None:
    first, second = trial.photos(96, 64)
    assert first.shape == second.shape == (96, 64, 3)
    assert first.dtype == np.uint8
    assert float(np.abs(first.astype(float) - second).mean()) > 40
    assert first[43, 35].mean() > first[:8].mean() + 80  # bright on dark
    assert second[33, 29].mean() < second[:8].mean() - 60  # dark on bright
