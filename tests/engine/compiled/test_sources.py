"""A source tree's files tell one commit from another, and an installed package needs no such thing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.compiled.sources import PACKAGES, source_state, tree_state
from tests.project import ROOT


@pytest.fixture(name="tree")
def _tree(tmp_path: Path) -> Path:
    """A tree that Git has checked out as a worktree, where ``.git`` is a file."""
    for name in ("engine/a.py", "engine/gpu/b.py", "nss/c.py", "shaders/d.wgsl", "tests/e.py", "engine/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    (tmp_path / ".git").write_text("gitdir: elsewhere")
    return tmp_path


def state(tree: Path) -> str:
    tree_state.cache_clear()
    return tree_state(tree)


@pytest.mark.parametrize("name", ["engine/a.py", "engine/gpu/b.py", "nss/c.py", "shaders/d.wgsl"])
def test_every_source_file_counts(tree: Path, name: str) -> None:
    states = [state(tree)]
    status = (tree / name).stat()
    os.utime(tree / name, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    states.append(state(tree))
    (tree / name).write_text("22")
    os.utime(tree / name, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    states.append(state(tree))
    (tree / name).unlink()
    states.append(state(tree))
    assert len(set(states)) == 4
    assert state(tree) == states[-1]


def test_what_compiles_nothing_does_not_count(tree: Path) -> None:
    before = state(tree)
    (tree / "tests" / "e.py").write_text("333")
    (tree / "engine" / "notes.txt").write_text("333")
    (tree / "engine" / ".#a.py").symlink_to("user@host.1234")  # as Emacs locks a file
    assert state(tree) == before


def test_an_installed_package_has_no_state(tree: Path) -> None:
    (tree / ".git").unlink()
    assert state(tree) == ""


def test_the_state_is_of_this_tree_and_the_same_in_every_process() -> None:
    assert all((ROOT / package / "__init__.py").exists() for package in PACKAGES)
    command = "from engine.compiled.sources import source_state; print(source_state())"
    child = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)
    assert child.stdout.strip() == source_state() == tree_state(ROOT)
