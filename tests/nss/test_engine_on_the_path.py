"""Other packages bring a top-level ``engine`` too: where Python finds one of these first, ``import nss`` says so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.project import ROOT


def run_program(program: str, *path: Path) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.path[:0] = sys.argv[1:]; {program}"
    command = [sys.executable, "-c", code, *map(str, path)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": ""})


@pytest.mark.parametrize("form", ["engine.py", "engine/__init__.py"])
@pytest.mark.parametrize(
    "program", ["import nss", "import engine, nss", "import nss.cli.main", "from nss import remove"]
)
def test_another_engine_is_named_in_one_sentence(tmp_path: Path, form: str, program: str) -> None:
    other = tmp_path / form
    other.parent.mkdir(exist_ok=True)
    other.write_text("print('engine of another package')")
    process = run_program(program, tmp_path, ROOT)
    last = process.stderr.splitlines()[-1]
    assert process.returncode == 1
    assert last.startswith(
        f"ImportError: nss needs the package 'engine' that comes with it in {ROOT}, and Python finds"
    )
    assert str(other) in last
    # it does not run unless the program itself imports it
    assert ("another package" in process.stdout) == (program == "import engine, nss")


@pytest.mark.parametrize("script", [False, True])
def test_the_command_says_it_without_a_traceback(tmp_path: Path, script: bool) -> None:
    (tmp_path / "engine.py").touch()
    command = tmp_path / "nss-wgpu"
    command.write_text("import sys; from nss.__main__ import main; sys.exit(main())")
    process = subprocess.run(
        [sys.executable, *([command] if script else ["-m", "nss"]), "--version"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={"PATH": "", "PYTHONPATH": str(ROOT)},
    )
    (line,) = process.stderr.splitlines()
    assert (process.returncode, process.stdout) == (2, "")
    assert line.startswith("nss-wgpu: nss needs the package 'engine' that comes with it")


def test_one_that_comes_later_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "engine.py").write_text("raise RuntimeError")
    process = run_program("import nss, engine; print(engine.__version__ == nss.__version__)", ROOT, tmp_path)
    assert (process.stdout, process.stderr) == ("True\n", "")


def test_a_folder_of_that_name_that_is_no_package_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "engine").mkdir()
    process = run_program("import nss; print(nss.__version__)", tmp_path, ROOT)
    assert process.stderr == ""


def test_a_link_to_the_tree_is_the_tree(tmp_path: Path) -> None:
    try:
        (tmp_path / "link").symlink_to(ROOT)
    except OSError as error:
        pytest.skip(f"no symbolic links can be made here: {error}")
    process = run_program("import nss; print(nss.__version__)", tmp_path / "link")
    assert process.stderr == ""
