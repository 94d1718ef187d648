"""An ONNX engine: a model file becomes a static plan that NumPy or WebGPU runs.

``Session``, ``ModelFile`` and the error types are all that a user imports. Importing the package loads neither NumPy
nor onnx: they come with the first name that needs them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.errors import BackendError, EngineError, InputError, ModelError, UnsupportedError

if TYPE_CHECKING:
    from engine.graph.model_file import ModelFile as ModelFile
    from engine.session import Session as Session
    from engine.session import SessionInfo as SessionInfo
    from engine.session import TensorInfo as TensorInfo

__all__ = [
    "BackendError",
    "EngineError",
    "InputError",
    "ModelError",
    "ModelFile",
    "Session",
    "SessionInfo",
    "TensorInfo",
    "UnsupportedError",
]


def __getattr__(name: str) -> object:
    if name == "ModelFile":
        from engine.graph.model_file import ModelFile

        return ModelFile
    if name in ("Session", "SessionInfo", "TensorInfo"):
        import engine.session

        return getattr(engine.session, name)
    raise AttributeError(f"module 'engine' has no attribute '{name}'")
