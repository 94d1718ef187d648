"""The project's folder, and what its files import, for tests that look at the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
"""The folder of the project."""


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
