"""The tests of web/: JavaScript, run by Node's own test runner, each file a test here.

They need Node 20, the packages of tests/web/package.json (``npm install --prefix tests/web --no-package-lock``) and,
where a file imports harness.mjs, Chromium. What this machine lacks is said; it fails where ``NSS_REQUIRE_CHROMIUM`` is
set.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TIMEOUT = 600
"""Seconds for a file of JavaScript tests. The longest take twenty, and fifteen times that on a slow, busy machine."""

Node = Callable[..., str]

LONGEST = (
    "server/test_server.py",
    "whole/test_faults.py",
    "test_page.py::test_without_network",
    "whole/test_cutout.py",
    "test_outputs.py",
    "image/test_gpu.py",
    "test_editor.py",
    "test_page.py",
)
"""What takes longest of this folder, from the longest on: begun last, one of them would keep one core waiting."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests that take longest first among those of this folder, and give each as long as its file may take."""
    places = [place for place, item in enumerate(items) if item.path.is_relative_to(HERE)]

    def rank(item: pytest.Item) -> int:
        return next((at for at, name in enumerate(LONGEST) if name in item.nodeid), len(LONGEST))

    for place, item in zip(places, sorted((items[place] for place in places), key=rank), strict=True):
        items[place] = item
        item.add_marker(pytest.mark.timeout(TIMEOUT + 200))  # what it compares with is made before


def lacks(source: str) -> str | None:
    """What a test file needs that is not here, in words; None where all is."""
    if shutil.which("node") is None:
        return "Node 20 (the command node)"
    if not (HERE / "node_modules").is_dir():
        return "the packages of tests/web/package.json (npm install --prefix tests/web --no-package-lock)"
    chromium = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    if "harness.mjs" in source and shutil.which(chromium) is None:
        return f"Chromium ({chromium}; CHROMIUM names another one)"
    return None


def require(what: str | None) -> None:
    """Skip the test for want of ``what``, or fail where it must be here."""
    if what is not None:
        message = f"needs {what}: NOT TESTED HERE"
        if os.environ.get("NSS_REQUIRE_CHROMIUM"):
            pytest.fail(message)
        pytest.skip(message)


@pytest.fixture(scope="session")
def command() -> list[str]:
    """The command under test: that of ``NSS_TEST_COMMAND``, such as an installed wheel's, or this tree's."""
    given = os.environ.get("NSS_TEST_COMMAND")
    return [given] if given else [sys.executable, "-m", "nss"]


@pytest.fixture(scope="session")
def browsers() -> Iterator[str]:
    """Where JavaScript tests ask for the Chromium that they share; it starts where one asks."""
    with subprocess.Popen(["node", HERE / "browsers.mjs"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().decode().strip()}/"
        process.stdin.close()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


@pytest.fixture
def run_node(request: pytest.FixtureRequest) -> Node:
    """Run a file of JavaScript tests with variables for its environment; its output. Fails where a test fails."""

    def run(file: Path, **variables: str | Path) -> str:
        require(lacks(file.read_text("utf-8")))
        variables = {"NSS_TEST_BROWSERS": request.getfixturevalue("browsers"), **variables}
        with subprocess.Popen(
            ["node", "--test", "--test-reporter=spec", f"--test-timeout={TIMEOUT * 1000}", file],
            env=os.environ | {name: str(value) for name, value in variables.items()},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            how = ""
            try:
                out, err = process.communicate(timeout=TIMEOUT)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)  # with what it has started: the runner, servers, browsers
                out, err = process.communicate()  # what there is, which tells how far it came
                how = f" not done after {TIMEOUT} seconds"
        if process.returncode:
            pytest.fail(f"{file.relative_to(HERE)}:{how}\n{out[-12000:]}\n{err[-4000:]}", pytrace=False)
        return out

    return run


@contextmanager
def once(folder: Path, name: str) -> Iterator[tuple[Path, bool]]:
    """A folder that all workers share, and whether it is this one that has to fill it; the others wait."""
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder / f"{name}.done"
        yield folder / name, not done.exists()
        done.write_text(json.dumps({"process": os.getpid()}))


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the processes of this run share."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "web"


@pytest.fixture(scope="session")
def site(shared_folder: Path, command: list[str]) -> Path:
    """A site that the command under test has written, with a U²-Netp for 64 pixels a side; it is there to be read."""
    require(lacks("harness.mjs"))  # or it would be written for nobody
    from tests.web.models import write_small_u2netp  # with onnx and ONNX Runtime, for which other tests need not wait

    with once(shared_folder, "site") as (folder, is_first):
        if is_first:
            model = write_small_u2netp(shared_folder / "small.onnx")
            subprocess.run(
                [*command, "export-web", model, "-o", folder, "--quiet"],
                cwd=shared_folder if os.environ.get("NSS_TEST_COMMAND") else ROOT,
                check=True,
                timeout=TIMEOUT,
            )
    return folder
