"""What a file is that is no ONNX model, told by its content: the files that people take for one.

Each is recognised by what its format begins with or must hold, never by its name. Sources: PyTorch's zip archives
(``<name>/data.pkl``) and older pickles; safetensors (8 bytes of length, then JSON); TensorFlow's ``saved_model.proto``
and ``graph.proto``; TensorFlow Lite's and ONNX Runtime's FlatBuffers identifiers; HDF5; Git LFS's pointer files.
"""

from __future__ import annotations

import re

HEAD = 4096
"""Bytes at the beginning of a file that are looked at."""

_VARINT = rb"[\x80-\xff]{0,9}[\x00-\x7f]"
_EXPORT = "export it with torch.onnx.export"
_TENSORFLOW = "convert it with tf2onnx"
_FETCH = "fetch the file itself"


def describe(content: memoryview) -> str | None:
    """What the file is and what to do, to follow on its name; None where nothing is recognised."""
    head = bytes(content[:HEAD])
    if not head.strip(b"\0"):
        return f"holds nothing but zeros, as an interrupted download leaves it; {_FETCH} again"
    if re.match(rb"version https://(git-lfs|hawser)\.github\.com/", head):
        return "is a Git LFS pointer, which stands for the model; fetch that with `git lfs pull`"
    return _archive(content, head) or _checkpoint(content, head) or _graph(head) or _text(head)


def _archive(content: memoryview, head: bytes) -> str | None:
    if head.startswith(b"PK\x03\x04"):
        # the names of a zip's members stand in its directory, at the end
        tail = bytes(content[-(1 << 16) :])
        if b"data.pkl" in head or b"data.pkl" in tail:
            return f"is a PyTorch checkpoint or TorchScript file; {_EXPORT}"
        if b"config.json" in tail and b"model.weights.h5" in tail:
            return f"is a Keras model; {_TENSORFLOW}"
        return "is a zip archive; unpack it, and name the .onnx file in it"
    for magic, name in (
        (b"\x1f\x8b", "gzip"),
        (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
        (b"Rar!", "RAR"),
        (b"\xfd7zXZ", "xz"),
        (b"\x28\xb5\x2f\xfd", "Zstandard"),
    ):
        if head.startswith(magic):
            return f"is a {name} archive; unpack it, and name the .onnx file in it"
    if head[257:262] == b"ustar":
        return "is a tar archive; unpack it, and name the .onnx file in it"
    return None


def _checkpoint(content: memoryview, head: bytes) -> str | None:
    # pickle: PROTO 2 to 5, and then an opcode of a container, a number or a global
    if re.match(rb"\x80[\x02-\x05][\x8a\x95}\](cK\x8c]", head):
        return f"is a pickle, as PyTorch saves checkpoints; {_EXPORT}"
    length = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and 2 <= length <= len(content) - 8 and (b'"dtype"' in head or b"__metadata__" in head):
        return f"is a safetensors file: weights without a network; load them in PyTorch, and {_EXPORT}"
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return f"is an HDF5 file, as Keras saves models; {_TENSORFLOW}"
    if head.startswith(b"GGUF"):
        return "is a GGUF file, which holds a language model"
    if head.startswith(b"\x93NUMPY"):
        return f"is a NumPy array, not a model; {_FETCH}"
    return None


def _graph(head: bytes) -> str | None:
    if head[4:8] == b"TFL3":
        return "is a TensorFlow Lite model; convert it with tf2onnx"
    if head[4:8] == b"ORTM":
        return "is a model in ONNX Runtime's own format (.ort); name the .onnx file that it was made from"
    # SavedModel: field 1, the schema's version, is 1; field 2 is a MetaGraphDef, whose field 1 is a message as well
    if re.match(rb"\x08\x01\x12" + _VARINT + rb"\x0a" + _VARINT + rb"[\x0a\x12\x1a\x22]", head):
        return f"is a TensorFlow SavedModel; {_TENSORFLOW}"
    # GraphDef: field 1 is a node, whose fields 1 and 2 are its name and its operator
    if node := re.match(rb"\x0a" + _VARINT + rb"\x0a([\x01-\x7f])", head):
        operator = head[node.end() + node[1][0] :]
        if re.match(rb"\x12[\x01-\x7f][A-Z][A-Za-z0-9_]+", operator):
            return f"is a frozen TensorFlow graph; {_TENSORFLOW}"
    if head.startswith((b"<?xml", b"\xef\xbb\xbf<?xml")) and b"<net" in head:
        return "is an OpenVINO model; name the .onnx file that it was made from"
    return None


def _text(head: bytes) -> str | None:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:200].lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head")) or (
        start.startswith(b"<!--") and b"<html" in head.lower()
    ):
        return f"is a web page, not the model: the address shows a page, or asks to log in; {_FETCH}"
    if start.startswith((b"<?xml", b"<error")):
        return f"is an XML file, which servers send in place of a file that they do not give; {_FETCH}"
    if start[:1] in (b"{", b"[") and re.match(rb'[{\[]\s*(?:["{\[\]}]|\d)', start):
        return f"is a JSON file; {_FETCH}, the one that ends in .onnx"
    for magic, name in ((b"\x89PNG", "a PNG image"), (b"\xff\xd8\xff", "a JPEG image"), (b"%PDF", "a PDF file")):
        if head.startswith(magic):
            return f"is {name}, not a model"
    if head.isascii() and not re.search(rb"[\x00-\x08\x0e-\x1f\x7f]", head):
        return f"is a text file; {_FETCH}"
    return None
