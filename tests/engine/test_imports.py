"""Rooms import only what stands below them, and importing a package loads nothing heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.project import ROOT, imports

FORBIDDEN = {
    "engine": ("nss", "tests", "tools"),
    "engine/errors.py": ("engine",),
    "engine/compiled": ("engine.cpu", "engine.gpu", "engine.graph", "engine.ops", "engine.session"),
    "engine/graph": ("engine.cpu", "engine.gpu", "engine.session"),
    "engine/ops": ("engine.cpu", "engine.gpu", "engine.session", "engine.graph.load", "engine.graph.passes"),
    "engine/cpu": ("engine.gpu", "engine.session", "engine.graph.load"),
    "engine/gpu": ("engine.cpu", "engine.session", "engine.graph.load"),
    "shaders": ("engine", "nss", "tests", "tools"),
    "nss": ("tests", "tools", "engine.cpu", "engine.gpu", "engine.ops", "engine.graph"),
    "tools": ("tests",),
}
"""For each room, what none of its files imports."""

HEAVY = ("numpy", "onnx", "wgpu", "PIL", "onnxruntime", "huggingface_hub")


def breaches(room: str) -> list[str]:
    """The imports of the room that are forbidden, each as ``file:line name``."""
    place = ROOT / room
    return [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in ([place] if place.suffix else sorted(place.rglob("*.py")))
        for line, name in imports(path)
        if any(name == package or name.startswith(f"{package}.") for package in FORBIDDEN[room])
    ]


@pytest.mark.parametrize("room", FORBIDDEN)
def test_room(room: str) -> None:
    assert (ROOT / room).exists()
    assert breaches(room) == []


def test_a_breach_would_be_seen() -> None:
    names = {name for _, name in imports(ROOT / "tests" / "project.py")}
    assert {"ast", "pathlib.Path", "collections.abc"} <= names
    assert any(name.startswith("engine.cpu") for _, name in imports(ROOT / "engine" / "session.py"))


@pytest.mark.parametrize("package", ["engine", "nss", "shaders"])
def test_import_is_light(package: str) -> None:
    script = f"import sys, {package}; print(*(name for name in {HEAVY} if name in sys.modules))"
    process = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert process.stdout.split() == []


def test_names_come_when_they_are_asked_for() -> None:
    script = "import sys, engine; engine.Session; print('numpy' in sys.modules, 'PIL' in sys.modules)"
    process = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert process.stdout.split() == ["True", "False"]
