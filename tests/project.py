"""The project's folder, and what its files import, for tests that look at the source."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
"""The folder of the project."""


def project_files(folder: str, pattern: str = "*") -> list[Path]:
    """The files of a folder of the project, to the bottom, that match; those that npm has installed are others'."""
    return [path for path in sorted((ROOT / folder).rglob(pattern)) if "node_modules" not in path.parts]


def environment(**variables: str) -> dict[str, str]:
    """The variables of a process that imports this tree, and packages from wherever this one does."""
    paths = [str(ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **variables}


def output_of(script: str, *arguments: str, cwd: Path = ROOT, **variables: str) -> str:
    """What a script prints in a process of its own, with these variables beside those of ``environment``."""
    process = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=cwd,
        env=environment(**variables),
        capture_output=True,
        text=True,
        check=True,
    )
    return process.stdout


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything that a file imports, at its top or within functions."""
    package = path.relative_to(ROOT).parts[:-1]
    for entry in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(entry, ast.Import):
            yield from ((entry.lineno, alias.name) for alias in entry.names)
        elif isinstance(entry, ast.ImportFrom):
            base = ".".join(package[: len(package) - entry.level + 1]) if entry.level else ""
            module = ".".join(filter(None, (base, entry.module)))
            yield entry.lineno, module
            yield from ((entry.lineno, f"{module}.{alias.name}") for alias in entry.names)


def modules(folder: str) -> dict[str, Path]:
    """Every Python file of a folder of the project by its dotted name."""
    names = {}
    for path in sorted((ROOT / folder).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def imports_within(path: Path, names: Mapping[str, Path]) -> Iterator[tuple[int, str]]:
    """Line and name of each of the files ``names`` that a file imports: the file itself, where its name is imported."""
    packages = {name.split(".")[0] for name in names}
    own = [(line, name) for line, name in imports(path) if name.split(".")[0] in packages]
    for line, name in own:
        if name in names:
            # "from nss.photos import image_io" names the room and the file; only the file counts
            if any(other.startswith(f"{name}.") and other in names and at == line for at, other in own):
                continue
            yield line, name
        elif name.rpartition(".")[0] not in names:
            yield line, name


def in_circles(edges: Mapping[str, set[str]]) -> list[str]:
    """What imports itself round a circle, or imports what does; ``edges`` are what each imports."""
    remaining = dict(edges)
    while free := [name for name, others in remaining.items() if not others & remaining.keys() - {name}]:
        for name in free:
            del remaining[name]
    return sorted(remaining)
