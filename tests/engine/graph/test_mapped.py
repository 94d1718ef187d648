"""Large raw tensors stay in the mapped file, wherever in it they lie; protobuf is the oracle of the wire format."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper

from engine import EngineError, ModelError, ModelFile, Session
from engine.graph import mapped
from engine.graph.load import load
from engine.graph.model_file import LARGEST
from engine.graph.tensors import to_array
from tests.engine.gpu import gpu
from tests.engine.models import U2NETP, branch, model, node

SIDE = 40
"""A square of float32 of this side is above the size from which raw data is cut out."""


def weights(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((SIDE, SIDE)).astype(np.float32)


def everywhere() -> onnx.ModelProto:
    """Large tensors as initializer, as Constant, in a branch, in a function that is called twice; and small ones."""
    double = helper.make_function(
        "test",
        "Scaled",
        ["a"],
        ["b"],
        [node("Constant", "", "k", value=numpy_helper.from_array(weights(1))), node("Mul", "a k", "b")],
        [helper.make_opsetid("", 17)],
    )
    return model(
        [
            node("MatMul", "x w", "m"),
            node("Constant", "", "c", value=numpy_helper.from_array(weights(2))),
            node("Add", "m c", "a"),
            node(
                "If",
                "yes",
                "chosen",
                then_branch=branch([node("Sub", "a inner", "t")], "t", {"inner": weights(3)}),
                else_branch=branch([node("Neg", "a", "e")], "e"),
            ),
            node("Scaled", "chosen", "once", domain="test"),
            node("Scaled", "once", "twice", domain="test"),
            node("Mul", "twice small", "y"),
        ],
        {"x": ["N", SIDE]},
        "y",
        {"w": weights(0), "small": np.arange(SIDE, dtype=np.float32), "yes": np.array(True)},
        domains={"test": 1},
        functions=[double],
    )


def expected(x: np.ndarray) -> np.ndarray:
    branch_output = x.astype(np.float64) @ weights(0) + weights(2) - weights(3)
    result: np.ndarray = branch_output * weights(1) ** 2 * np.arange(SIDE)
    return result


def assert_near(y: np.ndarray, x: np.ndarray) -> None:
    """Measured: 1.3e-7 of the largest magnitude."""
    np.testing.assert_allclose(y, expected(x), rtol=0, atol=1e-6 * abs(expected(x)).max())


@pytest.mark.parametrize("shift", range(4))
def test_the_gpu_takes_weights_at_any_alignment(shift: int, tmp_path: Path) -> None:
    proto = everywhere()
    proto.producer_name = "x" * shift
    onnx.save(proto, tmp_path / "m.onnx")
    (y,), _ = gpu.run(load(tmp_path / "m.onnx", input_shapes={"x": (SIDE, SIDE)}), [weights(9)])
    assert_near(y, weights(9))


@pytest.mark.parametrize("backend", ["numpy", "reference"])
@pytest.mark.parametrize("shift", range(4))
def test_weights_anywhere_at_any_alignment(backend: str, shift: int, tmp_path: Path) -> None:
    proto = everywhere()
    proto.producer_name = "x" * shift  # moves everything behind it
    path = tmp_path / "m.onnx"
    onnx.save(proto, path)
    x = weights(9)
    for source in (path, path.read_bytes()):
        file = ModelFile.read(source)
        assert file.proto.ByteSize() < 4096 < 4 * weights(0).nbytes < len(file.content)
        with Session(file, backend=backend, input_shapes={"x": x.shape}) as session:
            assert_near(session.run({"x": x})["y"], x)


def test_arrays_lie_in_the_map_and_are_held_once(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(model([node("Add", "x w", "a"), node("Mul", "a w", "y")], {"x": [SIDE]}, "y", {"w": weights(0)}), path)
    file = ModelFile.read(path)
    add, mul = load(file).nodes
    array = add.constant(1)
    assert array is not None
    assert array is mul.constant(1)
    assert not array.flags.writeable
    whole = np.frombuffer(file.content, np.uint8)
    assert whole.ctypes.data <= array.ctypes.data < whole.ctypes.data + len(whole)


def test_loading_takes_no_memory_of_its_own(tmp_path: Path) -> None:
    """Private pages, which the system cannot drop; measured: 3.8 MiB (any first model takes them) for 64 of weights."""
    if not Path("/proc/self/status").exists():
        pytest.skip("only Linux tells private pages from mapped ones")
    path = tmp_path / "m.onnx"
    large = np.ones((1 << 22, 4), np.float32)
    onnx.save(model([node("MatMul", "x w", "y")], {"x": [1, 1 << 22]}, "y", {"w": large}), path)
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from engine.graph.load import load\n"
        "from engine.graph.passes import optimize\n"
        "def private():\n"
        "    lines = Path('/proc/self/status').read_text().splitlines()\n"
        "    return next(int(line.split()[1]) for line in lines if line.startswith('RssAnon'))\n"
        "before = private()\n"
        "graph = load(sys.argv[1])\n"
        "optimize(graph)\n"
        "print(private() - before)\n"
    )
    process = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    assert int(process.stdout) * 1024 < large.nbytes / 4


def test_the_file_may_go_while_it_is_mapped(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(model([node("Add", "x w", "y")], {"x": [SIDE]}, "y", {"w": weights(0)}), path)
    before, mtime = path.read_bytes(), path.stat().st_mtime_ns
    with Session(path, backend="numpy") as session:
        assert (path.read_bytes(), path.stat().st_mtime_ns) == (before, mtime)
        if sys.platform == "win32":
            pytest.skip("Windows lets no one delete a file that is mapped")
        path.with_name("other").write_bytes(b"no model")
        path.with_name("other").replace(path)
        np.testing.assert_array_equal(session.run({"x": np.zeros(SIDE, np.float32)})["y"], weights(0))


def test_what_is_cut_out_is_what_protobuf_reads() -> None:
    content = memoryview(U2NETP.read_bytes())
    whole, skeleton = onnx.ModelProto(), onnx.ModelProto()
    whole.ParseFromString(bytes(content))
    skeleton.ParseFromString(mapped.without_weights(content))
    places = {tensor.name: mapped.place(tensor) for tensor in skeleton.graph.initializer}
    assert {name for name, place in places.items() if place} == {
        tensor.name for tensor in whole.graph.initializer if len(tensor.raw_data) >= mapped.SMALLEST
    }
    for ours, theirs in zip(skeleton.graph.initializer, whole.graph.initializer, strict=True):
        if place := mapped.place(ours):
            assert content[place] == theirs.raw_data
            ours.raw_data = theirs.raw_data
            ours.ClearField("segment")
    assert skeleton == whole


def test_a_pipe_is_read() -> None:
    reader, writer = os.pipe()
    content = model([node("Relu", "x", "y")], {"x": [2]}, "y").SerializeToString()
    os.write(writer, content)
    os.close(writer)
    path = Path(f"/dev/fd/{reader}")
    if not path.exists():
        pytest.skip("this system has no /dev/fd")
    try:
        assert ModelFile.read(path).content == content
    finally:
        os.close(reader)


@pytest.mark.parametrize(
    "change",
    [{"dims": [SIDE, SIDE + 1]}, {"data_type": TensorProto.DOUBLE}, {"dims": [2]}],
    ids=["more", "wider", "fewer"],
)
def test_elements_that_do_not_make_up_the_dims(change: dict[str, Any]) -> None:
    tensor = numpy_helper.from_array(weights(0), "w")
    data_type = change.get("data_type", TensorProto.FLOAT)
    proto = model([node("Identity", "w", "y")], {}, "y")
    proto.graph.initializer.append(
        TensorProto(name="w", data_type=data_type, dims=change.get("dims", tensor.dims), raw_data=tensor.raw_data)
    )
    with pytest.raises(
        ModelError, match=rf"tensor 'w' holds {weights(0).nbytes} bytes for float.*; the file is damaged"
    ):
        load(proto.SerializeToString())


def test_a_segment_of_the_file_itself_is_refused() -> None:
    for begin in (0, 5):
        tensor = numpy_helper.from_array(weights(0), "w")
        tensor.segment.begin, tensor.segment.end = begin, 10
        proto = model([node("Identity", "w", "y")], {}, "y")
        proto.graph.initializer.append(tensor)
        with pytest.raises(ModelError, match="is stored in segments"):
            load(proto.SerializeToString())


@pytest.mark.parametrize(("begin", "end"), [(-1, 1 << 40), (-(1 << 40), 16), (-9, -4)])
def test_a_forged_place_reads_nothing_outside_the_file(begin: int, end: int) -> None:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4])
    tensor.segment.begin, tensor.segment.end = begin, end
    with pytest.raises(ModelError, match="the file is damaged"):
        to_array(tensor, None, memoryview(bytes(12)))


@pytest.mark.parametrize("part", [0.001, 0.1, 0.5, 0.9, 0.99, 0.99999])
def test_a_file_cut_short(part: float, tmp_path: Path) -> None:
    content = U2NETP.read_bytes()
    path = tmp_path / "m.onnx"
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(ModelError, match=r"model '.*' is not an ONNX file, or is cut short; fetch it again"):
        Session(path)


def test_a_file_larger_than_protobuf_takes(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.touch()
    os.truncate(path, LARGEST + 1)  # a hole: it takes no room
    with pytest.raises(ModelError) as failure:
        ModelFile.read(path)
    message = "has 2,147,483,648 bytes, and an ONNX file at most 2,147,483,647; export it with external data"
    assert str(failure.value) == f"model '{path}' {message}"


@pytest.mark.parametrize(
    "damage",
    [b"\x3f", b"\x3b", b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x3a\x7f", b"\x3d\x01", b"\x08\x80"],
    ids=["wire type 7", "group", "endless number", "length past the end", "short word", "number cut short"],
)
def test_no_wire_format(damage: bytes) -> None:
    with pytest.raises(DecodeError):
        mapped.without_weights(memoryview(damage))


@pytest.mark.parametrize("seed", range(200))
def test_damage_is_judged_as_protobuf_judges_it(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes flipped, cut out or doubled, all raw data cut out: the same refusal or the same tensors."""
    monkeypatch.setattr(mapped, "SMALLEST", 1)
    dice = random.Random(seed)
    small = model(
        [node("Constant", "", "c", value=numpy_helper.from_array(np.ones(3, np.float32))), node("Add", "w c", "y")],
        {},
        "y",
        {"w": np.arange(3, dtype=np.float32)},
    )
    content = bytearray(small.SerializeToString())
    for _ in range(dice.randint(0, 2)):
        at = dice.randrange(len(content))
        kind = dice.choice(["flip", "cut", "double"])
        if kind == "flip":
            content[at] ^= 1 << dice.randrange(8)
        elif kind == "cut":
            del content[at : at + dice.randint(1, 20)]
        else:
            content[at:at] = content[at : at + dice.randint(1, 20)]
    ours, theirs = result(bytes(content)), None
    monkeypatch.setattr(mapped, "without_weights", bytes)
    theirs = result(bytes(content))
    assert ours == theirs


def result(content: bytes) -> str:
    """What loading comes to: the graph's output, or the kind of refusal."""
    try:
        (output,) = load(content).outputs
    except EngineError as error:
        return type(error).__name__
    return f"{output.type} {None if output.data is None else output.data.tolist()}"
