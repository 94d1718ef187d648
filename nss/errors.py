"""Errors that the command reports in one line, and the exit status each one gives.

Exit status of ``nss-wgpu``:

===  ==============================================
  0  everything was done
  1  some images failed, the others were written; a checked file is premultiplied
  2  the command line asks for something impossible
  3  a model is missing or was refused
  4  a GPU is required, and there is none
129  the terminal was closed (SIGHUP)
130  interrupted (SIGINT)
141  standard output was closed by its reader
143  terminated (SIGTERM)
===  ==============================================

An interruption, SIGTERM and SIGHUP leave no temporary file behind. The text of an error is one line: what is wrong,
with what, what to do.
"""

from __future__ import annotations

TYPE_CHECKING = False  # see nss/__init__.py
if TYPE_CHECKING:
    from typing import ClassVar


def one_line(text: object) -> str:
    """``str(text)`` with each run of white space, line breaks included, as one space."""
    return " ".join(str(text).split())


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
