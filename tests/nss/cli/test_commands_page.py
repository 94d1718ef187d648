"""docs/commands.md and docs/tuning.md have what the command has: its commands, options, fields of JSON, variables."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from nss.cli.commands.preview import NOT_ON_A_SHEET
from nss.cli.help_sections import ARGUMENTS, COMMON
from tests.nss.cli.command_line import commands, hidden_options, options, shown_options
from tests.nss.conftest import Outcome
from tests.project import ROOT

PAGE = "".join((ROOT / "docs" / name).read_text("utf-8") for name in ("commands.md", "tuning.md"))
Command = Callable[..., Outcome]


def section(title: str) -> str:
    """What stands under a heading of the page, up to the next one of its level or a higher one."""
    heading = re.search(rf"^(#+) {re.escape(title)}$", PAGE, re.MULTILINE)
    assert heading, title
    text = PAGE[heading.end() :]
    end = re.search(rf"^#{{1,{len(heading[1])}}} ", text, re.MULTILINE)
    return text[: end.start()] if end else text


def first_cells(text: str) -> list[str]:
    """What stands in code in the first cell of each row of the tables: names of options without their values."""
    cells = re.findall(r"^\| (`.+?) \| ", text, re.MULTILINE)
    return [re.split(r"[ \\]", name)[0] for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def listed_options(text: str) -> list[str]:
    return [name for name in first_cells(text) if name.startswith("--")]


def own_options(name: str) -> set[str]:
    """All but ``--help``, which the head of the page has."""
    return options(name) - {"--help"}


def test_every_command_has_a_section() -> None:
    commands_page = (ROOT / "docs" / "commands.md").read_text("utf-8")
    assert sorted({name.split()[0] for name in commands()}) == sorted(
        re.findall(r"^\| \[`([\w-]+)`\]\((?:tuning\.md)?#\1\)", commands_page, re.MULTILINE)
    )
    assert "`nss-wgpu COMMAND --help` (or `-h`)" in PAGE
    for name in commands():
        assert section(name)


@pytest.mark.parametrize("name", [name for name in commands() if name != "preview"])
def test_the_page_has_the_options_of_each_command(name: str) -> None:
    names = listed_options(section(name))
    assert sorted(names) == sorted(own_options(name))


def test_the_page_has_the_options_of_preview() -> None:
    own, refused = section("preview").split("refused in one line:")
    assert listed_options(refused) == ["--" + name.replace("_", "-") for name in NOT_ON_A_SHEET]
    for name, reason in NOT_ON_A_SHEET.items():
        assert f"| `--{name.replace('_', '-')}` | {reason} |" in refused
    of_remove = set(listed_options(section("remove"))) - {"--on", "--ray-address"}
    assert of_remove - set(listed_options(refused)) | set(listed_options(own)) == own_options("preview")


def test_the_page_has_the_sections_of_the_help(command: Command) -> None:
    sections = shown_options(command("remove", "--help").out)
    del sections[ARGUMENTS]
    sections[COMMON].remove("--help")
    text = section("remove")
    titles = re.findall(r"^### (.+)$", text, re.MULTILINE)
    assert titles == [title.partition(",")[0] for title in sections]
    tables = re.split(r"^### .+$", text, flags=re.MULTILINE)[1:]
    assert [listed_options(table) for table in tables] == list(sections.values())


def test_options_that_the_help_hides_are_named() -> None:
    (row,) = [line for line in section("remove").splitlines() if "`--exists fail" in line]
    assert all(f"`{name}`" in row for name in hidden_options("remove"))


def test_the_page_has_the_fields_of_json(command: Command, photo: Path) -> None:
    fields = first_cells(section("JSON"))
    for name in ("remove", "preview"):
        (line,) = command(name, photo, "--json", "--dry-run").out
        assert sorted(json.loads(line)) == sorted(fields)


@pytest.mark.parametrize(("name", "arguments"), [("models info", ["u2netp"]), ("devices", [])])
def test_the_page_has_the_fields_of_other_commands(command: Command, name: str, arguments: list[str]) -> None:
    record = json.loads("\n".join(command(*name.split(), *arguments, "--json").out))
    text = section(name)
    assert [key for key in record if f"`{key}`" not in text] == []
    assert [key for adapter in record.get("adapters", []) for key in adapter if f"`{key}`" not in text] == []


def test_the_page_has_the_variables_of_the_project() -> None:
    sources = [path.read_text("utf-8") for path in (ROOT / "nss").rglob("*.py")]
    variables = {name for text in sources for name in re.findall(r'"(NSS_[A-Z_]+)"', text)}
    assert variables == {name for name in first_cells(section("Environment variables")) if name.startswith("NSS_")}
