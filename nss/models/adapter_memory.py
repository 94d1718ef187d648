"""The engine told where to keep what it finds out about adapters."""

from __future__ import annotations

from contextlib import suppress

import engine
from nss.errors import ModelUnavailableError
from nss.models.weights import model_store


def remember_adapters() -> None:
    """Have the engine remember in the cache folder; a folder that there cannot be is an error where models are kept."""
    with suppress(ModelUnavailableError):
        engine.remember_adapters(model_store.adapter_folder())
