"""Standard output, standard error and signals, as the command uses them."""

from __future__ import annotations

import _thread
import math
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, TextIO, cast

import typer

from nss import early_signals
from nss.errors import NssError, one_line

PROGRAM = "nss-wgpu"
INTERRUPTED = 130  # 128 + SIGINT, as shells report it


class OutputError(NssError):
    """Standard output cannot be written to."""


class ReaderGoneError(OutputError):
    """Whoever read standard output has closed it: no failure of the command, and nothing to say about it."""

    exit_code = 141  # 128 + SIGPIPE, as shells report it


class Terminated(BaseException):
    """SIGINT, SIGTERM or SIGHUP: raised where the program stands, so that temporary files go.

    Like KeyboardInterrupt it is no Exception, so that nothing takes it for the failure of one image; unlike that, typer
    does not take it for its own.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.word = early_signals.word(signal_number)
        self.exit_code = 128 + signal_number


def complain(line: str) -> None:
    """One line on standard error, whatever a file's name holds; lost where it cannot be written."""
    try:
        print(f"{PROGRAM}: {one_line(line)}", file=sys.stderr, flush=True)
    except OSError:
        sys.stderr = _nowhere()


def notify(line: str) -> None:
    """A notice of the library, in the command's words."""
    from nss.option_words import in_options

    complain(in_options(line))


def escaped(name: object) -> str:
    """A file name without line breaks and other control characters, which become ``\\n`` and the like."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda m: ascii(m[0])[1:-1], str(name))


def stopped(stop: BaseException) -> tuple[str, int]:
    """The word and the exit status for an end that came from outside, for whoever says it and ends."""
    forget_stop()
    return (stop.word, stop.exit_code) if isinstance(stop, Terminated) else ("interrupted", INTERRUPTED)


def describe(failure: Exception, what: str | None = None) -> str:
    """A failure as one line; with NSS_DEBUG set, the traceback of one that no one foresaw goes before it."""
    if isinstance(failure, NssError):
        from nss.option_words import error_in_options

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


def write_standard_output(data: bytes) -> None:
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

    Python's standard error gets a descriptor of its own, so that 2 is left to native code (`nss.codec_messages`).
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


INSIST_S = 1.0
"""How long what was raised may take to come to whoever ends the command."""

RETRY_S = 0.02
PATIENCE = 250
"""How often a signal is put off until an import is over; for a program that is itself run by an import."""

_pending: list[tuple[int, float]] = []
"""The signals of which whoever ends the command is not known to have heard, and when each was raised; -inf: put off."""


def raise_stop(number: int, frame: FrameType | None) -> None:
    """The handler that `stop_signals` sets.

    A signal in the middle of an import comes again when that is over: extension modules may crash where something is
    raised as they are imported, and others drop it. What is raised elsewhere and lost comes again, too, until `stopped`
    or `forget_stop` is called, or the block is left.
    """
    if not _pending:
        _thread.start_new_thread(_insist, (number,))
    if len(_pending) < PATIENCE and _is_importing(frame):
        _pending.append((number, -math.inf))
        return
    _pending.append((number, time.monotonic()))
    raise Terminated(number)


def _insist(number: int) -> None:
    time.sleep(RETRY_S)
    while _pending:
        for _, raised in _pending[-1:]:
            if time.monotonic() - raised > INSIST_S:
                _thread.interrupt_main(signal.Signals(number))
        time.sleep(RETRY_S)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def forget_stop() -> None:
    """Let a signal be the last that was heard of it: the command ends in its own way."""
    _pending.clear()


def raise_if_stopped() -> None:
    """Raise `Terminated` where a signal has come and what it raised was lost."""
    if _pending:
        raise Terminated(_pending[0][0])


@contextmanager
def stop_signals() -> Iterator[None]:
    """Within the block SIGINT, SIGTERM and SIGHUP raise `Terminated`, unless the process ignores or handles them."""
    before = {}
    if threading.current_thread() is threading.main_thread():  # Python handles signals in no other
        handlers = {number: signal.getsignal(number) for number in early_signals.numbers()}
        ours = (signal.SIG_DFL, signal.default_int_handler, early_signals.end_at_once)
        before = {number: handler for number, handler in handlers.items() if handler in ours}
    try:
        for number in before:
            signal.signal(number, raise_stop)
        yield
        raise_if_stopped()
    finally:
        _pending.clear()
        for number, handler in before.items():
            signal.signal(number, handler)


class _Output:
    """Standard output whose failures are `OutputError`: the first one, and the same again at every later call."""

    def __init__(self, stream: TextIO, *, closed: bool) -> None:
        self.stream = stream
        self.was_closed = closed
        self.failure: OutputError | None = None

    def write(self, text: str) -> int:
        with self._failing():
            return self.stream.write(text)

    def write_bytes(self, data: bytes) -> None:
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
