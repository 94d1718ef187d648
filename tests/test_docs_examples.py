"""The worked examples of the guide for kernels, followed word for word in a copy of the tree: their tests pass."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import jinja2
import pytest

from tests.engine.gpu.plans import EMULATED
from tests.guide import GUIDE, steps
from tests.project import ROOT

FOLDERS = ("engine", "shaders", "nss", "tools", "tests/engine")
"""What the examples change, or their tests need."""

CASES = {
    "tests/engine/gpu/test_grids.py": (
        "test_no_kernel_is_without_a_case",
        *(
            f"test_a_grid_that_is_too_long_is_folded_or_cut[{case}]"
            for case in ("affine grid", "depthwise conv", "thin groups")
        ),
    ),
    "tests/engine/gpu/test_tables.py": (
        "test_every_row_has_a_case",
        "test_a_forced_row_computes_what_the_reference_does[convolution-depthwise]",
        "test_which_row_a_convolution_gets",
        "test_each_row_says_why_in_a_sentence",
    ),
}
"""The tests that the cases of the GPU kernels are for."""


def test_the_guide_can_be_followed(tmp_path: Path) -> None:
    for name in FOLDERS:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("tests/__init__.py", "tests/project.py", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    examples = [step for page in GUIDE for step in steps((ROOT / page).read_text("utf-8"))]
    for step in examples:
        step.follow(tmp_path)
    tests = [step.path for step in examples if step.language != "diff" and Path(step.path).name.startswith("test_")]
    assert len(tests) == 6
    tests += [f"{file}::{test}" for file, names in CASES.items() for test in names]
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


@pytest.mark.parametrize(
    ("spelling", "words"),
    [
        ("dawn", "subgroupMatrixStore<row_major>(&c, u32(0), sums, u32(16));"),
        ("wgpu", "coopStoreT(sums, &c[0], u32(16));"),
        ("emulated", "store_sums_c((0), sums, 16, i32(local_index) % 32);"),
    ],
)
def test_the_fragment_of_a_kernel_on_matrix_units_has_all_spellings(spelling: str, words: str) -> None:
    (block,) = re.findall(
        r"^```jinja\n(.*?)^```$", (ROOT / "docs/matrix_rows.md").read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    loader = jinja2.FileSystemLoader(ROOT / "shaders")
    environment = jinja2.Environment(
        loader=loader, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    units = asdict(replace(EMULATED, spelling=spelling))
    assert words in environment.from_string(block).render(matrix=units, depth=64)
