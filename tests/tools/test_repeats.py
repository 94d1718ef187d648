"""Pairs of places that repeat each other's lines, counted in texts where they are known."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tools.repeats import python_lines, repeats, tracked_files, wgsl_lines

SIX = "".join(f"{name} = f({name})\n" for name in "abcdef")
MORE = "".join(f"{name} = g({name})\n" for name in "ghijklm")


def pairs(*texts: str) -> list[str]:
    files = {f"{number}.py": python_lines(text) for number, text in enumerate(texts)}
    return [f"{one} ~ {other}" for one, other in repeats(files)]


def test_six_equal_lines_are_a_pair_and_five_are_none() -> None:
    assert pairs(SIX, f"x = 1\n{SIX}") == ["0.py:1-6 ~ 1.py:2-7"]
    assert pairs(SIX, SIX.replace("f = f(f)", "z = f(f)")) == []


def test_blank_lines_comments_imports_and_white_space_do_not_count() -> None:
    indented = "import a\n\nif x:\n" + "".join(f"\n    # why\n    {line}\n" for line in SIX.splitlines())
    assert pairs(SIX, indented) == ["0.py:1-6 ~ 1.py:6-21"]
    imports = "from a import (\n" + "".join(f"    {name},\n" for name in "abcdef") + ")\n"
    assert pairs(imports, imports) == []


def test_windows_that_overlap_are_one_pair() -> None:
    assert pairs(SIX + MORE, f"{SIX}{MORE}x = 1\n") == ["0.py:1-13 ~ 1.py:1-13"]


def test_passages_with_something_else_between_are_pairs_of_their_own() -> None:
    assert pairs(f"{SIX}x = 1\n{MORE}", f"{SIX}y = 1\n{MORE}") == ["0.py:1-6 ~ 1.py:1-6", "0.py:8-14 ~ 1.py:8-14"]


def test_a_passage_in_three_places_makes_three_pairs() -> None:
    assert pairs(f"{SIX}x = 1\n{SIX}", SIX) == ["0.py:1-6 ~ 0.py:8-13", "0.py:1-6 ~ 1.py:1-6", "0.py:8-13 ~ 1.py:1-6"]


def test_a_line_that_goes_on_repeating_is_no_pair_with_itself() -> None:
    assert pairs("x += 1\n" * 11) == []
    assert len(pairs("x += 1\n" * 12)) == 1


def test_comments_of_a_shader_do_not_count() -> None:
    text = "{# one\n   two #}\n// three\nlet a = 1;  {# four #}\n{% if x %}\n"
    assert wgsl_lines(text) == [(4, "let a = 1;"), (5, "{% if x %}")]


def test_only_tracked_files_of_the_rooms_are_read(tmp_path: Path) -> None:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    for path in ("engine/a.py", "shaders/a.wgsl", "docs/a.py", "engine/a.md", "engine/untracked.py"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text("x = 1\n")
    subprocess.run(["git", "-C", str(tmp_path), "init", "-q"], check=True)
    subprocess.run(["git", "-C", str(tmp_path), "add", "docs", "engine/a.py", "engine/a.md", "shaders"], check=True)
    assert tracked_files(tmp_path) == {"engine/a.py": [(1, "x = 1")], "shaders/a.wgsl": [(1, "x = 1")]}
