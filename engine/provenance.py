"""What decides the last bits of a run, beside the engine itself: libraries, BLAS, and the driver of a GPU."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from engine.cpu import blas
from engine.gpu.device.adapters import adapters
from engine.gpu.device.implementations import IMPLEMENTATIONS


def environment(backend: str | None = None, device: str | None = None) -> dict[str, str]:
    """The versions that a result depends on, by the name of what they are versions of.

    Args:
        backend: the backend that ran, as ``SessionInfo`` has it; None where no network ran.
        device: what it ran on, as ``SessionInfo`` has it.

    Returns:
        ``"numpy"`` and ``"blas"`` (its name, version and kernels, where they are known); where a network ran,
        ``"onnx"``; where it ran on ``"webgpu"``, the package of the implementation (``"wgpu"`` or ``"wgpudawn"``) and
        ``"driver"``.
    """
    versions = {"numpy": _version("numpy"), "blas": blas.libraries() or "unknown"}
    if backend is None:
        return versions
    versions["onnx"] = _version("onnx")
    if backend == "webgpu":
        # equal cards have one description and one driver
        adapter = next((adapter for adapter in adapters() if str(adapter) == device), None)
        if adapter is not None:
            package = IMPLEMENTATIONS[adapter.implementation].package
            versions |= {package: _version(package), "driver": adapter.driver or "unknown"}
    return versions


def _version(package: str) -> str:
    """The version of an installed package; "unknown" where it comes without its metadata, as in a bundle."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
