"""The options that say a model's interface, alone and in the commands that run a network."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nss.cli import interface_options
from nss.cli.option_words import error_in_options
from nss.errors import UsageError
from nss.interfaces.interface import Description, EdgeSize, FixedSize, as_json
from tests.engine.models import node
from tests.nss.conftest import Outcome
from tests.nss.tiny_models import SIDE, probability, save_model

WHOLE: dict[str, Any] = {
    "model_input": "x",
    "model_layout": "nhwc",
    "model_channels": "bgr",
    "model_size": "384x512",
    "model_scale": "1/255",
    "model_mean": "0.485, .456 0.406",
    "model_std": "0.229,0.224,0.225",
    "model_filter": "bicubic-antialias",
    "model_output": "1959",
    "model_channel": "-1",
    "model_activation": "softmax",
    "model_range": "255",
    "model_inputs": ["r1i=0", "ratio=[0.25]"],
}


def test_each_option_is_a_key() -> None:
    description = interface_options.interface(**WHOLE)
    assert description == {
        "input": "x",
        "layout": "NHWC",
        "channels": "BGR",
        "size": FixedSize(384, 512),
        "scale": 1 / 255,
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "filter": "bicubic-antialias",
        "output": "1959",
        "channel": -1,
        "activation": "softmax",
        "range": 255.0,
        "inputs": {"r1i": 0.0, "ratio": [0.25]},
    }
    assert set(Description.__annotations__) - set(description) == {"dtype"}  # which the file alone decides
    assert interface_options.interface(model_size="shortest:512/32") == {"size": EdgeSize("shortest", 512, 32)}
    assert interface_options.interface() == {}


def test_an_option_wins_over_the_file_key_by_key(tmp_path: Path) -> None:
    whole = interface_options.interface(**WHOLE)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(as_json(whole)))
    assert interface_options.interface(model_config=str(path)) == whole
    mixed = interface_options.interface(model_config=str(path), model_mean="0.5", model_inputs=["r1i=1"])
    assert mixed == {**whole, "mean": (0.5,), "inputs": {"r1i": 1.0, "ratio": [0.25]}}


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("model_mean", "half", '--model-mean "half": a number, or one for each channel, is possible'),
        ("model_mean", "0.5,0.5", '--model-mean "0.5,0.5": a number, or'),
        ("model_std", "0", '--model-std "0": a number other than 0, or one'),
        ("model_scale", "1/0", "--model-scale"),
        ("model_size", "12y", '--model-size "12y": 512, 384x512 (height x width)'),
        ("model_size", "middle:512", '--model-size "middle:512": 512, 384x512'),
        ("model_layout", "CHWN", '--model-layout "CHWN": NCHW or NHWC is possible'),
        ("model_channels", "CMYK", '--model-channels "CMYK": RGB, BGR, RGBA or grey is possible'),
        ("model_filter", "sharp", '--model-filter "sharp": nearest, bilinear,'),
        ("model_activation", "relu", '--model-activation "relu": none, sigmoid or softmax'),
        ("model_channel", "first", '--model-channel "first": a whole number is possible'),
        ("model_range", "0", '--model-range "0": a number other than 0'),
        ("model_channel", "1_0", '--model-channel "1_0": a whole number is possible'),
        ("model_scale", "٣", '--model-scale "٣": a number other than 0'),
        ("model_size", "5_12", '--model-size "5_12": 512, 384x512'),
        ("model_inputs", ["r1i"], '--model-inputs "r1i": NAME=VALUE is possible'),
        ("model_inputs", ["r1i=zero"], '--model-inputs "r1i=zero": NAME=VALUE is possible'),
        ("model_inputs", ["r1i=null"], '--model-inputs {"r1i": null}: a number, or an array'),
        ("model_inputs", ["r1i=[[0], [NaN]]"], '--model-inputs {"r1i": [[0], [NaN]]}: a number, or an array'),
        ("model_inputs", [f"r1i=[{10**400}]"], '--model-inputs {"r1i": [1000'),
        ("model_output", "", '--model-output "": a name, or an index'),
    ],
)
def test_a_value_that_is_none_names_the_option(option: str, value: Any, message: str) -> None:
    with pytest.raises(UsageError) as error:
        interface_options.interface(**{option: value})
    line = error_in_options(error.value)
    assert line.startswith(message)
    assert "\n" not in line


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"colour": 1}', b'{"mean": "half"}', b"\xff", None])
def test_a_file_that_is_none_is_named(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError) as error:
        interface_options.interface(model_config=str(path))
    assert str(error.value).startswith(f"--model-config {path}: ")
    assert "\n" not in str(error.value)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run the command in this process, on NumPy."""
    from nss.cli.main import main

    def run(command: str, *arguments: object) -> Outcome:
        capsys.readouterr()
        status = main([command, *map(str, arguments), "--backend", "numpy"])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Outcome(status, captured.out.splitlines(), captured.err.splitlines())

    return run


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return save_model(tmp_path / "tiny.onnx", probability(), {"y": [1, 1, SIDE, SIDE]})


def test_remove_uses_them_and_says_where_each_value_is_from(
    run: Callable[..., Outcome], tiny: Path, photo: Path, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text('{"std": 0.5, "mean": 9}')
    out = tmp_path / "out.png"
    options = ["--model-config", tmp_path / "config.json", "--model-mean", "0.5", "--model-channels", "BGR"]
    outcome = run("remove", photo, "--model", tiny, *options, "-o", out, "--mask-only", "--json", "--sidecar")
    assert outcome.status == 0, outcome.err
    assert [line.partition(": ")[2] for line in outcome.err] == [
        "tiny.onnx: nothing says its filter; guessed bilinear-antialias; settle it with --model-filter"
    ]
    config = json.loads(outcome.out[0])["model_config"]
    assert (config["values"]["mean"], config["values"]["std"], config["values"]["channels"]) == ([0.5], [0.5], "BGR")
    origins = config["origins"]
    assert (origins["mean"], origins["size"], origins["filter"]) == ("option", "file", "guess")
    assert json.loads((tmp_path / "out.png.json").read_text())["model_config"] == config
    # what --json shows is what --model-config takes
    (tmp_path / "again.json").write_text(json.dumps(config["values"]))
    again = run(
        "remove",
        photo,
        "--model",
        tiny,
        "--model-config",
        tmp_path / "again.json",
        "-o",
        tmp_path / "2.png",
        "--mask-only",
    )
    assert again.err == []
    assert np.array_equal(np.asarray(Image.open(out)), np.asarray(Image.open(tmp_path / "2.png")))


def test_no_model_no_configuration(run: Callable[..., Outcome], photo: Path, tmp_path: Path) -> None:
    mask = tmp_path / "mask.png"
    Image.new("L", Image.open(photo).size).save(mask)
    outcome = run("remove", photo, "--mask", mask, "-o", tmp_path / "out.png", "--json")
    assert json.loads(outcome.out[0])["model_config"] is None
    outcome = run("remove", photo, "--mask", mask, "-o", tmp_path / "out.png", "--model-mean", "0")
    assert outcome.status == 2
    assert "--mask takes the place of a network" in outcome.err[0]


@pytest.mark.parametrize("command", ["remove", "preview", "bench", "parity"])
def test_every_command_that_runs_a_network_takes_them(
    command: str, run: Callable[..., Outcome], tiny: Path, photo: Path, tmp_path: Path
) -> None:
    cutout = command in ("remove", "preview")
    what = [photo, "--model", tiny, "-o", tmp_path / "out.png"] if cutout else [tiny]
    assert run(command, *what, "--model-std", "0").status == 2
    wrong = run(command, *what, "--model-size", 64)
    assert wrong.status == 3
    assert "64" in wrong.err[-1]
    right = run(command, *what, "--model-size", SIDE, "--model-mean", "0.5")
    assert right.status == 0
    assert next(line for line in right.err if "guessed" in line).endswith(
        "--model-channels, --model-std, --model-filter"
    )


@pytest.mark.parametrize("command", ["bench", "parity"])
def test_their_json_has_where_each_value_is_from(command: str, run: Callable[..., Outcome], tiny: Path) -> None:
    record = json.loads("\n".join(run(command, tiny, "--json", "--model-mean", "0.5").out))
    assert record["model_config"]["values"]["mean"] == [0.5]
    assert {key: record["model_config"]["origins"][key] for key in ("mean", "size", "filter")} == {
        "mean": "option",
        "size": "file",
        "filter": "guess",
    }


@pytest.mark.parametrize("command", ["bench", "parity"])
def test_a_size_that_was_guessed_is_blamed_where_the_model_does_not_run_at_it(
    command: str, run: Callable[..., Outcome], tmp_path: Path
) -> None:
    fixed = [node("Conv", "x w", "a"), node("Reshape", "a shape", "b"), node("Sigmoid", "b", "y")]
    shape = {"shape": np.array([1, 1, 64, 64])}
    path = save_model(
        tmp_path / "m.onnx",
        fixed,
        outputs={"y": [1, 1, "h", "w"]},
        inputs={"x": [1, 3, "h", "w"]},
        constants=shape,
    )
    refused = run(command, path)
    assert refused.status == 3
    assert refused.err[-1].endswith("1024x1024 is a guess: say by --model-size what the model was made for")
