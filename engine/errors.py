"""The errors that the engine raises on purpose, each with a message of one line.

Every message says what is wrong, with what, and what to do about it; a caller may print ``str(error)`` as it is.

The tree of classes::

    EngineError
        ModelError
            UnsupportedError
            MisfitError (engine.ops.registry)
        InputError
        BackendError
            DeviceLostError
            SplitOverflowError (engine.overflow)
            TooLargeError
"""


class EngineError(Exception):
    """The base class.

    Line breaks and control characters in the message are escaped: it may quote names from a damaged or hostile file.
    """

    def __init__(self, message: str) -> None:
        super().__init__("".join(char if char.isprintable() else ascii(char)[1:-1] for char in message))


class ModelError(EngineError):
    """The model file cannot be read, or is not a valid ONNX graph; a compiled model cannot be read or written."""


class UnsupportedError(ModelError):
    """The graph is valid, but holds something the engine cannot run; raised before anything runs."""


class InputError(EngineError):
    """An array or a shape handed to a session does not fit the model, or an argument is of a type that is not taken."""


class BackendError(EngineError):
    """The backend or precision that was asked for does not exist or cannot run here."""


class DeviceLostError(BackendError):
    """The GPU was lost during a run; the work can be repeated on a new session."""


class TooLargeError(BackendError):
    """The model does not fit this machine: a tensor is beyond the adapter's limits, or there is too little memory.

    The memory is the adapter's or the machine's own, where a container's limit and the process's count.
    """
