"""The fuzzer: each kind of planted fault is caught as what it is, and a seed gives the same cases."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from engine.graph.load import load
from engine.ops import evaluate
from tests.project import ROOT
from tools import fuzz
from tools.fuzzing import image_mutations, onnx_mutations
from tools.fuzzing.explanations import Run, differing, explanation
from tools.fuzzing.image_cases import ImageCases
from tools.fuzzing.image_seeds import seeds
from tools.fuzzing.onnx_cases import work
from tools.fuzzing.onnx_seeds import NETWORKS, mask_network, networks
from tools.fuzzing.verdict import Verdict, misworded, place_in_dump, report


@pytest.fixture(scope="module")
def planted() -> dict[str, list[str]]:
    """The verdict on each planted fault: its kind, what tells it apart, and the place."""
    command = [sys.executable, "-m", "tests.tools.planted_faults"]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert process.returncode == 0, process.stderr
    result: dict[str, list[str]] = json.loads(process.stdout)
    return result


@pytest.mark.parametrize(
    ("fault", "kind", "why"),
    [
        ("sound model", "ok", "on 2 backends"),
        ("hang", "hang", "in numpy"),
        ("crash", "crash", "SIGABRT in numpy"),
        ("silent end", "crash", "status 7 in numpy"),
        ("memory", "memory", "in numpy"),
        ("MemoryError", "memory", "MemoryError in numpy"),
        ("foreign", "foreign", "KeyError in numpy"),
        ("difference", "difference", "numpy, Add, Identity"),
        ("warning", "noise", ""),
        ("sound image", "ok", "library"),
        ("image foreign", "foreign", "KeyError in load"),
        ("image foreign in the command", "foreign", "KeyError in command"),
        ("image message", "message", "several lines in load"),
        ("lines of a decoder", "refused", "ImageError in load, decoder wrote lines"),
        ("lines in the command", "noise", "Fax#Decode"),
        ("image warning", "noise", "planted_faults.py"),
        ("image litter", "left behind", "a temporary file, by library"),
        ("image spoilt", "left behind", "the input has changed, by library"),
    ],
)
def test_a_planted_fault_is_caught_as_what_it_is(
    planted: dict[str, list[str]], fault: str, kind: str, why: str
) -> None:
    assert planted[fault][0] == kind
    assert why in planted[fault][1]


def test_a_hang_and_a_crash_are_placed(planted: dict[str, list[str]]) -> None:
    assert planted["hang"][2].startswith("engine/cpu/processor.py:")
    assert planted["crash"][2].startswith("engine/cpu/processor.py:")


def test_the_same_seed_damages_a_model_alike() -> None:
    model = mask_network()
    before = model.SerializeToString()
    mutations = [onnx_mutations.mutate(model, random.Random(f"{seed}")) for seed in range(60)]
    again = [onnx_mutations.mutate(model, random.Random(f"{seed}")) for seed in range(60)]
    assert mutations == again
    assert len(set(mutations)) > 50
    assert model.SerializeToString() == before


def test_the_same_seed_makes_the_same_image(tmp_path: Path) -> None:
    def case(seed: int, index: int, folder: str) -> tuple[str, dict[str, bytes]]:
        place = tmp_path / folder
        place.mkdir()
        origin = ImageCases(seed).make(index, place)
        return origin, {path.name: path.read_bytes() for path in place.iterdir()}

    assert case(7, 12, "a") == case(7, 12, "b")
    assert case(7, 12, "c") != case(7, 13, "d")
    assert case(7, 12, "e") != case(8, 12, "f")


@pytest.mark.parametrize("mutation", dict.fromkeys(onnx_mutations.MUTATIONS), ids=lambda mutation: mutation.__name__)
def test_each_mutation_of_a_model_changes_something(mutation: Any) -> None:
    changed = 0
    for seed, model in enumerate(seed.model for seed in networks()):
        damaged = onnx.ModelProto()
        damaged.CopyFrom(model)
        mutation(damaged, random.Random(seed))
        changed += damaged != model
    assert changed >= len(networks()) // 2


def test_most_damaged_images_still_begin_as_what_they_are() -> None:
    for name, data in seeds().items():
        mutations = [image_mutations.mutate(name, data, random.Random(seed)) for seed in range(30)]
        assert sum(item != data for item in mutations) > 20, name
        assert sum(item[:3] == data[:3] for item in mutations) > 15, name


@pytest.mark.parametrize("make", NETWORKS)
def test_each_network_that_is_damaged_runs_as_it_is(make: Any) -> None:
    shapes = {"x": [1, 4, 6, 8]} if make.__name__ == "shape_arithmetic" else {}
    graph = load(make().SerializeToString(), input_shapes=shapes)
    assert 0 < work(graph) < 20_000_000


def run(nodes: list[onnx.NodeProto], x: list[float], result: Any, **more: Any) -> Run:
    """A model of float32 ``x`` to ``y``, and what a backend makes of it."""
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "main",
        [info("x", TensorProto.FLOAT, [len(x)])],
        [info("y", more.get("dtype", TensorProto.FLOAT), None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    feeds, file = {"x": np.array(x, np.float32)}, more.get("file")
    if file is not None:
        onnx.save(model, file)
    graph, backend = load(model.SerializeToString()), more.get("backend", "numpy")
    return Run(graph, feeds, backend=backend, results={"y": np.asarray(result)}, file=file)


ROUND = [helper.make_node("Round", ["x"], ["r"]), helper.make_node("Mul", ["r", "x"], ["y"])]
SQUARE = [helper.make_node("Mul", ["x", "x"], ["y"])]
STEP = [helper.make_node("Mul", ["x", "x"], ["s"]), helper.make_node("Floor", ["s"], ["y"])]
QUANTISE = [helper.make_node("QuantizeLinear", ["x", "x"], ["y"], axis=0)]
CAST = [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.INT32)]


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (run(SQUARE, [2.0], np.float32([4.1])), ""),
        (run(SQUARE, [1e19], np.float32([0])), "overflow"),
        (run(SQUARE, [1e-20], np.float32([0]), backend="webgpu"), "underflow"),
        (run(SQUARE, [1e-20], np.float32([0])), ""),
        (run(CAST, [3e9], np.int32([0]), dtype=TensorProto.INT32), "undefined by ONNX"),
        (run(QUANTISE, [3.0, 0.0], np.uint8([0, 9]), dtype=TensorProto.UINT8), "undefined by ONNX"),
        (run(CAST, [3.0], np.int32([2]), dtype=TensorProto.INT32), ""),
        (run(STEP, [2.0], np.float32([3.0])), "conditioning"),
        (run(STEP, [2.1], np.float32([3.0])), ""),
    ],
)
def test_a_difference_has_a_reason_only_where_the_reference_shows_one(case: Run, reason: str) -> None:
    assert differing(case.results, {"y": case.values()["y"]}, half=False) == ["y"]
    assert explanation(case) == reason


def test_extreme_numbers_explain_nothing_where_onnx_runtime_has_those_of_the_reference(tmp_path: Path) -> None:
    assert explanation(run(SQUARE, [1e19], np.float32([0]), file=tmp_path / "model.onnx")) == ""
    assert explanation(run(STEP, [2.0], np.float32([3.0]), file=tmp_path / "model.onnx")) == "conditioning"


def test_the_reference_is_walked_as_it_runs() -> None:
    case = run(ROUND, [1.6, -0.4], np.float32([3.2, 0.0]))
    values = case.values()
    for node in case.graph.nodes:
        (expected,) = evaluate(node, [values[value.name] for value in node.inputs if value])
        np.testing.assert_array_equal(values[node.output.name], expected)


def test_a_report_shows_each_distinct_fault_once() -> None:
    verdicts = {index: Verdict("foreign", "KeyError in load", "engine/a.py:3", "why\ntrace") for index in range(9)}
    verdicts |= {9: Verdict("ok", "library"), 10: Verdict("hang", "in load", "engine/b.py:4", "dump")}
    lines = report("title", verdicts).splitlines()
    assert "| foreign     |     9 |" in lines
    assert "| ok: library |     1 |" in lines
    assert "foreign: KeyError in load, at engine/a.py:3; 9 times, case 0, 1, 2, 3, 4, …" in lines
    assert "hang: in load, at engine/b.py:4; 1 times, case 10" in lines
    assert "    why" in lines


def test_what_is_no_line_to_print_is_told() -> None:
    assert misworded("x: is damaged; fetch it again") == ""
    assert misworded("a\nb") == "several lines"
    assert misworded(" ") == "empty"
    assert misworded("a\x1b[31m") == "characters that cannot be printed"


def test_a_dump_is_placed_at_the_innermost_line_of_the_project() -> None:
    dump = (
        'Current thread 0x1 (most recent call first):\n  File "/usr/lib/python3/numpy/core.py", line 9 in f\n'
        f'  File "{ROOT}/engine/ops/range.py", line 30 in reference\n  File "{ROOT}/engine/session.py", line 1 in run\n'
    )
    assert place_in_dump(dump) == "engine/ops/range.py:30"


def test_a_case_is_of_one_kind(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        fuzz.main(["--case", "3"])
    assert "--case is of one kind" in capsys.readouterr().err


def test_one_case_is_judged_and_kept(tmp_path: Path) -> None:
    command = [sys.executable, "tools/fuzz.py", "images", "--seed", "7", "--case", "12", "--keep", str(tmp_path)]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert process.stdout.startswith("images 12: ")
    (case,) = tmp_path.iterdir()
    assert case.name == "images-7-12"
    folder = tmp_path / "again"
    folder.mkdir()
    origin = ImageCases(7).make(12, folder)
    (image,) = folder.iterdir()
    assert (case / image.name).read_bytes() == image.read_bytes()
    assert f"made from {origin}" in (case / "verdict.txt").read_text()
