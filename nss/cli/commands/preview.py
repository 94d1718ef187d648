"""``nss-wgpu preview``: a sheet for each photo, to judge its cut-out by before ``remove`` is run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from nss.cli import cutout_options as options
from nss.cli import interface_options
from nss.cli import option_groups as groups
from nss.cli.cutout_run import CutoutRun, input_files
from nss.cli.grouped import grouped
from nss.cli.help_sections import COMMON
from nss.cli.option_groups import BatchOptions, EncodingOptions, MaskSource
from nss.errors import UsageError

if TYPE_CHECKING:
    from nss.cutouts.compose import Composition
    from nss.interfaces.interface import Description
    from nss.masks.refine import Refinement

NOT_ON_A_SHEET = {
    "mask_only": "a sheet shows the mask beside the cut-out",
    "mask_bits": "a sheet shows the mask in 8 bits",
    "hidden": "a sheet does not show what is wholly transparent",
    "keep_exif": "a sheet is no photo, and has no EXIF",
    "keep_gps": "a sheet is no photo, and has no EXIF",
    "sidecar": "a sheet is to look at, and not made again from a record",
}
"""Parameters of the groups that ``remove`` takes and ``preview`` does not, each with the reason."""


@grouped(
    NOT_ON_A_SHEET,
    batch=groups.batch,
    source=groups.mask_source,
    model_config=interface_options.interface,
    refinement=groups.refinement,
    composition=groups.composition,
    encoding=groups.encoding,
)
def preview(
    inputs: options.InputsArgument,
    *,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            rich_help_panel=COMMON,
            metavar="FILE|DIR",
            help="A file, or a directory, which DIR/ makes.  [default: <stem>.preview.png beside IN]",
        ),
    ] = None,
    size: Annotated[
        int,
        typer.Option(rich_help_panel=COMMON, min=64, max=4096, metavar="PX", help="The longer side of each picture."),
    ] = 640,
    source: MaskSource,
    refinement: Refinement,
    composition: Composition,
    encoding: EncodingOptions,
    batch: BatchOptions,
    model_config: Description,
) -> None:
    """Make a contact sheet: the photo, the mask, and the cut-out on a checkerboard, on black and on white.

    With --background the cut-out on that background too. It takes what remove takes, but for what no sheet shows.
    """
    from nss.batch import planning
    from nss.batch.outputs import OutputFiles, SheetWriter

    source = source.described(model_config)
    plan = batch.plan(inputs, output, suffix=".preview" + encoding.suffix)
    if any(job.to_standard_output for job in plan):
        raise UsageError("a preview goes to a file; give it a name with -o")
    file_encoding = encoding.encoding(plan[0].explicit_target if len(plan) == 1 else None)
    input_paths = input_files(plan, source, composition.background)
    planning.refuse_inputs(plan, input_paths)
    files = OutputFiles(file_encoding, input_paths, batch.exists)
    run = CutoutRun(
        plan=plan,
        source=source,
        refinement=refinement,
        write=SheetWriter(files, size, composition),
        inputs=input_paths,
        batch=batch,
        report=batch.report(),
    )
    raise typer.Exit(run.status())
