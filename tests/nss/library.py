"""Which files are the library, and which the command's."""

from __future__ import annotations

from pathlib import Path

import nss
from tests.project import ROOT, imports

PUBLIC = ("nss/__init__.py", "nss/compat")
"""What a program imports; all that this imports is the library, and every other file of ``nss`` is the command's."""


def library() -> set[Path]:
    files: set[Path] = set((ROOT / "engine").rglob("*.py"))
    pending = [f for name in PUBLIC for f in ([ROOT / name] if name.endswith(".py") else (ROOT / name).rglob("*.py"))]
    pending += [(ROOT / "nss").joinpath(*module.split(".")).with_suffix(".py") for module in nss._MODULES.values()]
    while pending:
        path = pending.pop()
        if path in files:
            continue
        files.add(path)
        for _, name in imports(path):
            stem = ROOT.joinpath(*name.split("."))
            pending += [f for f in (stem.with_suffix(".py"), stem / "__init__.py") if name[:3] == "nss" and f.is_file()]
    return files
