"""``nss-wgpu serve``: a page and an API on the user's own machine."""

from __future__ import annotations

import os
import stat
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from nss.cli import interface_options, serve_options
from nss.cli.grouped import grouped
from nss.cli.option_groups import EncodingOptions, MaskSource
from nss.cli.option_words import in_options
from nss.cli.serve_options import WatchedFiles
from nss.cli.terminal import complain, notify, standard_output_is_closed
from nss.errors import UsageError

if TYPE_CHECKING:
    from nss.cli.progress import Progress
    from nss.cutouts.compose import Composition
    from nss.interfaces.interface import Description
    from nss.masks.refine import Refinement
    from nss.serve.jobs.models import ModelChoice
    from nss.serve.watch.settings import WatchSettings

TOKEN_FILE = "NSS_SERVE_TOKEN_FILE"
PACKAGES = ("prometheus_client", "starlette", "uvicorn")
"""What the extra brings; this file must import none of it, or every other command would need it."""


@grouped(
    folders=serve_options.watch,
    sources=serve_options.models,
    model_config=interface_options.interface,
    files=serve_options.files,
    refinement=serve_options.refinement,
    composition=serve_options.composition,
    encoding=serve_options.encoding,
)
def serve(
    *,
    port: serve_options.PortOption = 8765,
    open_browser: serve_options.OpenOption = False,
    sources: tuple[MaskSource, ...],
    host: serve_options.HostOption = "127.0.0.1",
    allow_remote: serve_options.AllowRemoteOption = False,
    public_url: serve_options.PublicUrlsOption = None,
    allow_origin: serve_options.OriginsOption = None,
    queue: serve_options.QueueOption = 64,
    keep: serve_options.KeepOption = "1h",
    max_bytes: serve_options.MaxBytesOption = "256M",
    memory: serve_options.MemoryOption = None,
    jobs: serve_options.JobsOption = None,
    folders: tuple[Path, Path] | None,
    files: WatchedFiles,
    refinement: Refinement,
    composition: Composition,
    encoding: EncodingOptions,
    model_config: Description,
    quiet: serve_options.QuietOption = False,
) -> None:
    """Serve a page that cuts out photos on this machine, and an API for programs, until Ctrl-C.

    The address is printed once it listens. It holds a token, and only who has that, and sits at this machine, may ask.
    With --watch photos that appear in a folder are cut out too, with the options of mask, colour and output.
    """
    if quiet and files.verbose:
        raise UsageError("--verbose and --quiet exclude each other")
    _require_extra()
    if standard_output_is_closed():
        raise UsageError("standard output is closed, and the address would be lost; redirect it to a file")
    from nss.pipeline import budget
    from nss.serve.http.server import run
    from nss.serve.http.token import read_token
    from nss.serve.limits import Limits
    from nss.serve.settings import ServeSettings

    token = read_token(os.environ)
    settings = ServeSettings(
        models=_choices(sources, model_config),
        limits=Limits(
            memory=serve_options.memory_bytes(memory) or budget.default_bytes(),
            body_bytes=serve_options.nbytes("--max-bytes", max_bytes),
            pixels=sources[0].max_pixels,
            queue=queue,
            keep_seconds=serve_options.seconds("--keep", keep),
        ),
        token=token,
        host=host,
        port=port,
        allow_remote=allow_remote,
        public_urls=tuple(public_url or ()),
        allowed_origins=tuple(allow_origin or ()),
        jobs=jobs,
        watch=_watched(folders, files, refinement, composition, encoding, sources[0].max_pixels),
        open_browser=open_browser,
        quiet=quiet,
    )
    if token.is_given and not quiet:
        _say_who_reads(os.environ[TOKEN_FILE])
    terminal = _Terminal(quiet=quiet)
    raise typer.Exit(run(settings, terminal.say, ready=terminal.print_address, progress_of=terminal.progress_of))


def _require_extra() -> None:
    if any(find_spec(name) is None for name in PACKAGES):
        raise UsageError("serve needs the packages of its extra: pip install 'nss-wgpu[serve]'")


def _choices(sources: tuple[MaskSource, ...], model_config: Description) -> tuple[ModelChoice, ...]:
    """The models. Raises UsageError where an interface is described, and it is not plain of which model."""
    from nss.serve.jobs.models import ModelChoice

    if model_config and len(sources) > 1:
        keys = ", ".join(f"{interface_options.PREFIX}{key}" for key in model_config)
        raise UsageError(
            f"{keys}: of which of {len(sources)} models? Keep it in each file, in its metadata under nss.interface"
        )
    return tuple(
        ModelChoice(
            requested=source.model,
            network=source.network,
            model_config=model_config,
            max_pixels=source.max_pixels,
        )
        for source in sources
    )


def _watched(
    folders: tuple[Path, Path] | None,
    files: WatchedFiles,
    refinement: Refinement,
    composition: Composition,
    encoding: EncodingOptions,
    max_pixels: int,
) -> WatchSettings | None:
    """What is watched. Raises UsageError where the folders cannot be, or the format has no such mask."""
    if folders is None:
        return None
    from nss.files import formats
    from nss.serve.watch.settings import WatchSettings

    file_encoding = encoding.encoding(None)
    formats.check_bits(file_encoding, composition.mask_bits)
    inbox, outbox = folders
    return WatchSettings(
        inbox=inbox,
        outbox=outbox,
        recursive=files.recursive,
        exists=files.exists,
        sidecar=files.sidecar,
        refinement=refinement,
        composition=composition,
        encoding=file_encoding,
        fail_empty=files.fail_empty,
        verbose=files.verbose,
        words=in_options,
        max_pixels=max_pixels,
    )


def _say_who_reads(path: str) -> None:
    """One line where others on this machine can read the token: it is theirs then, too."""
    if os.name == "posix" and Path(path).stat().st_mode & stat.S_IROTH:
        complain(f"{path}: every user of this machine can read the token; chmod 600 it")


class _Terminal:
    """What the server says while it runs, with a bar as long as models are opened."""

    def __init__(self, *, quiet: bool) -> None:
        """``quiet``: what it says before it listens is dropped; what fails then is an exception."""
        self._quiet, self._is_listening = quiet, False
        self._bar: Progress | None = None

    def print_address(self, url: str) -> None:
        """The one line on standard output, for which programs wait."""
        self._is_listening = True
        print(url, flush=True)

    def progress_of(self, total: int) -> AbstractContextManager[Progress]:
        """A bar for so many models."""
        from nss.cli.progress import Progress

        self._bar = Progress(total, quiet=self._quiet, what="model")
        return self._bar

    def say(self, line: str) -> None:
        """A line on standard error, in the words of the command; from any thread."""
        if self._quiet and not self._is_listening:
            return
        with self._bar.paused() if self._bar else nullcontext():
            notify(line)
