"""``nss-wgpu remove``: cut-outs of one photo or many."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from nss.cli import cutout_options as options
from nss.cli import interface_options
from nss.cli import option_groups as groups
from nss.cli.cutout_run import CutoutRun, input_files
from nss.cli.grouped import grouped
from nss.cli.help_sections import COMMON
from nss.cli.option_groups import BatchOptions, EncodingOptions, MaskSource
from nss.cli.option_words import in_options
from nss.cli.terminal import standard_output_is_closed
from nss.errors import UsageError

if TYPE_CHECKING:
    from nss.cutouts.compose import Composition
    from nss.interfaces.interface import Description
    from nss.masks.refine import Refinement


@grouped(
    batch=groups.batch,
    source=groups.mask_source,
    model_config=interface_options.interface,
    refinement=groups.refinement,
    composition=groups.composition,
    encoding=groups.encoding,
)
def remove(
    inputs: options.InputsArgument,
    *,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            rich_help_panel=COMMON,
            metavar="FILE|DIR|-",
            help="A file, a directory, which DIR/ makes, or - for standard output.  "
            "[default: <stem>.cutout.png beside IN]",
        ),
    ] = None,
    on: options.OnOption = None,
    ray_address: options.RayAddressOption = None,
    source: MaskSource,
    refinement: Refinement,
    composition: Composition,
    encoding: EncodingOptions,
    batch: BatchOptions,
    model_config: Description,
) -> None:
    """Cut the foreground out of photos, with straight alpha.

    Lengths are in pixels of the photo. Nothing is done that is not asked for: by default the colours are those of the
    photo.
    """
    from nss.batch import planning
    from nss.batch.outputs import CutoutWriter, OutputFiles
    from nss.files import formats
    from nss.pipeline.photo_bytes import finishing_bytes

    source = source.described(model_config)
    if on is not None:
        from nss.cli.cluster_run import ClusterCutouts

        cutouts = ClusterCutouts(
            inputs=inputs,
            output=output,
            address=ray_address,
            source=source,
            refinement=refinement,
            composition=composition,
            encoding=encoding.encoding(None),
            batch=batch,
        )
        raise typer.Exit(cutouts.status())
    if ray_address is not None:
        raise UsageError("--ray-address is the cluster's of --on ray; give that too")
    suffix = (".mask" if composition.mask_only else ".cutout") + encoding.suffix
    plan = batch.plan(inputs, output, suffix=suffix)
    file_encoding = encoding.encoding(plan[0].explicit_target if len(plan) == 1 else None)
    formats.check_bits(file_encoding, composition.mask_bits)
    piped = any(job.to_standard_output for job in plan)
    if piped:
        _check_piped(batch.as_json, batch.sidecar)
    input_paths = input_files(plan, source, composition.background)
    planning.refuse_inputs(plan, input_paths, sidecar=batch.sidecar)
    files = OutputFiles(file_encoding, input_paths, batch.exists, batch.sidecar)
    run = CutoutRun(
        plan=plan,
        source=source,
        refinement=refinement,
        write=CutoutWriter(files, refinement, composition, in_options),
        inputs=input_paths,
        batch=batch,
        report=batch.report(to_stderr=piped),
        level_bits=composition.level_bits if file_encoding.has_alpha or composition.mask_only else None,
        finishing=finishing_bytes(refinement, composition, file_encoding.format),
    )
    raise typer.Exit(run.status())


def _check_piped(as_json: bool, sidecar: bool) -> None:
    """Refuse what cannot be while the image goes to standard output."""
    if as_json:
        raise UsageError("--json and an image cannot share standard output; give the image a name with -o")
    if sidecar:
        raise UsageError("--sidecar lies beside the output, and standard output has no place; give it a name with -o")
    if standard_output_is_closed():
        raise UsageError("standard output is closed, and the image would be lost; give it a name with -o")
    if sys.stdout.isatty():
        raise UsageError("standard output is a terminal, which shows no images; give a name with -o, or redirect it")
