"""What can go wrong in the engine, as one family of one-line errors.

Every message says what is wrong, with what, and what to do about it; a caller may print ``str(error)`` as it is.
"""


class EngineError(Exception):
    """Base class of every error that the engine raises on purpose."""


class ModelError(EngineError):
    """The model file cannot be read, or is not a valid ONNX graph."""


class UnsupportedError(ModelError):
    """The graph is valid, but holds something the engine cannot run; raised before anything runs."""


class InputError(EngineError):
    """An array or a shape handed to a session does not fit the model."""


class BackendError(EngineError):
    """The backend or precision that was asked for does not exist or cannot run here."""
