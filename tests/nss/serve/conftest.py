"""What all tests of the server share."""

from __future__ import annotations

import os

import pytest

from nss.batch.processes import VARIABLE


@pytest.fixture(autouse=True)
def _threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker processes, however many cores there are: a test that is about them says so."""
    if VARIABLE not in os.environ:
        monkeypatch.setenv(VARIABLE, "threads")
