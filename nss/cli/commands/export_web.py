"""``nss-wgpu export-web``: a folder of static files that cuts out photos in a visitor's browser."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nss.cli import interface_options
from nss.cli.grouped import grouped
from nss.cli.help_sections import COMMON
from nss.cli.run_options import JsonOption, ModelVariantOption
from nss.cli.terminal import escaped, notify

if TYPE_CHECKING:
    from nss.interfaces.interface import Description
    from nss.web.export import ExportedSite


class SiteExists(StrEnum):
    """What becomes of a site that exists."""

    FAIL = "fail"
    OVERWRITE = "overwrite"


class StoredWeights(StrEnum):
    """How weights are stored, as `nss.export_web` takes it."""

    F32 = "f32"
    F16 = "f16"
    INT8 = "int8"


@grouped(model_config=interface_options.interface)
def export_web(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL",
            help="auto, a catalogue name, an ONNX file, or OWNER/NAME; the page begins with the first.  "
            "[default: u2netp]",
            show_default=False,
        ),
    ] = None,
    *,
    output: Annotated[
        str, typer.Option("-o", "--output", rich_help_panel=COMMON, metavar="DIR", help="The folder, which is made.")
    ] = "site",
    weights: Annotated[
        StoredWeights | None,
        typer.Option(
            rich_help_panel=COMMON,
            help="How weights are stored: f16 is half the download of f32, int8 a third. The page computes in f32.  "
            "[default: f16, and f32 for a model of up to 16 MiB]",
            show_default=False,
        ),
    ] = None,
    page: Annotated[
        bool,
        typer.Option(
            "--page/--no-page",
            rich_help_panel=COMMON,
            help="With the page, or models and the modules for a page of your own alone.",
        ),
    ] = True,
    exists: Annotated[
        SiteExists,
        typer.Option(
            "--exists",
            rich_help_panel=COMMON,
            help="What to do where the folder exists: fail, or overwrite the site in it. Other files in it stay.",
        ),
    ] = SiteExists.FAIL,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", rich_help_panel=COMMON, help="Print errors only (and JSON, if asked for).")
    ] = False,
    as_json: JsonOption = False,
    model_variant: ModelVariantOption = None,
    model_config: Description,
) -> None:
    """Write a page that cuts out photos in a visitor's browser, on the visitor's own GPU, with no server behind it.

    Any static host serves the folder. Models are compiled for what every browser with WebGPU has, and no GPU is
    needed for that.
    """
    from nss.cli.progress import Progress
    from nss.interfaces.interface import as_json as description_as_json
    from nss.web.export import BUILTIN, export_web

    names = models or [BUILTIN]

    with Progress(len(names), quiet=quiet, what="model") as progress:

        def say(line: str) -> None:
            with progress.paused():
                notify(line)

        site = export_web(
            names,
            output,
            weights=None if weights is None else weights.value,
            page=page,
            model_variant=model_variant,
            model_config=description_as_json(model_config),
            overwrite=exists is SiteExists.OVERWRITE,
            quiet=quiet,
            notify=say,
            progress=progress.update,
        )
    if as_json:
        print(json.dumps(_as_json(site, page), indent=2, ensure_ascii=False))
    elif not quiet:
        for line in _lines(site):
            print(line)


def _as_json(site: ExportedSite, page: bool) -> dict[str, Any]:
    return {
        "folder": str(site.folder),
        "page": page,
        "files": site.files,
        "bytes": site.bytes,
        "models": [model.as_json() for model in site.models],
        "notes": list(site.notes),
    }


def _lines(site: ExportedSite) -> list[str]:
    from nss.cli.table import aligned
    from nss.models.weights.transfer import format_size

    rows = [["MODEL", "SIZE", "WEIGHTS", "INPUT", "LICENCE", "COMMERCIAL USE", "ORIGIN"]]
    for model in site.models:
        height, width = model.size
        size = [format_size(model.bytes), model.weights, f"{height}x{width}"]
        commercial = "not known" if model.licence == "unknown" else model.commercial
        rows.append([escaped(model.name), *size, model.licence, commercial, escaped(model.origin)])
    return [*aligned(rows), f"{escaped(site.folder)}: {site.files} files, {format_size(site.bytes)}"]
