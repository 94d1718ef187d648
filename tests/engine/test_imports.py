"""Rooms import only what stands below them, and importing a package loads nothing heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.project import ROOT, imports, imports_within, in_circles, modules

FORBIDDEN = {
    "engine": ("nss", "tests", "tools"),
    "engine/errors.py": ("engine",),
    "engine/compiled": ("engine.cpu", "engine.gpu", "engine.graph", "engine.ops", "engine.session"),
    "engine/graph": ("engine.cpu", "engine.gpu", "engine.session"),
    "engine/ops": ("engine.cpu", "engine.gpu", "engine.session", "engine.graph.load", "engine.graph.passes"),
    "engine/cpu": ("engine.gpu", "engine.tuning", "engine.session", "engine.graph.load"),
    "engine/gpu": ("engine.cpu", "engine.tuning", "engine.session", "engine.graph.load"),
    "engine/tuning": ("engine.session",),
    "shaders": ("engine", "nss", "tests", "tools"),
    "nss": ("tests", "tools", "engine.cpu", "engine.gpu", "engine.ops", "engine.graph"),
    "tools": ("tests",),
}
"""For each room, what none of its files imports."""

GPU_ROOMS = ("program", "lowering", "kernels", "plan", "device", "images", "run")
"""Rooms of ``engine.gpu`` in order: each imports only those before it, and itself. Planning imports no device."""

HEAVY = (
    "numpy",
    "onnx",
    "wgpu",
    "PIL",
    "onnxruntime",
    "huggingface_hub",
    "isal",
    "zlib_ng",
    "ray",
    "pyarrow",
    "fsspec",
)


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


def edges() -> dict[str, set[str]]:
    """What each file of the engine imports of it, within functions and for annotations too."""
    names = modules("engine")
    return {
        name: {other for _, other in imports_within(path, names)} for name, path in names.items() if name != "engine"
    }


def parts(prefix: str) -> dict[str, set[str]]:
    """The packages within ``prefix``, and which of them each imports beside itself."""
    result: dict[str, set[str]] = {}
    for name, others in edges().items():
        if name.startswith(f"{prefix}."):
            part = name.removeprefix(f"{prefix}.").split(".")[0]
            inner = {
                other.removeprefix(f"{prefix}.").split(".")[0] for other in others if other.startswith(f"{prefix}.")
            }
            result.setdefault(part, set()).update(inner - {part})
    return result


def test_no_file_of_the_engine_imports_itself_round_a_circle() -> None:
    assert in_circles(edges()) == [], "these import each other, or what does"


def test_rooms_of_the_gpu_import_those_before_them() -> None:
    rooms = parts("engine.gpu")
    assert rooms.keys() == set(GPU_ROOMS)
    for index, room in enumerate(GPU_ROOMS):
        assert rooms[room] <= set(GPU_ROOMS[:index]), room


def test_planning_imports_no_device() -> None:
    assert "device" not in parts("engine.gpu")["plan"]


def test_families_of_kernels_import_each_other_in_one_direction() -> None:
    families = parts("engine.gpu.kernels")
    assert len(families) > 5
    assert in_circles(families) == []


def test_a_circle_would_be_seen() -> None:
    assert in_circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["a", "b", "c"]


@pytest.mark.parametrize("package", ["engine", "nss", "nss.ray", "shaders"])
def test_import_is_light(package: str) -> None:
    script = f"import sys, {package}; print(*(name for name in {HEAVY} if name in sys.modules))"
    process = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert process.stdout.split() == []


def test_names_come_when_they_are_asked_for() -> None:
    script = "import sys, engine; engine.Session; print('numpy' in sys.modules, 'PIL' in sys.modules)"
    process = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert process.stdout.split() == ["True", "False"]
