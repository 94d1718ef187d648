"""The table of files and operators is complete, and a file is imported only when one of its operators is looked up."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import pytest

import engine.ops
from engine.ops import lookup, operators
from engine.ops.files import FILE_OF, FILES
from tests.project import ROOT


def test_the_table_has_every_operator_that_any_file_registers() -> None:
    for entry in pkgutil.iter_modules(engine.ops.__path__):
        importlib.import_module(f"engine.ops.{entry.name}")
    assert {entry.op for entry in operators()} == set(FILE_OF)


@pytest.mark.parametrize("file", FILES)
def test_a_file_names_the_operators_that_the_table_gives_it(file: str) -> None:
    source = (ROOT / "engine" / "ops" / f"{file}.py").read_text(encoding="utf-8")
    assert [op for op in FILES[file].split() if f'"{op}"' not in source] == []


def test_what_is_not_looked_up_is_not_imported() -> None:
    script = """if True:
        import sys
        from engine.ops import lookup, operators
        assert lookup("", "Tanh", 13) and lookup("", "Convolution", 13) is None
        print("engine.ops.unary" in sys.modules, "engine.ops.resize" in sys.modules)
        print(len(operators()))
    """
    process = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert process.stdout.split() == ["True", "False", str(len(operators()))]


def test_versions_are_told_apart() -> None:
    assert lookup("", "Gelu", 19) is None
    assert lookup("", "Gelu", 20) is not None
