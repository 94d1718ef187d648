"""The processor and the BLAS that NumPy multiplies with, for reports: they decide how fast a run can be."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

from engine.forks import numerics


def describe(threads: int) -> str:
    """The processor, the threads and the BLAS kernels in use, for a report."""
    names = (f"{info['internal_api']} {info.get('architecture', '')}".strip() for info in _libraries())
    blas = ", ".join(names)
    plural = "s" if threads > 1 else ""
    return f"{_processor()}, {threads} thread{plural}, {blas or 'unknown BLAS'}"


def libraries() -> str:
    """NumPy's BLAS with its version and kernels; empty where none is known."""
    parts = ([info["internal_api"], info.get("version"), info.get("architecture")] for info in _libraries())
    return ", ".join(" ".join(filter(None, part)) for part in parts)


def multiplies_in_place() -> bool:
    """Whether small matrices are multiplied where they lie: OpenBLAS's kernels for AVX-512 do, others pack them first,
    which takes a few times as long as the product."""
    return any(info.get("architecture") in ("SkylakeX", "Cooperlake", "SapphireRapids") for info in _libraries())


def _libraries() -> Sequence[dict[str, Any]]:
    """NumPy's, where it brings its own: other packages, such as SciPy, bring others into the process. Else all."""
    return own_libraries() or _loaded()


@cache
def own_libraries() -> tuple[dict[str, Any], ...]:
    """The BLAS libraries that NumPy brings, loaded with it; to look for them takes as long as to open a session."""
    package = Path(np.__file__).parent
    folders = (package, package.with_name("numpy.libs"))
    return tuple(info for info in _loaded() if any(Path(info["filepath"]).is_relative_to(each) for each in folders))


def _loaded() -> list[dict[str, Any]]:
    with numerics.shared():
        return [info for info in threadpool_info() if info.get("user_api") == "blas"]


@cache
def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or "CPU"
