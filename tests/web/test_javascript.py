"""The modules of web/ are typed, by TypeScript's own check of their JSDoc, and import as their rooms stand."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.web.conftest import HERE, ROOT, lacks, require

WEB = ROOT / "web"
ABOVE = {"runner": {"runner"}, "image": {"image"}, "page": {"page", "image", "runner"}}
"""The rooms that each may import. The rooms of image/ know no model but by its methods."""


def test_types() -> None:
    require(lacks(""))
    done = subprocess.run(
        ["node", HERE / "node_modules/typescript/bin/tsc", "-p", HERE / "tsconfig.json"],
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("room", ABOVE)
def test_rooms_import_what_stands_above_them(room: str) -> None:
    modules = sorted((WEB / room).rglob("*.mjs"))
    assert modules
    for module in modules:
        imported = re.findall(r"(?:from|import) '([^']+)'", module.read_text("utf-8"))
        targets = [Path(module.parent, name).resolve().relative_to(WEB) for name in imported]
        assert {target.parts[0] for target in targets} <= ABOVE[room], module.name
        assert all((WEB / target).is_file() for target in targets), module.name
