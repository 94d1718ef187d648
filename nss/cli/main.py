"""The command ``nss-wgpu``.

Results go to standard output, everything else to standard error, one line each. Exit status: see ``nss.errors``.
Nothing heavy is imported before a command needs it, so that ``--help`` answers at once.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from nss.cli.commands.bench import bench
from nss.cli.commands.cache import cache_app
from nss.cli.commands.check import check
from nss.cli.commands.devices import devices
from nss.cli.commands.evaluate import evaluate
from nss.cli.commands.export_web import export_web
from nss.cli.commands.kernels import kernels
from nss.cli.commands.models import models_app
from nss.cli.commands.parity import parity
from nss.cli.commands.preview import preview
from nss.cli.commands.remove import remove
from nss.cli.commands.serve import serve
from nss.cli.commands.stream import stream
from nss.cli.commands.tune import tune
from nss.cli.help_sections import SectionedCommand
from nss.cli.terminal import (
    PROGRAM,
    ReaderGoneError,
    complain,
    describe,
    notify,
    require_command,
    standard_streams,
)
from nss.cli.usage import usage_line
from nss.errors import EXIT_STATUS, NssError
from nss.notices import displays
from nss.photos import codec_messages
from nss.stop_signals import Terminated, describe_stop, raise_if_stopped, stop_signals

if TYPE_CHECKING:
    from collections.abc import Sequence

app = typer.Typer(
    name=PROGRAM,
    help="Take the background off photos, on this machine.",
    epilog=f"Exit status: {'; '.join(f'{status} {meaning}' for status, meaning in EXIT_STATUS.items())}.",
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,  # importing rich for the help text alone would double its time
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("remove", cls=SectionedCommand)(remove)
app.command("preview", cls=SectionedCommand)(preview)
app.command("stream", cls=SectionedCommand)(stream)
app.command("serve", cls=SectionedCommand)(serve)
app.command("check")(check)
app.command("eval")(evaluate)
app.add_typer(models_app, name="models")
app.add_typer(cache_app, name="cache")
app.command("export-web", cls=SectionedCommand)(export_web)
app.command("devices")(devices)
app.command("bench", cls=SectionedCommand)(bench)
app.command("kernels", cls=SectionedCommand)(kernels)
app.command("parity", cls=SectionedCommand)(parity)
app.command("tune", cls=SectionedCommand)(tune)


def _print_version(asked_for: bool) -> None:
    if asked_for:
        from engine.version import __version__

        print(f"{PROGRAM} {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    require_command(context)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status. ``arguments``: those of the process by default."""
    with standard_streams(), displays():
        try:
            with stop_signals(), codec_messages.capture(lambda name, note: notify(f"{name}: {note}")):
                return _run(arguments)
        except (KeyboardInterrupt, typer.Abort, Terminated) as stop:
            word, status = describe_stop(stop)
            complain(word)
            return status


def _run(arguments: Sequence[str] | None) -> int:
    try:
        status = app(arguments, prog_name=PROGRAM, standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except typer.Abort:
        raise
    except Exception as error:
        raise_if_stopped()
        return _say(error, sys.argv[1:] if arguments is None else arguments)


def _say(error: Exception, arguments: Sequence[str]) -> int:
    """Tell a failure of the whole command, called with ``arguments``, in one line; returns the exit status."""
    if isinstance(error, NssError):
        if not isinstance(error, ReaderGoneError):
            complain(describe(error))
        return error.exit_code
    if hasattr(error, "format_message"):  # typer's usage errors share no public base class; all of them have this
        complain(usage_line(error, arguments))
        return 2
    complain(describe(error))
    return 1
