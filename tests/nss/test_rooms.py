"""Rooms of ``nss``: each imports only those above it, and no file imports itself round a circle."""

from __future__ import annotations

import re

import engine
from tests.project import ROOT, imports, imports_within, in_circles, modules

NSS = ROOT / "nss"

ROOMS = (
    *("errors", "sizes", "timing", "notices", "pipes", "early_signals", "stop_signals"),
    *("arrays", "photos", "masks", "files", "cutouts", "interfaces", "models"),
    *("pipeline", "removal", "web", "evaluation", "workers", "batch", "ray", "serve", "compat", "cli"),
)
"""From the top down: a room, or a file that is none's, imports only what stands before it, and itself."""

FACES = {"nss", "nss.__main__"}
"""What a program or a shell starts with; they lead into every room, and no room comes back to them."""


def room(name: str) -> int:
    return ROOMS.index(name.split(".")[1])


def test_every_file_is_in_a_room() -> None:
    assert {name.split(".")[1] for name in modules("nss") if name not in FACES} == set(ROOMS)
    assert [path.name for path in NSS.rglob("__init__.py") if not path.read_text("utf-8").startswith('"""')] == []


def test_a_room_imports_only_rooms_above_it() -> None:
    names = modules("nss")
    upwards = [
        f"{path.relative_to(ROOT)}:{line} imports {other}"
        for name, path in names.items()
        if name not in FACES
        for line, other in imports_within(path, names)
        if other in FACES or room(other) > room(name)
    ]
    assert upwards == []


def test_no_file_imports_itself_round_a_circle() -> None:
    names = modules("nss")
    edges = {name: {other for _, other in imports_within(path, names)} for name, path in names.items()}
    del edges["nss"]  # which names what programs import from every room
    assert in_circles(edges) == [], "these import each other, or what does"


def test_of_the_engine_only_public_names_are_used() -> None:
    public = {"engine", "engine.version", "engine.version.__version__", *(f"engine.{name}" for name in engine.__all__)}
    private = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in modules("nss").values()
        for line, name in imports(path)
        if name.split(".")[0] in ("engine", "shaders") and name not in public
    ]
    assert private == []


def test_the_page_has_a_row_for_each_room_in_this_order() -> None:
    section = (ROOT / "docs" / "architecture.md").read_text("utf-8").split("## Rooms of nss")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`nss.+?) \|", section, re.MULTILINE)
    assert list(dict.fromkeys(name for row in rows for name in re.findall(r"nss/(\w+)", row))) == list(ROOMS)


def test_a_breach_would_be_seen() -> None:
    names = modules("nss")
    targets = {name for _, name in imports_within(NSS / "removal" / "remover.py", names)}
    assert {"nss.photos.image_io", "nss.masks.refine", "nss.errors"} <= targets
    assert room("nss.removal.remover") > room("nss.photos.image_io")
