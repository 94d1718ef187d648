"""The errors of the package, each with the exit status of a command that ends by it.

============================================== ======
class                                          status
============================================== ======
NssError                                       1
  ImageError                                   1
    `nss.files.output_file.ExistsError`        1
    `nss.batch.stages.NothingFoundError`       1
    `nss.photos.image_size.TooManyPixelsError` 1
  UsageError                                   2
    `nss.compat.rembg.ArgumentError`           2
  ModelUnavailableError                        3
  GpuUnavailableError                          4
  `nss.cli.terminal.ReaderGoneError`           141
============================================== ======

Every status of the command stands in ``EXIT_STATUS``, and in docs/commands.md. A signal ends it by
`nss.stop_signals.Terminated`, and leaves no temporary file.

The text of an error is one line: what is wrong, with what, what to do. It names parameters in single quotes;
`nss.cli.option_words` makes options of them.
"""

from __future__ import annotations

TYPE_CHECKING = False  # see nss/__init__.py
if TYPE_CHECKING:
    from typing import ClassVar


def one_line(text: object) -> str:
    """``str(text)`` with each run of white space, line breaks included, as one space."""
    return " ".join(str(text).split())


def quoted(value: object) -> str:
    """A value in double quotes, as JSON has it; single ones are for names of parameters (`nss.cli.option_words`)."""
    import json

    return json.dumps(value, ensure_ascii=False, default=str)


class NssError(Exception):
    """A failure that is reported in one line, without a traceback."""

    exit_code: ClassVar[int] = 1


class ImageError(NssError):
    """An image cannot be read or written."""

    exit_code: ClassVar[int] = 1


class UsageError(NssError):
    """The arguments contradict each other or ask for something impossible."""

    exit_code: ClassVar[int] = 2


class ModelUnavailableError(NssError):
    """A model is missing, refused, corrupt, gated, or out of reach while offline."""

    exit_code: ClassVar[int] = 3


class GpuUnavailableError(NssError):
    """A GPU is required, and no hardware adapter would run the network."""

    exit_code: ClassVar[int] = 4


def check_kind(name: str, value: object, kinds: type | tuple[type, ...], what: str) -> None:
    """Raise UsageError where the value of a parameter is of none of the ``kinds``, which are ``what``."""
    if not isinstance(value, kinds):
        raise UsageError(f"'{name}' is {what}, not {type(value).__name__}")


def check_number(name: str, value: object) -> None:
    """Raise UsageError where the value of a parameter is no real number."""
    from numbers import Real

    if not isinstance(value, Real) or isinstance(value, bool):
        raise UsageError(f"'{name}' {one_line(quoted(value))}: a number is wanted")


EXIT_STATUS = {
    0: "all done",
    1: "some images failed, a check or comparison did not pass, or standard output cannot be written",
    2: "usage",
    3: "the model is missing, refused or too large",
    4: "a GPU is required, and there is none, or it was lost",
    129: "the terminal was closed (SIGHUP)",
    130: "interrupted (SIGINT)",
    141: "the reader of standard output has gone",
    143: "terminated (SIGTERM)",
}
"""Every exit status of ``nss-wgpu``, and what it says."""
