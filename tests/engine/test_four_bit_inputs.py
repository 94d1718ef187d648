"""Inputs of ONNX's 4-bit types: arrays of bytes, in which each backend refuses what four bits do not hold."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

import engine
from engine import InputError, Session, TensorInfo
from tests.engine.four_bits import OPSET
from tests.engine.gpu.gpu import device
from tests.engine.models import model, node

LIMITS = {TensorProto.INT4: (-8, 7), TensorProto.UINT4: (0, 15)}
ARRAYS = {TensorProto.INT4: np.int8, TensorProto.UINT4: np.uint8}


def network(kind: int) -> bytes:
    proto = model([node("Cast", "x", "y", to=TensorProto.FLOAT)], {"x": [2, 3]}, "y", opset=OPSET)
    proto.graph.input[0].type.tensor_type.elem_type = kind
    return proto.SerializeToString()


def opened(content: bytes, folder: Path, way: str) -> Session:
    """A session of the file, or, for "compiled …", of what was compiled of it, saved and loaded."""
    backend = way.removeprefix("compiled ")
    adapter = device().adapter.index if backend == "webgpu" else None
    if way == backend:
        return Session(content, backend=backend, adapter=adapter)
    engine.save_compiled(engine.compile(content, backend="numpy" if backend == "numpy" else "webgpu"), folder / "saved")
    return Session(engine.load_compiled(folder / "saved"), adapter=adapter)


@pytest.mark.parametrize("kind", LIMITS, ids=TensorProto.DataType.Name)
@pytest.mark.parametrize("way", ["reference", "numpy", "webgpu", "compiled numpy", "compiled webgpu"])
def test_what_four_bits_do_not_hold_is_refused(way: str, kind: int, tmp_path: Path) -> None:
    (least, most), dtype = LIMITS[kind], ARRAYS[kind]
    with opened(network(kind), tmp_path, way) as session:
        assert session.inputs == [TensorInfo("x", np.dtype(dtype), (2, 3), (least, most))]
        assert session.outputs == [TensorInfo("y", np.dtype(np.float32), (2, 3))]
        x = np.array([[least, most, 1], [0, 3, 2]], dtype)
        np.testing.assert_array_equal(session.run({"x": x})["y"], x)
        for beyond in {most + 1, max(least - 1, np.iinfo(dtype).min), np.iinfo(dtype).max} - {least}:
            x[1, 1] = beyond
            line = f"input 'x' takes integers from {least} to {most}; it was given {beyond}"
            for run in (session.run, session.submit):
                with pytest.raises(InputError, match=f"^{re.escape(line)}$"):
                    run({"x": x})


@pytest.mark.parametrize("kind", LIMITS, ids=TensorProto.DataType.Name)
def test_so_is_a_value_that_is_bound(kind: int) -> None:
    (least, most), dtype = LIMITS[kind], ARRAYS[kind]
    proto = onnx.load_from_string(network(kind))
    proto.graph.node.append(node("Add", "y z", "w"))
    proto.graph.input.append(onnx.helper.make_tensor_value_info("z", TensorProto.FLOAT, [2, 3]))
    proto.graph.output[0].name = "w"
    x, z = np.full((2, 3), least, dtype), np.ones((2, 3), np.float32)
    with Session(proto.SerializeToString(), backend="numpy", input_values={"x": x}) as session:
        np.testing.assert_array_equal(session.run({"z": z})["w"], least + z)
    with pytest.raises(InputError, match=f"^input 'x' takes integers from {least} to {most}; it was given {most + 1}$"):
        Session(proto.SerializeToString(), backend="numpy", input_values={"x": np.full((2, 3), most + 1, dtype)})


ALONE = """
import sys, numpy, engine
with engine.Session(engine.load_compiled(sys.argv[1])) as session:
    print(*session.run({"x": numpy.full((2, 3), 7, session.inputs[0].dtype)})["y"].reshape(-1), "onnx" in sys.modules)
"""


@pytest.mark.parametrize("kind", LIMITS, ids=TensorProto.DataType.Name)
def test_numpy_alone_knows_no_such_types(kind: int, tmp_path: Path) -> None:
    """Here it does, by ml_dtypes, which onnx imports."""
    engine.save_compiled(engine.compile(network(kind), backend="numpy"), tmp_path / "saved")
    run = subprocess.run([sys.executable, "-c", ALONE, tmp_path / "saved"], capture_output=True, text=True, check=False)
    assert run.stdout.split() == ["7.0"] * 6 + ["False"], run.stderr


@pytest.mark.parametrize("backend", ["reference", "numpy"])
def test_an_input_without_elements_has_none_that_do_not_fit(backend: str) -> None:
    proto = onnx.load_from_string(network(TensorProto.INT4))
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 0
    with Session(proto.SerializeToString(), backend=backend) as session:
        assert session.run({"x": np.zeros((0, 3), np.int8)})["y"].shape == (0, 3)


def test_numbers_that_are_made_up_fit() -> None:
    (array,) = engine.deviates([TensorInfo("x", np.dtype(np.int8), (500,), (-8, 7))]).values()
    assert (array.min(), array.max()) == (0, 7)
