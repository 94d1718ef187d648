"""Models that tools/fetch_models.py fetches, in tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tools import fetch_models


def model_file(name: str) -> Path:
    """The model's file; skips the test where it is not there, or fails it if NSS_REQUIRE_MODELS is 1, as CI sets it."""
    path = fetch_models.folder() / f"{name}.onnx"
    if not path.is_file():
        advice = f"{path} is not there; fetch it with `{fetch_models.COMMAND} {name}`"
        if os.environ.get("NSS_REQUIRE_MODELS") == "1":
            pytest.fail(advice)
        pytest.skip(advice)
    return path
