"""The worked examples of the guide for kernels, followed word for word in a copy of the tree: their tests pass."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.guide import GUIDE, steps
from tests.project import ROOT

FOLDERS = ("engine", "shaders", "nss", "tools", "tests/engine")
"""What the examples change, or their tests need."""

GRIDS = ("test_no_kernel_is_without_a_case", "test_a_grid_that_is_too_long_is_folded_or_cut[affine grid]")
"""The tests that the GPU kernel's case is for."""


def test_the_guide_can_be_followed(tmp_path: Path) -> None:
    for name in FOLDERS:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("tests/__init__.py", "tests/project.py", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    examples = [step for page in GUIDE for step in steps((ROOT / page).read_text("utf-8"))]
    for step in examples:
        step.follow(tmp_path)
    tests = [step.path for step in examples if step.language != "diff" and Path(step.path).name.startswith("test_")]
    assert len(tests) == 5
    tests += [f"tests/engine/gpu/test_grids.py::{test}" for test in GRIDS]
    process = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert process.returncode == 0, process.stdout[-4000:] + process.stderr[-2000:]
    if "IS NOT TESTED" in process.stdout:
        pytest.skip("the examples for the GPU need an adapter: THEY ARE NOT TESTED")
