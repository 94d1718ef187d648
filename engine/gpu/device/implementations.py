"""The implementations of WebGPU, in the order in which they are tried and listed."""

from __future__ import annotations

import importlib.util
import threading

from engine.forks import in_child
from engine.gpu.device.base import Implementation
from engine.gpu.device.dawn import Dawn
from engine.gpu.device.wgpu import Wgpu

IMPLEMENTATIONS: dict[str, Implementation] = {each.name: each for each in (Dawn(), Wgpu())}
"""By name. Dawn starts sooner, and has matrix units."""

_library_lock = threading.RLock()


def _renew_lock() -> None:
    global _library_lock
    _library_lock = threading.RLock()


in_child(_renew_lock)


def library_lock() -> threading.RLock:
    """The lock for what belongs to a whole implementation: listing adapters, opening devices.

    A thread that holds a device's lock does not acquire this one.
    """
    return _library_lock


def installed_implementations() -> list[str]:
    """The names of the implementations whose package is installed."""
    return [name for name, each in IMPLEMENTATIONS.items() if importlib.util.find_spec(each.package)]


def package_version(name: str) -> str:
    """The package of an implementation and its version, as one text."""
    from importlib.metadata import PackageNotFoundError, version

    package = IMPLEMENTATIONS[name].package
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:  # in a bundle
        return f"{package} unknown"
