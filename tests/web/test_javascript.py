"""The modules of web/ are typed, by TypeScript's own check of their JSDoc."""

from __future__ import annotations

import subprocess

from tests.web.conftest import HERE, lacks, require


def test_types() -> None:
    require(lacks(""))
    done = subprocess.run(
        ["node", HERE / "node_modules/typescript/bin/tsc", "-p", HERE / "tsconfig.json"],
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout
