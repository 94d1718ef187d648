"""The pages lead where they say: links, names of files and modules, licences; and the README is one screen."""

from __future__ import annotations

import importlib.util
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from nss.models.catalogue import CATALOGUE
from nss.models.weights.transfer import format_size
from tests.guide import GUIDE, steps
from tests.project import ROOT, project_files

SCREEN = 80
"""Lines that the README may have."""

PLACES = ("engine", "nss", "shaders", "tests", "tools", "docs", ".ci")
"""Where a name with a slash in it leads to when it begins with one of these."""

PAGES = sorted({*ROOT.glob("*.md"), *(path for place in PLACES for path in project_files(place, "*.md"))})
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^(```|~~~).*?^\1$", re.MULTILINE | re.DOTALL)

NOT_MODULES = {"nss.interface"}
"""Keys of an ONNX file's metadata."""


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


every_page = pytest.mark.parametrize("page", PAGES, ids=name_of)


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return FENCE.sub("", page.read_text("utf-8"))


def links(page: Path) -> list[str]:
    return LINK.findall(re.sub(r"`[^`]*`", "", prose(page)))


def anchors(page: Path) -> set[str]:
    """The anchors that the headings of a page get: small letters, no punctuation, hyphens, a number for repetitions."""
    names: Counter[str] = Counter()
    result = set()
    for heading in re.findall(r"^#{1,6} (.+)$", prose(page), re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        text = re.sub(r"[^\w\- ]", "", words).strip().replace(" ", "-")
        result.add(f"{text}-{names[text]}" if names[text] else text)
        names[text] += 1
    return result


def modules() -> dict[str, list[str]]:
    """The dotted names of the files of ``nss`` and ``engine``, by their last word."""
    names: dict[str, list[str]] = {}
    for path in [*(ROOT / "nss").rglob("*.py"), *(ROOT / "engine").rglob("*.py")]:
        names.setdefault(path.stem, []).append(".".join(path.relative_to(ROOT).with_suffix("").parts))
    return names


def words_in_code(page: Path) -> Iterator[str]:
    """What stands in backticks within the prose."""
    yield from re.findall(r"`([^`\n]+)`", prose(page))


def leads_somewhere(link: str, page: Path) -> bool:
    """Whether a link of a page leads to a file of the project, and to a heading of it; of a URL its form counts."""
    url = urlsplit(link)
    if url.scheme:
        return url.scheme in ("http", "https") and bool(url.netloc)
    target = (page.parent / unquote(url.path)).resolve() if url.path else page
    if not target.is_relative_to(ROOT) or not target.exists():
        return False
    return not url.fragment or url.fragment in anchors(target)


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    assert [link for link in links(page) if not leads_somewhere(link, page)] == []


def test_every_page_is_reached_from_the_readme() -> None:
    visited, ahead = set(), [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page in visited or page.suffix != ".md":
            continue
        visited.add(page)
        paths = [urlsplit(link).path for link in links(page) if not urlsplit(link).scheme]
        ahead += [(page.parent / path).resolve() for path in paths if path]
    assert [name_of(page) for page in PAGES if page not in visited] == []
    index = ROOT / "docs" / "README.md"
    indexed_pages = {index, *((ROOT / "docs" / link).resolve() for link in links(index))}
    assert [name_of(page) for page in (ROOT / "docs").rglob("*.md") if page not in indexed_pages] == []


@cache
def files_of_the_tree() -> set[str]:
    """Every file beside those that no one looks at, and those that the worked examples make."""
    examples = {step.path for page in GUIDE for step in steps((ROOT / page).read_text("utf-8"))}
    files = {path for place in PLACES for path in project_files(place)} | set(ROOT.iterdir())
    return examples | {path.relative_to(ROOT).as_posix() for path in files if path.is_file()}


def paths_in(word: str) -> Iterator[str]:
    """The names of files in what stands in backticks, which may be a command."""
    for part in word.split():
        path = re.sub(r"(::.*|[.,:;]+)$", "", part)
        is_place = "/" in path and path.split("/")[0] in PLACES and re.fullmatch(r"\.?\w[\w./-]*", path)
        if is_place or re.fullmatch(r"[\w./]+\.(py|wgsl)", path):
            yield path.rstrip("/")


@every_page
def test_files_that_are_named_exist(page: Path) -> None:
    files = files_of_the_tree()
    paths = [path for word in words_in_code(page) for path in paths_in(word)]
    folders = {parent.as_posix() for name in files for parent in Path(name).parents}
    # a bare name is that of any file
    assert [path for path in paths if not any(f"/{name}".endswith(f"/{path}") for name in files | folders)] == []


def is_lost(word: str, names: dict[str, list[str]]) -> bool:
    """Whether a word is the name of a module, with or without attributes, and nothing of that name is there."""
    parts = re.sub(r"\(.*\)$", "", word).split(".")
    if word in NOT_MODULES or len(parts) < 2 or not all(part.isidentifier() for part in parts):
        return False
    if parts[0] in ("nss", "engine"):
        return not any(resolves(parts[:depth], parts[depth:]) for depth in range(len(parts), 0, -1))
    if parts[-1] in ("py", "wgsl", "onnx", "json"):
        return False
    return parts[0] in names and not any(resolves(name.split("."), parts[1:]) for name in names[parts[0]])


@every_page
def test_modules_that_are_named_exist(page: Path) -> None:
    names = modules()
    assert [word for word in words_in_code(page) if is_lost(word, names)] == []


def resolves(module: list[str], attributes: list[str]) -> bool:
    """Whether the module is there and has, one in the other, the attributes."""
    try:
        if importlib.util.find_spec(".".join(module)) is None:
            return False
        value = importlib.import_module(".".join(module))
        for attribute in attributes:
            value = getattr(value, attribute)
    except (ImportError, AttributeError):
        return False
    return True


def test_the_room_tables_name_every_file_of_nss() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| `(nss/[\w/]+)/` \| (.+) \|$", text, re.MULTILINE))
    for room, words in rows.items():
        model_names = set(re.findall(r"`(\w+)(?:\.\w+)?/?`", words))
        entries = {path.stem for path in (ROOT / room).glob("*.py") if path.stem != "__init__"}
        assert model_names <= entries | {path.name.split(".")[0] for path in (ROOT / room).iterdir()}, room
        if room != "nss/cli":
            assert entries <= model_names, room


@pytest.mark.parametrize("name", ["README.md", "docs/models.md"])
def test_models_have_the_size_and_the_licence_of_the_catalogue(name: str) -> None:
    model_names = []
    for row in re.findall(r"^\| `.* \|$", (ROOT / name).read_text("utf-8"), re.MULTILINE):
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        specs = [CATALOGUE[word] for word in re.findall(r"`([\w.-]+)`", cells[0]) if word in CATALOGUE]
        if not specs or len(cells) < 5:
            continue
        model_names += [spec.name for spec in specs]
        assert {spec.licence for spec in specs} == {cells[3]}, row
        assert {spec.commercial for spec in specs} == {cells[4].split(":")[0]}, row
        sizes = [f"{number} {cells[1].split()[-1]}" for number in re.findall(r"[\d.]+", cells[1])]
        assert sizes in ([format_size(spec.size) for spec in specs], [] if specs[0].size is None else None), row
    assert {"u2netp", "isnet-general-use", "birefnet-general", "rmbg-1.4", "rmbg-2.0"} <= set(model_names)


def test_the_readme_is_one_screen_and_has_the_two_commands_of_ci() -> None:
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert len(lines) <= SCREEN
    commands = [line for line in lines if line.startswith("python3 -m venv")]
    assert len(commands) == 2
    assert commands[0].endswith(" remove examples/astronaut.png")
    assert " -m pytest " in commands[1]


def test_a_broken_link_would_be_seen(tmp_path: Path) -> None:
    page = ROOT / "README.md"
    assert not any(
        leads_somewhere(link, page) for link in ("none.md", "#none", "docs/README.md#none", "ftp:x", "http:x")
    )
    assert list(paths_in("python tools/none.py -m none.py")) == ["tools/none.py", "none.py"]
    assert [
        word for word in ("engine.none", "nss.none.x", "load.none", "load.load", "x.y") if is_lost(word, modules())
    ] == [
        "engine.none",
        "nss.none.x",
        "load.none",
    ]
    page = tmp_path / "page.md"
    page.write_text("# A: `b`, c\n\n## A b c\n[x](none.md) `[no](link.md)`\n\n```\n[no](code.md)\n```\n", "utf-8")
    assert links(page) == ["none.md"]
    assert anchors(page) == {"a-b-c", "a-b-c-1"}
