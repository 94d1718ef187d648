"""The models that rembg keeps on this machine: found by name, and never changed.

rembg has moved: ``<home>/models/<name>/<name>.onnx`` today, ``<name>.onnx`` in ``~/.u2net`` before. ``U2NET_HOME`` and
``XDG_DATA_HOME`` move both, ``REMBG_HOME`` the first.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nss.models.catalogue import ModelSpec


def find(spec: ModelSpec) -> Path | None:
    """rembg's file of ``spec``; None where there is none, or it may not be looked at. Does not look into it."""
    if spec.rembg is None:
        return None
    for path in (_home() / "models" / spec.rembg / f"{spec.rembg}.onnx", _old_home() / f"{spec.rembg}.onnx"):
        with suppress(OSError):  # another program's folder, which may be anything
            if path.is_file():
                return path
    return None


def _home() -> Path:
    if os.environ.get("U2NET_HOME"):
        return _old_home()
    data = os.environ.get("XDG_DATA_HOME")
    return _expand_home(os.environ.get("REMBG_HOME") or (f"{data}/rembg" if data else "~/.rembg"))


def _old_home() -> Path:
    return _expand_home(os.environ.get("U2NET_HOME") or f"{os.environ.get('XDG_DATA_HOME') or '~'}/.u2net")


def _expand_home(path: str) -> Path:
    return Path(os.path.expanduser(path))  # noqa: PTH111 - which does not raise where there is no such home
