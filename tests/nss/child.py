"""A process of its own that imports this tree."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.project import ROOT


def run_child(
    command: Sequence[object], *, folder: Path, timeout_s: float = 60, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a command in ``folder``, with the built-in model only, and ``environment`` over that of this process."""
    models = str(folder / "no models")
    offline = {"NSS_MODEL_DIR": models, "HF_HOME": models, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [str(argument) for argument in command],
        cwd=folder,
        env={**os.environ, **offline, **environment},
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
