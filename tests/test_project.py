"""What tests share stands in files of its own: no test imports another one's file."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests import wall_clock
from tests.project import ROOT, imports, project_files

TEST_FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in (ROOT / "tests").rglob("test_*.py")
}


def test_no_test_file_is_imported() -> None:
    files = [path for room in ("tests", "tools") for path in project_files(room, "*.py")]
    breaches = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in files
        for line, name in imports(path)
        if name in TEST_FILES
    ]
    # programs that tests write as text, for another process
    breaches += [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in files
        for line in path.read_text("utf-8").splitlines()
        if re.match(r"\s*(from|import) tests[\w.]*\.test_\w+", line)
    ]
    assert breaches == []


def reaches(source: str) -> list[str]:
    """Where a private attribute of what is itself private is asked for, or one that a session or Remover hides."""
    accesses = []
    for entry in ast.walk(ast.parse(source)):
        if isinstance(entry, ast.Attribute) and _is_private(entry.attr):
            inner = entry.value
            own = isinstance(inner, ast.Name) and inner.id in ("self", "cls")
            if entry.attr == "_executor" or (isinstance(inner, ast.Attribute) and _is_private(inner.attr) and not own):
                accesses.append(ast.unparse(entry))
    return accesses


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def test_nobody_reaches_through_private_attributes() -> None:
    files = [path for room in ("tests", "tools") for path in project_files(room, "*.py")]
    breaches = {str(path.relative_to(ROOT)): reaches(path.read_text("utf-8")) for path in files}
    assert {name: places for name, places in breaches.items() if places} == {}
    assert reaches("session._executor.device") == ["session._executor"]
    assert reaches("remover._network._opened.sessions") == ["remover._network._opened"]


def test_tools_use_what_is_public() -> None:
    private = [
        f"{path.relative_to(ROOT)}:{entry.lineno} {ast.unparse(entry)}"
        for path in (ROOT / "tools").rglob("*.py")
        for entry in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(entry, ast.Attribute) and _is_private(entry.attr)
        if not (isinstance(entry.value, ast.Name) and entry.value.id in ("self", "cls"))
    ]
    assert [line for line in private if not line.endswith(" os._exit")] == []


def name_of(call: ast.Call) -> str:
    """Of the function or method that is called, where it has one."""
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def calls(entry: ast.AST) -> set[str]:
    """The names of the functions and methods that are called within."""
    return {name_of(call) for call in ast.walk(entry) if isinstance(call, ast.Call)}


PATIENCE_S = 30
"""What a wait that ends only where the code is wrong has at least: a busy machine stands still for seconds."""


def untrustworthy(source: str) -> list[str]:
    """What is held to the clock itself, waits that a stall would end, and unmarked tests with an assertion on time."""
    tree = ast.parse(source)
    conditions = [
        entry.test if isinstance(entry, ast.While) else entry
        for entry in ast.walk(tree)
        if isinstance(entry, ast.Assert | ast.While)
    ]
    breaches = [
        ast.unparse(entry)
        for entry in conditions
        if calls(entry) & {"perf_counter", "monotonic", "time", "perf_counter_ns"}
    ]
    waits = [
        entry
        for entry in ast.walk(tree)
        if isinstance(entry, ast.Call) and name_of(entry) in {"wait", "join", "communicate", "acquire"}
    ]
    breaches += [
        ast.unparse(entry)
        for entry in waits
        for limit in (*entry.args, *(keyword.value for keyword in entry.keywords if keyword.arg == "timeout"))
        # what is shorter is to be waited out
        if isinstance(limit, ast.Constant) and isinstance(limit.value, int | float) and 1 <= limit.value < PATIENCE_S
    ]
    return breaches + [
        entry.name
        for entry in ast.walk(tree)
        if isinstance(entry, ast.FunctionDef)
        and entry.name.startswith("test_")
        and calls(entry) & {"within", "computed_within", "child_seconds"}
        and not any(ast.unparse(mark) == "pytest.mark.wall_clock" for mark in entry.decorator_list)
    ]


def test_assertions_on_time_are_marked_and_bear_a_busy_machine() -> None:
    breaches = {name: untrustworthy(path.read_text("utf-8")) for name, path in TEST_FILES.items()}
    assert {name: places for name, places in breaches.items() if places} == {}
    assert untrustworthy("def test_a():\n assert time.perf_counter() - start < 5") == [
        "assert time.perf_counter() - start < 5"
    ]
    assert untrustworthy("while time.monotonic() < deadline: pass") == ["time.monotonic() < deadline"]
    assert untrustworthy("assert begun.wait(5) and process.communicate(timeout=60)") == ["begun.wait(5)"]
    assert untrustworthy("def test_a():\n with within(5): pass") == ["test_a"]
    assert untrustworthy("@pytest.mark.wall_clock\ndef test_a():\n with within(5): pass") == []


def spin(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


@pytest.mark.wall_clock
def test_a_limit_is_longer_on_a_busy_machine_and_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wall_clock, "busyness", lambda: 1.0)
    with pytest.raises(AssertionError, match="s are allowed on this machine now"), wall_clock.within(0.001):
        time.sleep(0.01)
    monkeypatch.setattr(wall_clock, "busyness", lambda: 10_000.0)
    with wall_clock.within(0.001):
        time.sleep(0.01)
    monkeypatch.setattr(wall_clock, "slowness", lambda: 1.0)
    with pytest.raises(AssertionError, match="on the cores"), wall_clock.computed_within(0.01):
        spin(0.02)
    monkeypatch.setattr(wall_clock, "slowness", lambda: 10_000.0)
    with wall_clock.computed_within(0.01):
        spin(0.02)


def test_a_breach_would_be_seen() -> None:
    assert TEST_FILES["tests.test_project"].is_file()
    assert "tests.project.ROOT" in {name for _, name in imports(ROOT / "tests" / "test_project.py")}


def test_no_file_is_longer_than_anyone_reads_at_once() -> None:
    places, suffixes = (
        ("engine", "shaders", "nss", "web", "tests", "tools", "docs"),
        (".py", ".wgsl", ".md", ".mjs", ".css"),
    )
    files = [file for place in places for suffix in suffixes for file in project_files(place, f"*{suffix}")]
    lines = {str(file.relative_to(ROOT)): file.read_text("utf-8").count("\n") for file in files}
    assert len(lines) > 500
    assert {name: count for name, count in lines.items() if count > 400} == {}


def test_a_long_test_is_skipped_with_its_reason_unless_it_is_asked_for() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rs"]
    process = subprocess.run(
        [*command, "tests/engine/test_birefnet.py", "-k", "swin_t and opset17"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "1 skipped" in process.stdout
    assert "opset20 is run in any case: NOT TESTED HERE, `pytest --long` and `.ci/run long` run it" in process.stdout


def test_tests_keep_what_they_compile_and_remember_out_of_the_users_folders() -> None:
    for variable in ("NSS_CACHE_DIR", "NSS_STATE_DIR"):
        assert Path(os.environ[variable]).is_relative_to(tempfile.gettempdir())
    assert os.environ["NSS_CACHE_SIZE"] == "0"
