"""Standard output and standard error, as the command uses them."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

import typer

from nss.errors import NssError, one_line

PROGRAM = "nss-wgpu"


class OutputError(NssError):
    """Standard output cannot be written to."""


class ReaderGoneError(OutputError):
    """Whoever read standard output has closed it: no failure of the command, and nothing to say about it."""

    exit_code = 141  # 128 + SIGPIPE, as shells report it


def complain(line: str) -> None:
    """One line on standard error, whatever a file's name holds; lost where it cannot be written."""
    try:
        print(f"{PROGRAM}: {one_line(line)}", file=sys.stderr, flush=True)
    except OSError:
        sys.stderr = _nowhere()


def notify(line: str) -> None:
    """A notice of the library, in the command's words."""
    from nss.cli.option_words import in_options

    complain(in_options(line))


def escaped(name: object) -> str:
    """A file name without line breaks and other control characters, which become ``\\n`` and the like."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda m: ascii(m[0])[1:-1], str(name))


def describe(failure: Exception, what: str | None = None) -> str:
    """A failure as one line; with NSS_DEBUG set, the traceback of one that no one foresaw goes before it."""
    if isinstance(failure, NssError):
        from nss.cli.option_words import error_in_options

        return error_in_options(failure)
    prefix = f"{what}: " if what else ""
    if isinstance(failure, MemoryError):
        return f"{prefix}not enough memory"
    if os.environ.get("NSS_DEBUG"):
        import traceback

        traceback.print_exception(failure)
    kind = type(failure).__name__
    return f"{prefix}unexpected {kind}: {one_line(failure)} (NSS_DEBUG=1 shows where; please report it)"


def standard_output_is_closed() -> bool:
    """Whether the process was started without standard output, so that what is written there is lost."""
    return isinstance(sys.stdout, _Output) and sys.stdout.was_closed


def write_standard_output(data: bytes | memoryview) -> None:
    """All of a file to standard output. Raises OutputError, as printing does."""
    cast(Any, sys.stdout).write_bytes(data)


def require_command(context: typer.Context) -> None:
    """Show the help on standard error and end with status 2 where no sub-command was given."""
    if context.invoked_subcommand is None:
        print(context.get_help(), file=sys.stderr)
        raise typer.Exit(2)


@contextmanager
def standard_streams() -> Iterator[None]:
    """Make both streams safe to print to: they exist, any file name can be printed, failures are `OutputError`.

    Python's standard error gets a descriptor of its own, so that 2 is left to native code
    (`nss.photos.codec_messages`).
    """
    _fill_closed_descriptors()
    # Where the process was started without a stream, Python has None in its place.
    closed = sys.stdout is None
    sys.stdout = sys.stdout or _nowhere()
    sys.stderr = sys.stderr or _nowhere()
    errors = sys.stderr
    own_errors = _on_another_descriptor(errors)
    sys.stderr = own_errors or errors
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    output = _Output(sys.stdout, closed=closed)
    sys.stdout = cast(TextIO, output)
    try:
        yield
    finally:
        # Python flushes it once more at its end, which would fail again
        sys.stdout = _nowhere() if output.failure else output.stream
        if own_errors is not None:
            sys.stderr = errors
            with suppress(OSError):
                own_errors.close()


class _Output:
    """Standard output whose failures are `OutputError`: the first one, and the same again at every later call."""

    def __init__(self, stream: TextIO, *, closed: bool) -> None:
        self.stream = stream
        self.was_closed = closed
        self.failure: OutputError | None = None

    def write(self, text: str) -> int:
        with self._failing():
            return self.stream.write(text)

    def write_bytes(self, data: bytes | memoryview) -> None:
        with self._failing():
            self.stream.flush()
            self.stream.buffer.write(data)
            self.stream.buffer.flush()

    def flush(self) -> None:
        with self._failing():
            self.stream.flush()

    @contextmanager
    def _failing(self) -> Iterator[None]:
        if self.failure:  # typer tries a stream out first, and swallows what that raises
            raise self.failure
        try:
            yield
        except BrokenPipeError as error:
            self.failure = ReaderGoneError("standard output was closed")
            raise self.failure from error
        except OSError as error:
            self.failure = OutputError(f"cannot write to standard output: {error.strerror or error}")
            raise self.failure from error

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def _fill_closed_descriptors() -> None:
    """Give the numbers of standard streams that the process was started without to the null device.

    The next files to be opened would get them, and with them whatever native code writes to standard error.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free


def _on_another_descriptor(stream: TextIO) -> TextIO | None:
    """The stream once more on a copy of its descriptor; None where that is not 2, or cannot be copied."""
    try:
        if stream.fileno() != 2:
            return None
        stream.flush()
        return open(os.dup(2), "w", buffering=1, encoding=stream.encoding)  # noqa: PTH123 - see its caller
    except (OSError, ValueError):  # ValueError: a stream without a descriptor
        return None


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 - it lives as long as the process
