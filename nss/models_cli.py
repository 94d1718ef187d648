"""``nss-wgpu models``: what the catalogue holds, what of it is on this machine, fetching and freeing it.

Results go to standard output, notices and progress to standard error. Failures are raised as `nss.errors.NssError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from nss.terminal import complain, require_command

# `nss.models` is imported inside the commands: this module is loaded whenever the command line is parsed.
if TYPE_CHECKING:
    from nss.catalogue import ModelSpec

models_app = typer.Typer(name="models", help="List, fetch, check and remove models.", invoke_without_command=True)

_Name = Annotated[str, typer.Argument(metavar="NAME", help="A catalogue name, or fast or best.", show_default=False)]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
_Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show neither progress nor licence.")]

_STATES = {"builtin": "built-in", "file": "local file", "cache": "cached"}


@models_app.callback()
def _models(context: typer.Context) -> None:
    require_command(context)


@models_app.command("list")
def list_models(as_json: _Json = False) -> None:
    """Print every model with its mode, licence, size and where it is."""
    from nss.models import CATALOGUE, format_size

    if as_json:
        _print_json([_describe(spec) for spec in CATALOGUE.values()])
        return
    rows = [("NAME", "MODE", "LICENCE", "SIZE", "STATE")]
    for spec in CATALOGUE.values():
        licence = spec.licence if spec.commercial else f"{spec.licence}, non-commercial"
        rows.append((spec.name, spec.mode or "-", licence, format_size(spec.size), _describe(spec)["state"]))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        typer.echo("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]))


@models_app.command("pull")
def pull(name: _Name, quiet: _Quiet = False) -> None:
    """Fetch a model unless it is here already. A download that was cut goes on where it stopped."""
    from nss import models

    spec = _named(name)
    here = models.locate(spec)
    resolved = models.resolve(spec.name, allow_fetch=True, quiet=quiet, notify=complain)
    typer.echo(f"{spec.name} {'is here already' if here else 'fetched'}: {resolved.path}")


@models_app.command("path")
def path(name: _Name) -> None:
    """Print the path of a model's file, and nothing else. Fetches nothing."""
    from nss import models

    typer.echo(models.resolve(_named(name).name, allow_fetch=False, notify=complain).path)


@models_app.command("verify")
def verify(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Default: every model that is here.", show_default=False)
    ] = None,
) -> None:
    """Read the files again and compare size and SHA-256 with what is published, or what was pinned when fetched."""
    from nss import model_store, models
    from nss.errors import ModelUnavailableError

    faults = []
    for spec in [_named(name)] if name else models.CATALOGUE.values():
        found = models.locate(spec)
        if found is None:
            if name:
                raise ModelUnavailableError(f"{spec.name} is not on this machine: nothing to verify")
            continue
        source, file = found
        if fault := models.find_fault(spec, source, file, fresh=True):
            faults.append(fault)
            typer.echo(f"{spec.name}  BAD  {file}")
            continue
        pinned = spec.sha256 or (source == "cache" and model_store.read_pin(spec.name))
        typer.echo(f"{spec.name}  ok ({'size and sha256' if pinned else 'size; no sha256 is known'})  {file}")
    if faults:
        raise ModelUnavailableError("; ".join(faults))


@models_app.command("remove")
def remove(name: _Name) -> None:
    """Delete a fetched model from the cache and forget its pinned commit. Files put in place by hand stay."""
    from nss import hub, models
    from nss.errors import UsageError

    spec = _named(name)
    if spec.builtin:
        raise UsageError(f"{spec.name} is built into the package and cannot be removed")
    freed = hub.discard(spec)
    typer.echo(f"{spec.name}: {models.format_size(freed)} freed" if freed else f"{spec.name}: nothing in the cache")
    if (rest := models.locate(spec)) is not None:
        complain(f"your own file stays: {rest[1]}")


@models_app.command("info")
def info(name: _Name, as_json: _Json = False) -> None:
    """Print everything known about a model."""
    facts = _describe(_named(name))
    if as_json:
        _print_json(facts)
        return
    width = max(map(len, facts))
    for key, value in facts.items():
        typer.echo(f"{key.ljust(width)}  {_text(value)}")


def _named(name: str) -> ModelSpec:
    from nss.catalogue import CATALOGUE, spec_named
    from nss.errors import ModelUnavailableError

    spec = spec_named(name)
    if spec is None:
        raise ModelUnavailableError(f"no model {name} in the catalogue: it has {', '.join(CATALOGUE)}")
    return spec


def _describe(spec: ModelSpec) -> dict[str, Any]:
    from nss import model_store
    from nss.models import locate

    found = locate(spec)
    pin = model_store.read_pin(spec.name)
    return {
        "name": spec.name,
        "title": spec.title,
        "mode": spec.mode,
        "summary": spec.summary,
        "speed": spec.speed,
        "licence": spec.licence,
        "licence_url": spec.licence_url,
        "commercial": spec.commercial,
        "gated": spec.gated,
        "repository": spec.repo,
        "revision": spec.revision if spec.repo else None,
        "pinned_commit": pin.commit if pin else None,
        "filename": spec.filename,
        "size": spec.size,
        "sha256": spec.sha256 or (pin.sha256 if pin else None),
        "input_height_width": list(spec.input_hw) if spec.input_hw else None,
        "resize": spec.resize,
        "mean": list(spec.mean),
        "std": list(spec.std),
        "state": _STATES[found[0]] if found else "not here",
        "path": str(found[1]) if found else None,
    }


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _print_json(value: object) -> None:
    import json

    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))
