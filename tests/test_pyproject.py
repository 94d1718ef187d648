"""What pyproject.toml declares: a lower bound for everything, and everything that is imported.

That the bounds are true is shown by the long run of .ci/run, which runs all tests with the lowest versions.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions

import pytest
from packaging.requirements import Requirement

from tests.project import ROOT, imports

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]

BUNDLED_BY = {"protobuf": "onnx", "h11": "uvicorn"}
"""Distributions that are imported and come with another one, in the version that it needs."""


def names(requirements: list[str]) -> Iterator[str]:
    for requirement in requirements:
        yield re.split(r"[^\w.-]", requirement)[0].lower().replace("_", "-")


@pytest.mark.parametrize("room", ["dependencies", *(name for name, extra in EXTRAS.items() if extra)])
def test_every_requirement_has_a_lower_bound(room: str) -> None:
    requirements = PROJECT["dependencies"] if room == "dependencies" else EXTRAS[room]
    others = [r for r in requirements if not r.startswith("nss-wgpu[")]
    extras = [name for r in requirements if r not in others for name in r[len("nss-wgpu[") : -1].split(",")]
    assert others or extras
    assert set(extras) <= EXTRAS.keys()
    assert [r for r in others if not re.fullmatch(r"[\w.-]+(\[\w+\])?>=[\d.]+(; .*)?", r)] == []


@pytest.mark.parametrize(
    ("system", "machine", "has_wheel"),
    [
        ("linux", "x86_64", True),
        ("linux", "aarch64", True),
        ("darwin", "arm64", True),
        ("win32", "AMD64", True),
        ("win32", "ARM64", True),
        ("win32", "x86", False),
        ("linux", "ppc64le", False),
        ("linux", "armv7l", False),
        ("freebsd14", "x86_64", False),
    ],
)
def test_dawn_is_asked_for_where_it_has_a_wheel(system: str, machine: str, has_wheel: bool) -> None:
    requirements = {r.name: r for r in map(Requirement, PROJECT["dependencies"])}
    here = {"sys_platform": system, "platform_machine": machine, "platform_python_implementation": "CPython"}
    marker = requirements["wgpudawn"].marker
    assert marker is not None
    assert marker.evaluate(here) == has_wheel
    assert not marker.evaluate(here | {"platform_python_implementation": "PyPy"})
    assert requirements["wgpu"].marker is None


@pytest.mark.parametrize(
    ("system", "machine", "wheels"),
    [
        ("linux", "x86_64", {"isal", "zlib-ng"}),
        ("linux", "aarch64", {"isal", "zlib-ng"}),
        ("darwin", "x86_64", {"isal", "zlib-ng"}),
        ("darwin", "arm64", {"isal", "zlib-ng"}),
        ("win32", "AMD64", {"isal", "zlib-ng"}),
        ("win32", "ARM64", {"zlib-ng"}),
        ("linux", "ppc64le", set()),
        ("linux", "armv7l", set()),
        ("freebsd14", "x86_64", set()),
    ],
)
def test_what_deflates_fast_is_asked_for_where_it_has_a_wheel(system: str, machine: str, wheels: set[str]) -> None:
    here = {"sys_platform": system, "platform_machine": machine, "platform_python_implementation": "CPython"}
    markers = {r.name: r.marker for r in map(Requirement, PROJECT["dependencies"]) if r.name in ("isal", "zlib-ng")}
    assert {name for name, marker in markers.items() if marker is not None and marker.evaluate(here)} == wheels
    assert {m.evaluate(here | {"platform_python_implementation": "PyPy"}) for m in markers.values() if m} == {False}


def test_what_is_imported_is_declared() -> None:
    distributions = packages_distributions()
    everywhere = {*names(PROJECT["dependencies"]), *names(EXTRAS["heic"])}
    rooms = {room: {*everywhere, *names(EXTRAS[room])} for room in ("serve", "ray")}
    missing = set()
    for package in ("engine", "shaders", "nss"):
        for path in (ROOT / package).rglob("*.py"):
            for _, name in imports(path):
                top = name.split(".")[0]
                if top in sys.stdlib_module_names or top in ("engine", "shaders", "nss"):
                    continue
                providers = {d.lower().replace("_", "-") for d in distributions.get(top, [top])}
                declared = rooms.get(path.relative_to(ROOT).parts[1], everywhere)
                if not {BUNDLED_BY.get(d, d) for d in providers} & declared:
                    missing.add(f"{path.relative_to(ROOT)}: {top}")
    assert missing == set()


def test_the_packages_are_typed_and_their_version_stands_in_one_place() -> None:
    assert [(ROOT / package / "py.typed").is_file() for package in ("engine", "nss")] == [True, True]
    assert "version" not in PROJECT
    files = [
        path.relative_to(ROOT).as_posix()
        for package in ("engine", "shaders", "nss")
        for path in (ROOT / package).rglob("*.py")
        if re.search(r"^__version__ = [\"']", path.read_text("utf-8"), re.MULTILINE)
    ]
    assert files == ["engine/version.py"]


def test_the_run_of_ci_knows_one_argument() -> None:
    process = subprocess.run(["bash", ROOT / ".ci" / "run", "short"], capture_output=True, text=True, check=False)
    assert (process.returncode, process.stdout, process.stderr) == (2, "", "usage: .ci/run [long]\n")
