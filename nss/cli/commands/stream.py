"""``nss-wgpu stream``: the frames of a film, by standard input and standard output."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from nss.cli import cutout_options as options
from nss.cli import interface_options
from nss.cli import option_groups as groups
from nss.cli.grouped import grouped
from nss.cli.help_sections import COMMON
from nss.cli.option_groups import EncodingOptions, MaskSource
from nss.cli.option_words import in_options
from nss.cli.terminal import (
    ReaderGoneError,
    complain,
    describe,
    standard_output_is_closed,
    write_standard_output,
)
from nss.errors import ImageError, NssError, UsageError
from nss.stop_signals import Terminated, describe_stop

if TYPE_CHECKING:
    import numpy as np

    from nss.batch.frames import Frame
    from nss.cli.progress import Progress
    from nss.cutouts.compose import Composition, Cutout
    from nss.interfaces.interface import Description
    from nss.masks.refine import Refinement
    from nss.pipeline.stop import Stop
    from nss.removal.host_stages import InferredMask, PreparedPhoto


class FramesIn(StrEnum):
    """What comes by standard input, in ffmpeg's words."""

    PNG = "png"
    RGB24 = "rgb24"
    RGBA = "rgba"


class FramesOut(StrEnum):
    """What goes to standard output, in ffmpeg's words."""

    PNG = "png"
    RGBA = "rgba"
    RGB24 = "rgb24"
    GRAY = "gray"


NOT_IN_A_STREAM = {
    "mask": "a network makes the mask of each frame",
    "crop": "all frames of a film have one size",
    "mask_bits": "frames have 8 bits",
    "keep_exif": "frames have no EXIF",
    "keep_gps": "frames have no EXIF",
    "format": "--stdout-format says what frames become",
    "quality": "frames are lossless",
}
"""Parameters of the groups that ``remove`` takes and ``stream`` does not, each with the reason."""


@grouped(
    NOT_IN_A_STREAM,
    source=groups.mask_source,
    model_config=interface_options.interface,
    refinement=groups.refinement,
    composition=groups.composition,
    encoding=groups.encoding,
)
def stream(
    *,
    stdin_format: Annotated[
        FramesIn,
        typer.Option(
            rich_help_panel=COMMON, help="What comes: PNG files one after the other, or raw pixels, with --size."
        ),
    ] = FramesIn.PNG,
    stdout_format: Annotated[
        FramesOut,
        typer.Option(
            rich_help_panel=COMMON,
            help="What goes out: PNG files, raw pixels with straight alpha (rgba), on a --background (rgb24), or the "
            "raw mask (gray).",
        ),
    ] = FramesOut.PNG,
    size: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=COMMON,
            metavar="WxH",
            help="Width and height of raw frames that come, such as 1920x1080.",
            show_default=False,
        ),
    ] = None,
    source: MaskSource,
    refinement: Refinement,
    composition: Composition,
    encoding: EncodingOptions,
    model_config: Description,
    jobs: options.JobsOption = None,
    memory: options.MemoryOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", rich_help_panel=COMMON, help="Print errors only.")] = False,
) -> None:
    """Cut the foreground out of the frames of a film, from standard input to standard output.

    As in: ffmpeg -i in.mp4 -f image2pipe -c:v png - | nss-wgpu stream | ffmpeg -f image2pipe -c:v png -i - out.webm
    """
    frame_size = _frame_size(stdin_format, size, source.max_pixels)
    _check_streams()
    run = StreamRun(
        stdin_format=stdin_format,
        stdout_format=stdout_format,
        size=frame_size,
        source=source.described(model_config),
        refinement=refinement,
        composition=_of_frames(composition, stdout_format),
        encoding=encoding,
        jobs=jobs,
        memory=groups.memory_bytes(memory),
        quiet=quiet,
    )
    raise typer.Exit(run.status())


def _frame_size(stdin_format: FramesIn, size: str | None, max_pixels: int) -> tuple[int, int]:
    """Width and height of raw frames, 0 and 0 for PNG. Raises UsageError where they are not said, or said in vain."""
    if stdin_format == FramesIn.PNG:
        if size is not None:
            raise UsageError("--size is for raw frames, and PNG files say theirs: leave it out")
        return 0, 0
    match = re.fullmatch(r"(\d{1,9})x(\d{1,9})", size or "", re.ASCII)
    if match is None or not (int(match[1]) and int(match[2])):
        raise UsageError(
            f"--stdin-format {stdin_format} wants --size, width and height as in 1920x1080"
            + (f", and {size} is none" if size else "")
        )
    from nss.photos.image_size import check_size

    width, height = int(match[1]), int(match[2])
    try:
        check_size("--size", width, height, max_pixels)
    except ImageError as error:
        raise UsageError(describe(error)) from error
    return width, height


def _of_frames(composition: Composition, stdout_format: FramesOut) -> Composition:
    """What frames of this format show. Raises UsageError where they cannot show what was asked for."""
    from nss.cutouts import background

    if stdout_format == FramesOut.GRAY:
        return replace(composition, mask_only=True)
    if composition.mask_only and stdout_format != FramesOut.PNG:
        raise UsageError(f"--mask-only and --stdout-format {stdout_format} exclude each other; take gray, or png")
    if stdout_format == FramesOut.RGB24 and background.is_none(composition.background):
        raise UsageError("--stdout-format rgb24 has no transparency; give a --background, or take rgba")
    return composition


def _check_streams() -> None:
    """Refuse streams that are closed, or a terminal."""
    if sys.stdin is None or sys.stdin.closed:
        raise UsageError("standard input is closed; send frames to it")
    if sys.stdin.isatty():
        raise UsageError("standard input is a terminal; send frames to it (ffmpeg ... | nss-wgpu stream | ...)")
    if standard_output_is_closed():
        raise UsageError("standard output is closed, and the frames would be lost")
    if sys.stdout.isatty():
        raise UsageError("standard output is a terminal, which shows no frames; send them on, or redirect it")


@dataclass(frozen=True, eq=False)
class _Outcome:
    """What is left of a frame when it is made.

    Attributes:
        data: what goes to standard output.
        size: width and height, in pixels.
        notes: what there is to say of it.
    """

    data: bytes | memoryview
    size: tuple[int, int]
    notes: tuple[str, ...]


@dataclass
class StreamRun:
    """The frames, and what is done with each of them.

    Attributes:
        stdin_format, stdout_format: what comes, and what goes out.
        size: width and height of raw frames that come.
        source: the network.
        refinement: what is done to each mask.
        composition: what frames show.
        encoding: the effort of PNG.
        jobs: frames in work at the same time; None is one a core.
        memory: bytes that they may take; None is half of what is free.
        quiet: errors only.
    """

    stdin_format: FramesIn
    stdout_format: FramesOut
    size: tuple[int, int]
    source: MaskSource
    refinement: Refinement
    composition: Composition
    encoding: EncodingOptions
    jobs: int | None
    memory: int | None
    quiet: bool
    _written: int = field(default=0, init=False)
    _first_size: tuple[int, int] | None = field(default=None, init=False)
    _said: set[str] = field(default_factory=set, init=False)

    def status(self) -> int:
        """Do it; returns the exit status.

        Raises:
            NssError: a frame failed, and with it the film; those before it are written.
            ReaderGoneError: whoever reads has gone.
        """
        from nss.cli.progress import Progress
        from nss.pipeline.stop import finish_on_interrupt

        start = time.perf_counter()
        try:
            with (
                Progress(None, quiet=self.quiet, what="frame") as progress,
                finish_on_interrupt(_say_finishing) as stop,
            ):
                try:
                    self._work_through(progress, stop)
                except ReaderGoneError:
                    if not stop.requested:  # Ctrl-C ends all programs of a pipeline
                        raise
        except (KeyboardInterrupt, Terminated) as stop_signal:
            word, status = describe_stop(stop_signal)
        else:
            if not stop.requested:
                self._say_summary(time.perf_counter() - start)
                return 0
            word, status = describe_stop(KeyboardInterrupt())
        complain(f"{word}: {self._written} frames written")
        return status

    def _work_through(self, progress: Progress, stop: Stop) -> None:
        self.source.make_gpu_ready()
        import engine
        from nss.pipeline import budget, heap
        from nss.pipeline.pipeline import Pipeline

        heap.return_large_blocks()
        remover = self.source.open(quiet=self.quiet)
        assert remover is not None  # no mask was given
        with remover:

            def load(frame: Frame) -> PreparedPhoto:
                return remover.prepare(
                    frame.content, frame.name, refinement=self.refinement, mask_bits=self.composition.level_bits
                )

            def finish(frame: Frame, inferred: InferredMask) -> _Outcome:
                return self._finished(frame, remover.finish(inferred).refined(self.refinement))

            pipeline: Pipeline[Frame, PreparedPhoto, InferredMask, _Outcome] = Pipeline(
                load,
                remover.lanes(),
                finish,
                workers=self.jobs or engine.available_cores(),
                budget=budget.MemoryBudget(self.memory or budget.default_bytes()),
                cost=self._cost,
                results_hold_pixels=True,
            )
            progress.watch(pipeline.bottleneck)
            with closing(pipeline.results(self._frames(), stop)) as results:
                for frame, outcome in results:
                    if isinstance(outcome, Exception):
                        raise _failure(frame, outcome) from outcome
                    with progress.paused() if outcome.notes else nullcontext():
                        self._write(frame, outcome)
                    progress.update(frame.number, frame.name)
                    del outcome
        if not (self._written or stop.requested):
            raise ImageError("<standard input>: is empty, and has no frames")

    def _frames(self) -> Iterator[Frame]:
        from nss.batch import frames

        source = frames.ByteStream(sys.stdin.fileno())
        if self.stdin_format == FramesIn.PNG:
            return frames.png_frames(source, self.source.max_pixels)
        return frames.raw_frames(source, *self.size, 4 if self.stdin_format == FramesIn.RGBA else 3)

    def _cost(self, frame: Frame) -> int:
        """The bytes that a frame takes in work."""
        from nss.pipeline.photo_bytes import finishing_bytes, source_bytes

        own = len(frame.content) if isinstance(frame.content, bytearray) else frame.content.nbytes
        finishing = finishing_bytes(self.refinement, self.composition, "png")
        return own + source_bytes(frame.content, max_pixels=self.source.max_pixels, finishing=finishing)

    def _finished(self, frame: Frame, cutout: Cutout) -> _Outcome:
        composed = cutout.composed(self.composition, opaque=self.stdout_format == FramesOut.RGB24)
        pixels = composed.picture.pixels
        data: bytes | memoryview
        if self.stdout_format == FramesOut.PNG:
            from nss.files import export

            data = export.encode(composed.picture, self.encoding.encoding(None), frame.name)
        else:
            data = _raw(pixels, channels=_CHANNELS[self.stdout_format])
        return _Outcome(data, (pixels.shape[1], pixels.shape[0]), (*cutout.notes, *composed.notes))

    def _write(self, frame: Frame, outcome: _Outcome) -> None:
        """Raises ImageError where raw frames would be of two sizes, and OutputError as printing does."""
        self._first_size = self._first_size or outcome.size
        if self.stdout_format != FramesOut.PNG and outcome.size != self._first_size:
            raise ImageError(
                "{}: is {} x {}, and those before it {} x {}; raw frames have one size, those of --stdout-format png "
                "may differ".format(frame.name, *outcome.size, *self._first_size)
            )
        for note in outcome.notes:
            self._note(frame, note)
        write_standard_output(outcome.data)
        self._written += 1

    def _note(self, frame: Frame, note: str) -> None:
        """Of all frames that have it, the first one says it."""
        from nss.masks import sanity

        kind = sanity.NOTHING if note.startswith(sanity.NOTHING) else note
        if kind not in self._said:
            self._said.add(kind)
            if not self.quiet:
                complain(f"{frame.name}: {in_options(note)} (of other frames this is not said)")

    def _say_summary(self, seconds: float) -> None:
        from nss.cli.progress import rate

        if not self.quiet:
            count = self._written
            complain(f"{count} frame{'' if count == 1 else 's'} in {seconds:.1f} s ({rate(count, seconds, 'frame')})")


_CHANNELS = {FramesOut.RGBA: 4, FramesOut.RGB24: 3, FramesOut.GRAY: 1}


def _raw(pixels: np.ndarray, channels: int) -> memoryview:
    """The pixels, uint8 HxW, HxWx3 or HxWx4, in rows from the top; opaque ones get an alpha where that is asked for."""
    import numpy as np

    if channels == 4 and pixels.shape[2] == 3:
        pixels = np.concatenate([pixels, np.full((*pixels.shape[:2], 1), 255, np.uint8)], axis=2)
    return np.ascontiguousarray(pixels).data.cast("B")


def _failure(frame: Frame, error: Exception) -> Exception:
    """The error with the frame's number, of which the film ends."""
    if isinstance(error, NssError) and error.exit_code != 1:
        return error  # not of this frame: the GPU was lost, for instance
    text = describe(error)
    return ImageError(f"{frame.name}: {re.sub(r'^(frame [0-9]+|<[a-zA-Z0-9]+ image>): ', '', text)}")


def _say_finishing() -> None:
    if sys.stderr.isatty():
        complain("finishing the frames in hand; press Ctrl-C again to stop at once")
