"""Files that options name, beside what a command prints: refused before any work, with the documented status."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.nss.conftest import Outcome

COMMANDS = {"--trace": "bench", "--record": "tune"}


@pytest.mark.parametrize("option", COMMANDS)
@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("none/x.json", "{option} none/x.json: the directory none does not exist; create it first"),
        ("file/x.json", "{option} file/x.json: the directory file does not exist; create it first"),
        ("folder", "{option} folder: is a directory; name a file in it"),
        ("new/", "{option} new/: is a directory; name a file in it"),
        (".", "{option} .: is a directory; name a file in it"),
        ("", "{option} is empty; give the name of a file, or leave it out"),
    ],
)
def test_what_no_file_can_be_called_is_a_matter_of_usage(
    command: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, name: str, line: str
) -> None:
    """The model is not looked at: ``none.onnx`` is not there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    outcome = command(COMMANDS[option], "none.onnx", option, name)
    assert (outcome.status, outcome.err) == (2, [f"nss-wgpu: {line.format(option=option)}"])


@pytest.mark.parametrize("option", COMMANDS)
def test_the_model_itself_is_never_written(command: Callable[..., Outcome], small: Path, option: str) -> None:
    content = small.read_bytes()
    outcome = command(COMMANDS[option], small, option, small)
    assert (outcome.status, len(outcome.err)) == (2, 1)
    assert "is the input itself" in outcome.err[0]
    assert small.read_bytes() == content
