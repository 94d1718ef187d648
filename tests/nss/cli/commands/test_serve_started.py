"""``nss-wgpu serve`` with the server itself: from its address to its end, and what does not start in one line."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.nss.conftest import Outcome
from tests.project import ROOT, environment

Command = Callable[..., Outcome]
TOKEN_FILE = "NSS_SERVE_TOKEN_FILE"


@pytest.fixture
def started(small: Path) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """The command in a process of its own, its page's address, and its token."""
    process = subprocess.Popen(
        [sys.executable, "-m", "nss", "serve", "--model", str(small), "--backend", "numpy", "--port", "0"],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        address, _, token = process.stdout.readline().strip().partition("#token=")
        yield process, address, token
    finally:
        process.kill()
        process.communicate()


def answer(url: str, token: str = "", data: bytes | None = None) -> tuple[int, bytes]:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "image/png"}
    try:
        with urlopen(Request(url, data=data, headers=headers)) as response:
            return response.status, response.read()
    except HTTPError as error:
        with error:
            return error.code, error.read()


@pytest.mark.skipif(os.name != "posix", reason="needs signals that a process can send another")
def test_from_the_address_to_the_end(started: tuple[subprocess.Popen[str], str, str], photo: Path) -> None:
    process, address, token = started
    assert address.startswith("http://127.0.0.1:")
    assert len(token) >= 40
    assert answer(f"{address}healthz") == (200, b"ok")
    status, cutout = answer(f"{address}api/v1/remove?feather=1", token, photo.read_bytes())
    assert (status, cutout[:4]) == (200, b"\x89PNG")
    assert answer(f"{address}api/v1/models", token[:-1])[0] == 401
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "")
    lines = err.splitlines()
    assert any(line.startswith("nss-wgpu: small: numpy on ") for line in lines)
    assert [line for line in lines if not line.startswith("nss-wgpu: ")] == []


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that the environment names, with a token of the user's."""
    file = tmp_path / "token"
    file.write_text("0123456789abcdef\n", "utf-8")
    file.chmod(0o600)
    monkeypatch.setenv(TOKEN_FILE, str(file))
    return file


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """``in``, ``in/deeper`` and ``out`` in a folder."""
    (tmp_path / "in" / "deeper").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--model", "none"], 3, "no model none: pass an ONNX file or one of auto"),
        (["--public-url", "ftp://cut.example"], 2, '--public-url "ftp://cut.example": http:// or https://'),
        (["--public-url", "https://cut.example/path"], 2, '--public-url "https://cut.example/path"'),
        (["--allow-origin", "null"], 2, '--allow-origin "null"'),
        (["--host", "0.0.0.0"], 2, "other computers could reach it; pass --allow-remote if they are to"),
        (["--watch", "FOLDER/in", "FOLDER/in/deeper"], 2, "give cut-outs a folder outside of it"),
        (["--watch", "FOLDER/in", "FOLDER/in"], 2, "is the folder that is watched"),
        (["--watch", "FOLDER/none", "FOLDER/out"], 2, "no such folder, and one is to be watched"),
        (["--watch", "FOLDER/in", "FOLDER/none"], 2, "no such folder, and one is to take cut-outs"),
    ],
)
@pytest.mark.usefixtures("token")
def test_what_does_not_start_says_why_in_one_line(
    command: Command, folders: Path, arguments: list[str], status: int, words: str
) -> None:
    filled = [argument.replace("FOLDER", str(folders)) for argument in arguments]
    outcome = command("serve", "--port", 0, *filled)
    assert (outcome.status, outcome.out) == (status, [])
    (line,) = outcome.err
    assert words in line


@pytest.mark.usefixtures("token")
def test_a_port_that_is_taken(command: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        outcome = command("serve", "--port", port, "--model", "none")  # which is not looked for then
    assert (outcome.status, outcome.out) == (2, [])
    assert outcome.err == [f"nss-wgpu: port {port} of 127.0.0.1 is taken: choose another by --port, or 0 for any"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read (No such file or directory)"),
        ("", "holds no token: 16 to 1024 letters"),
        ("0123456789abcde", "holds no token: 16 to 1024 letters"),
        ("0123456789 abcdef", "holds no token"),
    ],
)
def test_a_token_that_is_none(command: Command, token: Path, content: str | None, words: str) -> None:
    if content is None:
        token.unlink()
    else:
        token.write_text(content, "utf-8")
    outcome = command("serve", "--port", 0)
    assert (outcome.status, outcome.out) == (2, [])
    (line,) = outcome.err
    assert line.startswith(f'nss-wgpu: {TOKEN_FILE} "{token}": ')
    assert words in line


def test_who_lets_others_in_has_a_token(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN_FILE, raising=False)
    outcome = command("serve", "--allow-remote", "--port", 0)
    assert (outcome.status, outcome.out) == (2, [])
    assert outcome.err == [
        f"nss-wgpu: --allow-remote needs a token of yours: write one into a file, and name it by {TOKEN_FILE}"
    ]
