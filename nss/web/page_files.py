"""The files of the page and of its modules: where they are, and which of them a site gets.

They stand in ``web/`` of the source tree. A wheel has the same folder within this package, as pyproject.toml says.
"""

from __future__ import annotations

from pathlib import Path

from nss.errors import NssError

SUFFIXES = {".css", ".html", ".json", ".mjs", ".png", ".svg", ".webmanifest"}
"""Endings of files that a browser asks for; texts about them, such as a README, stay where they are."""

LEFT_OUT = {"examples", "package.json", "node_modules"}
"""Names of folders and files that are there for programmers."""

MODULES = {"runner", "image"}
"""Folders of modules that a page of somebody's own imports, too."""

_WHEEL = Path(__file__).parent / "files"
_TREE = Path(__file__).parents[2]


def base() -> Path:
    """The folder that holds ``web/`` and ``LICENSE``: within the package in a wheel, else the source tree."""
    return _WHEEL if _WHEEL.is_dir() else _TREE


def page_files(*, page: bool = True) -> dict[str, Path]:
    """The files of a site by their paths in it, sorted; without ``page`` only the modules, for other pages.

    Raises NssError where they are not there.
    """
    web = base() / "web"
    files = {
        path.relative_to(web).as_posix(): path
        for path in sorted(web.rglob("*"))
        if path.suffix in SUFFIXES and path.is_file() and _is_for_visitors(path.relative_to(web).parts, page=page)
    }
    if not files:
        raise NssError(f"{web}: the files of the page are not there: reinstall nss-wgpu")
    return files


def licence_text() -> str:
    """The Apache License, Version 2.0, under which nss-wgpu is. Raises NssError where it is not there."""
    path = base() / "LICENSE"
    try:
        return path.read_text("utf-8").lstrip("\n")
    except OSError as error:
        raise NssError(f"{path}: cannot be read ({error.strerror or error}): reinstall nss-wgpu") from error


def _is_for_visitors(parts: tuple[str, ...], *, page: bool) -> bool:
    hidden = any(part.startswith(".") or part in LEFT_OUT for part in parts)
    return not hidden and (page or parts[0] in MODULES)
