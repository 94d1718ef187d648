"""Two files know which implementation of WebGPU is in use."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from engine.gpu.device.implementations import IMPLEMENTATIONS
from tests.project import ROOT

NAMES = {name for each in IMPLEMENTATIONS.values() for name in (each.name, each.package)}


def names_in_code(path: Path) -> Iterator[str]:
    """The names of implementations that stand as strings of their own in a file, whatever is done with them."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Constant) and node.value in NAMES:
            yield f"{path.name}:{node.lineno} {node.value}"


def test_no_other_file_names_an_implementation() -> None:
    own = [ROOT / "engine" / "gpu" / "device" / f"{name}.py" for name in IMPLEMENTATIONS]
    assert [bool(list(names_in_code(path))) for path in own] == [True, True]
    others = [path for path in (ROOT / "engine").rglob("*.py") if path not in own]
    assert len(others) > 100
    assert [place for path in others for place in names_in_code(path)] == []
