"""Help texts: sections in one order, every option in one of them, readable at 80 columns."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from nss.cli.help_sections import ARGUMENTS, COMMON, SECTIONS
from tests.nss.cli.command_line import hidden_options, options, shown_options
from tests.nss.conftest import Outcome
from tests.project import ROOT

Command = Callable[..., Outcome]
SECTIONED = ("remove", "preview", "export-web", "bench", "parity")


@pytest.mark.parametrize("name", SECTIONED)
def test_every_option_is_in_one_section(command: Command, name: str) -> None:
    sections = shown_options(command(name, "--help").out)
    assert list(sections) == [title for title in SECTIONS if title in sections]
    assert ARGUMENTS in sections
    assert sorted(option for section in sections.values() for option in section) == sorted(options(name))


@pytest.mark.parametrize("name", SECTIONED)
def test_a_dozen_comes_first(command: Command, name: str) -> None:
    first, second, *_ = shown_options(command(name, "--help").out).items()
    assert first == (ARGUMENTS, [])
    assert second[0] == COMMON
    common = set(second[1]) - {"--help"}
    assert len(common) <= 12
    if name in ("remove", "preview"):
        assert {"--output", "--model", "--mode", "--background", "--crop", "--exists", "--recursive"} <= common


@pytest.mark.parametrize("name", SECTIONED)
@pytest.mark.parametrize("columns", [80, 120])
def test_no_line_is_longer_than_the_terminal(
    command: Command, monkeypatch: pytest.MonkeyPatch, name: str, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = command(name, "--help").out
    assert max(map(len, lines)) <= columns
    assert len(lines) > 30


def test_the_old_names_of_exists_are_said_once(command: Command) -> None:
    for name in ("remove", "preview"):
        text = " ".join(" ".join(command(name, "--help").out).split())
        assert "--overwrite, --skip-existing and --rename are --exists overwrite, skip and rename." in text
        assert {"--overwrite", "--skip-existing", "--rename"} <= hidden_options(name)


def test_no_help_text_imports_anything_heavy() -> None:
    heavy = {"numpy", "PIL", "onnx", "rich", "wgpu", "huggingface_hub", "isal", "zlib_ng"}
    script = f"""
import sys
from nss.cli.main import main
main(["check", "--help"])
typers_own = {{"rich"}} & set(sys.modules)  # typer 0.19 imports it to mark a required argument
statuses = [main([name, "--help"]) for name in {SECTIONED}]
print(statuses, sorted(({heavy} & set(sys.modules)) - typers_own), file=sys.stderr)
"""
    process = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert process.stderr == f"{[0] * len(SECTIONED)} []\n"
