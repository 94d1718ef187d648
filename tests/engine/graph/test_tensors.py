"""Every tensor type in every storage, and storage that is damaged or leads out of the model's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engine import ModelError, Session, UnsupportedError
from engine.graph.dtypes import DTYPES, INT4, UINT4, is_four_bit, whole_bytes
from engine.graph.tensors import attribute, data_files, to_array
from tests.engine.models import model, node

WHOLE = [elem_type for elem_type, dtype in DTYPES.items() if not is_four_bit(dtype)]
UNHELD = sorted(set(TensorProto.DataType.values()) - set(DTYPES))


def sample(dtype: np.dtype[Any], shape: tuple[int, ...] = (2, 3)) -> np.ndarray:
    """Values that show a wrong width, sign or byte order: the extremes, and numbers with distinct bytes."""
    if dtype == np.bool_:
        return np.array([True, False, True, True, False, False])[: int(np.prod(shape))].reshape(shape)
    info: Any = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype)
    values = np.array([info.min, info.max, 1, 0, 3, 100], dtype)
    return values[: int(np.prod(shape))].reshape(shape)


def external(
    array: np.ndarray, folder: Path, *, location: str = "w.bin", before: int = 0, **entries: Any
) -> TensorProto:
    """A tensor stored ``before`` bytes into a file in ``folder``; ``entries`` replace or (None) drop its references."""
    path = folder / location
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\xff" * before + array.tobytes() + b"\xee" * 7)
    return referring(array, **{"location": location, "offset": before, "length": array.nbytes, **entries})


def referring(array: np.ndarray, **entries: Any) -> TensorProto:
    """A tensor of the array's type that refers to external data."""
    tensor = TensorProto(name="w", dims=array.shape, data_location=TensorProto.EXTERNAL)
    tensor.data_type = helper.np_dtype_to_tensor_dtype(array.dtype)
    for key, value in entries.items():
        if value is not None:
            tensor.external_data.add(key=key, value=str(value))
    return tensor


@pytest.mark.parametrize("elem_type", WHOLE, ids=TensorProto.DataType.Name)
@pytest.mark.parametrize("storage", ["raw", "typed", "external"])
@pytest.mark.parametrize("shape", [(2, 3), (), (0, 4)], ids=str)
def test_storage(elem_type: int, storage: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    array = sample(DTYPES[elem_type], shape)
    if storage == "raw":
        tensor = numpy_helper.from_array(array, "w")
        assert tensor.HasField("raw_data")
    elif storage == "typed":
        tensor = helper.make_tensor("w", elem_type, shape, array.ravel())
        assert not tensor.HasField("raw_data")
    else:
        tensor = external(array, tmp_path, before=24)
    result = to_array(tensor, tmp_path)
    assert result.dtype == array.dtype
    assert result.shape == shape
    np.testing.assert_array_equal(result, array)


@pytest.mark.parametrize(("elem_type", "dtype"), [(TensorProto.INT4, INT4), (TensorProto.UINT4, UINT4)])
@pytest.mark.parametrize("storage", ["raw", "typed", "external"])
@pytest.mark.parametrize("shape", [(3, 5), (4,), (), (0, 4)], ids=str)
def test_four_bit_storage(
    elem_type: int, dtype: np.dtype[Any], storage: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    """Two in a byte, the lower half first; the upper half of the last byte of an odd number is nothing's."""
    size = int(np.prod(shape))
    halves = (np.arange(size) * 7 + 9) % 16
    padded = np.append(halves, [13] * (size % 2)).astype(np.uint8)
    packed = padded[0::2] | padded[1::2] << 4
    tensor = TensorProto(name="w", data_type=elem_type, dims=shape)
    if storage == "raw":
        tensor.raw_data = packed.tobytes()
    elif storage == "typed":
        tensor.int32_data.extend(packed.tolist())
    else:
        tensor.MergeFrom(external(packed, tmp_path, before=3))
        tensor.data_type = elem_type
        tensor.dims[:] = shape
    result = to_array(tensor, tmp_path)
    assert isinstance(result, np.ndarray)
    assert (result.dtype, result.shape) == (dtype, shape)
    expected = halves if dtype == UINT4 else np.where(halves > 7, halves - 16, halves)
    np.testing.assert_array_equal(whole_bytes(result), expected.reshape(shape))
    if storage != "external":
        theirs = numpy_helper.to_array(tensor).astype(np.int8)
        np.testing.assert_array_equal(whole_bytes(result), theirs)


@pytest.mark.parametrize("count", [2, 4])
def test_four_bit_elements_that_do_not_make_up_the_dims(count: int, tmp_path: Path) -> None:
    packed = np.zeros(count, np.uint8)
    broken = [
        TensorProto(name="w", data_type=TensorProto.INT4, dims=[5], raw_data=packed.tobytes()),
        TensorProto(name="w", data_type=TensorProto.INT4, dims=[5], int32_data=packed.tolist()),
        external(packed, tmp_path),
    ]
    broken[2].data_type, broken[2].dims[:] = TensorProto.INT4, [5]
    for tensor in broken:
        with pytest.raises(ModelError, match=rf"'w' (holds|has) {count} (bytes|elements).* for int4\[5\]; the file is"):
            to_array(tensor, tmp_path)


@pytest.mark.parametrize("elem_type", UNHELD)
def test_other_types_are_refused_by_name(elem_type: int) -> None:
    tensor = TensorProto(name="w", data_type=elem_type, dims=[1])
    with pytest.raises(
        UnsupportedError, match=f"tensor 'w' has tensor type {TensorProto.DataType.Name(elem_type).lower()}"
    ):
        to_array(tensor, None)


def test_unknown_type_is_refused_by_number() -> None:
    with pytest.raises(UnsupportedError, match="number 99"):
        to_array(TensorProto(name="w", data_type=99, dims=[1]), None)


def test_unaligned_offset(tmp_path: Path) -> None:
    array = sample(np.dtype(np.float64))
    np.testing.assert_array_equal(to_array(external(array, tmp_path, before=3), tmp_path), array)


def test_offset_and_length_may_be_left_out(tmp_path: Path) -> None:
    array = sample(np.dtype(np.float32))
    np.testing.assert_array_equal(to_array(external(array, tmp_path, offset=None, length=None), tmp_path), array)


def test_file_in_a_folder_below(tmp_path: Path) -> None:
    array = sample(np.dtype(np.int16))
    np.testing.assert_array_equal(to_array(external(array, tmp_path, location="a/b.bin"), tmp_path), array)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"location": "other.bin"}, "is missing; put the file beside the model"),
        ({"offset": 1000}, "ends at byte 31, before byte 1024; fetch the file again"),
        ({"length": 20}, "has 20 bytes at 0 for float32"),
        ({"offset": -4}, "has 24 bytes at -4"),
        ({"offset": "x"}, "offset or length that is no number"),
        ({"location": ""}, "points outside the folder of the model; refused"),
        ({"location": "../w.bin"}, "points outside the folder of the model; refused"),
        ({"location": "a/../../w.bin"}, "points outside the folder of the model; refused"),
        ({"location": "..\\w.bin"}, "points outside the folder of the model; refused"),
        ({"location": "/etc/hostname"}, "points outside the folder of the model; refused"),
        ({"location": "C:\\w.bin"}, "points outside the folder of the model; refused"),
        ({"location": "."}, "is missing"),
    ],
)
def test_bad_reference(entries: dict[str, Any], message: str, tmp_path: Path) -> None:
    base = tmp_path / "model"
    base.mkdir()
    (tmp_path / "w.bin").write_bytes(bytes(1000))  # what an escape would read
    array = sample(np.dtype(np.float32))
    external(array, base)
    tensor = referring(array, **{"location": "w.bin", "offset": 0, "length": array.nbytes, **entries})
    with pytest.raises(ModelError) as failure:
        to_array(tensor, base)
    assert message in str(failure.value)
    assert "\n" not in str(failure.value)


def test_link_out_of_the_folder(tmp_path: Path) -> None:
    base = tmp_path / "model"
    base.mkdir()
    array = sample(np.dtype(np.float32))
    (tmp_path / "secret.bin").write_bytes(array.tobytes())
    (base / "w.bin").symlink_to(tmp_path / "secret.bin")
    with pytest.raises(ModelError, match="leads outside the folder of the model through a link; refused"):
        to_array(referring(array, location="w.bin"), base)


def test_link_within_the_folder(tmp_path: Path) -> None:
    array = sample(np.dtype(np.float32))
    (tmp_path / "blob").write_bytes(array.tobytes())
    (tmp_path / "w.bin").symlink_to("blob")
    np.testing.assert_array_equal(to_array(referring(array, location="w.bin"), tmp_path), array)


@pytest.mark.parametrize("folder", ["", "onnx"])
def test_link_within_the_cache_of_the_hub(folder: str, tmp_path: Path) -> None:
    """Which keeps its files as links to blobs; no other link may lead out of the folder, nor one of another name."""
    repository = tmp_path / "models--someone--tiny"
    array = sample(np.dtype(np.float32))
    for name in ("blobs", "other"):
        (repository / name).mkdir(parents=True)
        (repository / name / "abc").write_bytes(array.tobytes())
    base = repository / "snapshots" / ("0" * 40) / folder
    base.mkdir(parents=True)
    (base / "w.bin").symlink_to(repository / "blobs" / "abc")
    np.testing.assert_array_equal(to_array(referring(array, location="w.bin"), base), array)
    (base / "v.bin").symlink_to(repository / "other" / "abc")
    with pytest.raises(ModelError, match="leads outside the folder of the model through a link; refused"):
        to_array(referring(array, location="v.bin"), base)
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "abc").write_bytes(array.tobytes())
    base = tmp_path / "snapshots" / "1"
    base.mkdir(parents=True)
    (base / "w.bin").symlink_to(tmp_path / "blobs" / "abc")
    with pytest.raises(ModelError, match="through a link; refused"):
        to_array(referring(array, location="w.bin"), base)


def test_the_files_of_external_data_are_named_wherever_tensors_are() -> None:
    array = np.ones(3, np.float32)

    def constant(name: str, location: str) -> onnx.NodeProto:
        return node("Constant", "", name, value=referring(array, location=location))

    branch = model([constant("z", "sub/c.bin")], {}, "z").graph
    if_node = node("If", "x", "q", then_branch=branch, else_branch=branch)
    proto = model([constant("y", "b.bin"), if_node], {"x": (np.bool_, [])}, "q")
    proto.graph.initializer.extend([referring(array, location="./a.bin"), referring(array, location="sub\\c.bin")])
    assert [str(path) for path in data_files(proto.graph)] == ["a.bin", "b.bin", "sub/c.bin"]
    for location in ("../w.bin", "/w.bin", "C:w.bin", "a/../../w.bin", ""):
        branch.node[0].attribute[0].t.CopyFrom(referring(array, location=location))
        with pytest.raises(ModelError, match="points outside the folder of the model; refused"):
            data_files(branch)


@pytest.mark.parametrize(
    "location", [b"a\0b", b"a/" * 750, b"n" * 1500, b"\xff"], ids=["NUL", "deep", "long", "no text"]
)
def test_location_that_is_no_path(location: bytes, tmp_path: Path) -> None:
    content = referring(np.ones(3, np.float32), location="?" * len(location)).SerializeToString()
    tensor = TensorProto.FromString(content.replace(b"?" * len(location), location))
    with pytest.raises(ModelError, match="external data") as failure:
        to_array(tensor, tmp_path)
    assert "\n" not in str(failure.value)


def test_location_in_a_loop_of_links(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(ModelError, match=r"external data 'a/w\.bin'"):
        to_array(referring(np.ones(3, np.float32), location="a/w.bin"), tmp_path)


def test_session_reads_external_data_beside_the_model(tmp_path: Path) -> None:
    weights = np.arange(4, dtype=np.float32)
    proto = model([node("Add", "x w", "y")], {"x": [4]}, "y")
    proto.graph.initializer.append(external(weights, tmp_path, before=8))
    onnx.save(proto, tmp_path / "m.onnx")
    with Session(tmp_path / "m.onnx") as session:
        np.testing.assert_array_equal(session.run({"x": weights})["y"], 2 * weights)
    with pytest.raises(ModelError, match="pass the path of the model instead"):
        Session((tmp_path / "m.onnx").read_bytes())


@pytest.mark.parametrize(
    "tensor",
    [
        TensorProto(name="w", data_type=1, dims=[2], raw_data=b"12345"),
        TensorProto(name="w", data_type=1, dims=[2], float_data=[1]),
        TensorProto(name="w", data_type=1, dims=[2]),
    ],
)
def test_elements_that_do_not_make_up_the_dims(tensor: TensorProto) -> None:
    with pytest.raises(ModelError, match=r"tensor 'w' holds \d (bytes|elements) for float32\[2\]; the file is damaged"):
        to_array(tensor, None)


def test_negative_dims() -> None:
    with pytest.raises(ModelError, match="negative dims"):
        to_array(TensorProto(name="w", data_type=1, dims=[-1]), None)


def test_segments() -> None:
    tensor = TensorProto(name="w", data_type=1, dims=[1], float_data=[1])
    tensor.segment.begin = 0
    with pytest.raises(ModelError, match="stored in segments"):
        to_array(tensor, None)


@pytest.mark.parametrize("elem_type", [TensorProto.UINT8, TensorProto.INT8, TensorProto.UINT16, TensorProto.BOOL])
def test_typed_elements_outside_the_dtype_wrap(elem_type: int) -> None:
    tensor = TensorProto(name="w", data_type=elem_type, dims=[3], int32_data=[-1, 300, 70000])
    np.testing.assert_array_equal(to_array(tensor, None), numpy_helper.to_array(tensor))


@pytest.mark.parametrize(
    ("value", "expected"),
    [(3, 3), (0.5, 0.5), ("same", "same"), ([1, 2], (1, 2)), ([0.5, 2.0], (0.5, 2.0)), (["a", "b"], ("a", "b"))],
)
def test_attribute(value: Any, expected: Any) -> None:
    assert attribute(helper.make_attribute("a", value), None) == expected


def test_tensor_attributes() -> None:
    array = sample(np.dtype(np.int8))
    tensor = numpy_helper.from_array(array)
    np.testing.assert_array_equal(attribute(helper.make_attribute("a", tensor), None), array)
    (first, second) = attribute(helper.make_attribute("a", [tensor, tensor]), None)
    np.testing.assert_array_equal(first, array)
    np.testing.assert_array_equal(second, array)


def test_attribute_of_another_kind() -> None:
    sparse = helper.make_sparse_tensor(
        numpy_helper.from_array(np.ones(1, np.float32)), numpy_helper.from_array(np.zeros(1, np.int64)), [3]
    )
    with pytest.raises(UnsupportedError, match="attribute 'a' holds a type the engine does not read"):
        attribute(helper.make_attribute("a", sparse), None)


def test_attribute_that_refers_to_a_parameter() -> None:
    proto = onnx.AttributeProto(name="a", ref_attr_name="b", type=onnx.AttributeProto.INT)
    with pytest.raises(ModelError, match="outside of a function"):
        attribute(proto, None)
