"""Command lines that cannot be taken: one line that names what is wrong, and the command whose help says more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.nss.conftest import Outcome

Run = Callable[..., Outcome]


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (("--guided", "abc"), "--guided"),
        (("--crop", "1.5"), "--crop"),
        (("--jobs", "0"), "--jobs"),
        (("--max-pixels", "x"), "--max-pixels"),
        (("--backend", "tpu"), "--backend"),
    ],
)
def test_a_wrong_value_is_named(command: Run, arguments: tuple[str, str], option: str) -> None:
    outcome = command("remove", "photo.jpg", *arguments)
    assert outcome.status == 2
    (line,) = outcome.err
    assert option in line
    assert arguments[1] in line.split(option, 1)[1]
    assert "Input should" not in line
    assert line.endswith(" See `nss-wgpu remove --help`.")


def test_a_value_out_of_range_is_told_the_range(command: Run) -> None:
    (line,) = command("serve", "--port", "99999").err
    assert "99999" in line
    assert "65535" in line
    (line,) = command("parity", "u2netp", "--rtol", "-1").err
    assert "-1" in line


@pytest.mark.parametrize(
    ("arguments", "help_of"),
    [
        (("remove", "photo.jpg", "--model"), "nss-wgpu remove"),
        (("serve", "--watch", "in"), "nss-wgpu serve"),
        (("bench",), "nss-wgpu bench"),
        (("--nothing",), "nss-wgpu"),
    ],
)
def test_the_help_that_is_named_is_the_commands(command: Run, arguments: tuple[str, ...], help_of: str) -> None:
    outcome = command(*arguments)
    assert outcome.status == 2
    assert outcome.err[0].endswith(f" See `{help_of} --help`.")


def test_a_question_is_followed_by_no_full_stop(command: Run) -> None:
    (line,) = command("remov").err
    assert "'remov'" in line
    assert "?." not in line
    assert ".." not in line


def test_a_photo_whose_name_is_like_an_option(command: Run, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photo.parent)
    photo.rename("-dash.png")
    outcome = command("remove", "-dash.png")
    assert outcome.status == 2
    assert outcome.err == ["nss-wgpu: -dash.png: is taken for an option; write ./-dash.png for the file of that name"]
    assert command("remove", "./-dash.png").status == 0
    Path("-q").touch()
    for arguments in (("--modle", "x"), ("--jobs", "0")):
        assert arguments[0] in command("remove", "./-dash.png", "-q", *arguments).err[0]
