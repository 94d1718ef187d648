"""Files that are taken for ONNX models: each is called what it is, with what to do."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest

from engine.errors import ModelError
from engine.graph.foreign import describe
from engine.graph.model_file import ModelFile
from tests.engine.models import model, node


def zip_of(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, bytes(5000))
    return file.getvalue()


def field(number: int, content: bytes) -> bytes:
    """A length-delimited protobuf field."""
    size, digits = len(content), b""
    while size > 127:
        size, digits = size >> 7, digits + bytes([size & 127 | 128])
    return bytes([number << 3 | 2]) + digits + bytes([size]) + content


def graph_def() -> bytes:
    nodes = [("input", "Placeholder"), ("conv2d/kernel", "Const"), ("conv2d", "Conv2D")]
    return b"".join(field(1, field(1, name.encode()) + field(2, operator.encode())) for name, operator in nodes)


def saved_model() -> bytes:
    operators = b"".join(field(1, field(1, name)) for name in (b"Add", b"Const", b"Conv2D", b"NoOp"))
    return b"\x08\x01" + field(2, field(1, field(2, operators) + field(4, b"serve")) + field(2, graph_def()))


def safetensors() -> bytes:
    header = json.dumps({"layer.weight": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(16)


def legacy_checkpoint() -> bytes:
    """As torch.save wrote before 1.6: a pickled magic number, then the protocol and the rest."""
    return b"".join(pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {"weight": [1.0]}))


def tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model.onnx"))
    return file.getvalue()


def array() -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros(4))
    return file.getvalue()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 176153355\n"

FILES = {
    "is empty": b"",
    "holds nothing but zeros": bytes(10000),
    "is a Git LFS pointer, which stands for the model; fetch that with `git lfs pull`": LFS,
    "is a PyTorch checkpoint or TorchScript file; export it with torch.onnx.export": zip_of(
        "u2net/data.pkl", "u2net/data/0"
    ),
    "is a PyTorch checkpoint or TorchScript file": zip_of("m/version", "m/data/0", "m/code/a.py", "m/data.pkl"),
    "is a pickle, as PyTorch saves checkpoints": legacy_checkpoint(),
    "is a pickle": pickle.dumps({"weight": [1.0]}),
    "is a safetensors file: weights without a network": safetensors(),
    "is a TensorFlow SavedModel; convert it with tf2onnx": saved_model(),
    "is a frozen TensorFlow graph": graph_def(),
    "is a TensorFlow Lite model": struct.pack("<I", 28) + b"TFL3" + bytes(100),
    "is a model in ONNX Runtime's own format": struct.pack("<I", 28) + b"ORTM" + bytes(100),
    "is an HDF5 file, as Keras saves models": b"\x89HDF\r\n\x1a\n" + bytes(100),
    "is a Keras model": zip_of("metadata.json", "config.json", "model.weights.h5"),
    "is a web page, not the model": b"\n<!DOCTYPE html>\n<html><title>Sign in</title></html>",
    "is a web page": b"<HTML><body>404</body></HTML>",
    "is an XML file": b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
    "is an OpenVINO model": b'<?xml version="1.0"?>\n<net name="u2net" version="11">',
    "is a JSON file": b'{"error": "Repository not found"}',
    "is a text file": b"Repository not found\n",
    "is a zip archive; unpack it": zip_of("model.onnx"),
    "is a gzip archive; unpack it": gzip.compress(b"model"),
    "is a tar archive; unpack it": tar(),
    "is a NumPy array": array(),
    "is a JPEG image, not a model": b"\xff\xd8\xff\xe0" + bytes(100),
}


@pytest.mark.parametrize("sentence", FILES)
def test_each_is_called_what_it_is(sentence: str, tmp_path: Path) -> None:
    """By its content, under the name of a model."""
    path = tmp_path / "model.onnx"
    path.write_bytes(FILES[sentence])
    with pytest.raises(ModelError) as failure:
        ModelFile.read(path)
    assert str(failure.value).startswith(f"model '{path}' {sentence}")
    assert "\n" not in str(failure.value)
    with pytest.raises(ModelError, match=r"^the model given as bytes (is|holds) "):
        ModelFile.read(FILES[sentence])


def test_what_is_cut_short_or_unknown_is_called_nothing_else() -> None:
    weights = np.random.default_rng(0).standard_normal((64, 3, 3, 3)).astype(np.float32)
    whole = model([node("Conv", "x w", "y")], {"x": [1, 3, 32, 32]}, "y", {"w": weights}).SerializeToString()
    old = onnx.ModelProto(ir_version=1, producer_name="pytorch").SerializeToString() + whole
    noise = np.random.default_rng(1).bytes(20000)
    for content in (*(whole[:size] for size in (1, 7, 60, 1000, 5000)), old[:500], noise, noise[:9]):
        assert describe(memoryview(content)) is None
