"""The runner as others get it: an npm package, and an example page."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from engine import __version__
from tests.project import ROOT
from tests.web.conftest import Node

HERE = Path(__file__).parent
RUNNER = ROOT / "web" / "runner"


def test_the_package_holds_the_modules_and_what_a_reader_needs() -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("needs npm: NOT TESTED HERE")
    packed = subprocess.run(
        [npm, "pack", "--dry-run", "--json"], cwd=RUNNER, capture_output=True, text=True, timeout=120
    )
    assert packed.returncode == 0, packed.stderr
    (package,) = json.loads(packed.stdout)
    files = {file["path"] for file in package["files"]}
    assert files == {path.name for path in RUNNER.glob("*.mjs")} | {"package.json", "README.md", "LICENSE"}
    assert (package["name"], package["version"]) == ("nss-wgpu-runner", __version__)


def test_the_package_depends_on_nothing() -> None:
    package = json.loads((RUNNER / "package.json").read_text("utf-8"))
    assert not {"dependencies", "peerDependencies", "scripts"} & package.keys()
    assert (RUNNER / package["exports"]["."]).is_file()
    assert package["license"] == "Apache-2.0"
    assert (RUNNER / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    for file in RUNNER.glob("*.mjs"):
        for line in file.read_text("utf-8").splitlines():
            assert len(line) <= 120, f"{file.name}: {line}"
            if line.startswith(("import ", "export ")) and " from " in line:
                name = line.split(" from ")[1].strip("';")
                assert (RUNNER / name).is_file(), f"{file.name} imports {name}"


def test_the_example_classifies_pictures(tmp_path: Path, run_node: Node) -> None:
    web = tmp_path / "web"
    shutil.copytree(ROOT / "web" / "runner", web / "runner")
    example = web / "examples" / "classifier"
    shutil.copytree(ROOT / "web" / "examples" / "classifier", example, ignore=shutil.ignore_patterns("model"))
    script = [sys.executable, ROOT / "web" / "examples" / "classifier" / "make_model.py", example / "model"]
    subprocess.run(script, check=True, timeout=120, env=os.environ | {"PYTHONPATH": str(ROOT)})
    for name, colour in (("red", (220, 30, 30)), ("blue", (40, 80, 220)), ("flag", (255, 255, 255))):
        picture = Image.new("RGB", (64, 64), colour)
        if name == "flag":
            picture.paste((220, 30, 30), (0, 32, 64, 64))
        picture.save(tmp_path / f"{name}.png")
    (tmp_path / "none.png").write_bytes(b"no picture")
    run_node(HERE / "classifier.test.mjs", WEB=web, PICTURES=tmp_path)
