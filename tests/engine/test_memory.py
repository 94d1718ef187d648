"""What limits the memory of a process, read from files as Linux writes them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine import memory


def write_files(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/\n", {"memory.max": "1000\n"}, [1000]),
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": "2000\n", "memory.max": "3000\n"}, [2000, 3000]),
        (
            "4:memory:/docker/x\n1:cpu:/\n0::/\n",
            {"memory/memory.limit_in_bytes": "5000\n", "cpu/memory.limit_in_bytes": "1\n"},
            [5000],
        ),
        ("7:cpu,memory:/a\n", {"memory/a/memory.limit_in_bytes": "6000\n"}, [6000]),
        ("0::/gone\n", {}, []),
        ("nonsense\n\n", {"memory.max": "1\n"}, []),
    ],
    ids=["version 2", "nested", "version 1", "with others", "not mounted", "unreadable"],
)
def test_control_groups(membership: str, files: dict[str, str], expected: list[int], tmp_path: Path) -> None:
    mounts = write_files(tmp_path / "mounts", files)
    listing = write_files(tmp_path, {"cgroup": membership}) / "cgroup"
    assert list(memory._cgroup_limits(mounts, listing)) == expected


def test_without_control_groups(tmp_path: Path) -> None:
    assert list(memory._cgroup_limits(tmp_path, tmp_path / "missing")) == []


def test_the_smallest_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    physical = memory.machine_memory()
    assert 64 << 20 < physical < 1 << 47
    monkeypatch.setattr(memory, "_cgroup_limits", lambda: [1 << 60, 12345])
    assert memory.machine_memory() == 12345


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no limits of the process")
def test_limit_of_the_process() -> None:
    code = (
        "import resource; from engine.memory import machine_memory; "
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30)); print(machine_memory())"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(process.stdout) <= 1 << 30
