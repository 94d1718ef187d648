"""``nss-wgpu models``: what the catalogue holds, what of it is on this machine, fetching and freeing it.

Results go to standard output, notices and progress to standard error. Failures are raised as `nss.errors.NssError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from nss.cli.run_options import ModelVariantOption
from nss.cli.terminal import complain, notify, require_command

# `nss.models.resolve` is imported inside the commands: this module is loaded whenever the command line is parsed.
if TYPE_CHECKING:
    from nss.models.catalogue import ModelSpec

models_app = typer.Typer(name="models", help="List, fetch, check and remove models.", invoke_without_command=True)

_Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="A catalogue name in any case, fast, best, or OWNER/NAME on the hub.",
        show_default=False,
    ),
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
_Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show neither progress nor licence.")]

_STATES = {"builtin": "built-in", "file": "local file", "cache": "cached", "rembg": "rembg's"}


@models_app.callback()
def _models(context: typer.Context) -> None:
    require_command(context)


@models_app.command("list")
def list_models(as_json: _Json = False) -> None:
    """Print every model with its licence, size and where it is, and the order in which auto takes them."""
    from nss.cli.table import aligned
    from nss.models.catalogue import AUTO_ORDER
    from nss.models.weights.transfer import format_size

    if as_json:
        _print_json([_describe(spec) for spec in _all()])
        return
    rows = [("NAME", "MODE", "LICENCE", "COMMERCIAL USE", "SIZE", "STATE")]
    for spec in _all():
        size, state = format_size(spec.whole_size), _describe(spec)["state"]
        rows.append((spec.name, spec.mode or "-", spec.licence, spec.commercial, size, state))
    for line in aligned(rows):
        typer.echo(line)
    typer.echo(
        f"auto takes the first that is built-in, cached or a local file, and not slow here: {', '.join(AUTO_ORDER)}"
    )


@models_app.command("pull")
def pull(name: _Name, model_variant: ModelVariantOption = None, quiet: _Quiet = False) -> None:
    """Fetch a model unless it is here already. A download that was cut goes on where it stopped.

    What rembg has is not touched, and does not count as here.
    """
    from nss.models import local_models, references, resolve

    spec = _named(name, model_variant)
    if references.parse(name, model_variant):
        fetched = local_models.locate(spec) is None
        resolved = resolve.resolve(name, variant=model_variant, allow_fetch=True, quiet=quiet, notify=notify)
        spec, path = resolved.spec, resolved.path
    else:
        path, fetched = local_models.pull(spec, quiet=quiet, notify=notify)
    typer.echo(f"{spec.name} {'fetched' if fetched else 'is here already'}: {path}")


@models_app.command("path")
def path(name: _Name) -> None:
    """Print the path of a model's file, and nothing else. Fetches nothing."""
    from nss.models import local_models

    typer.echo(local_models.resolve_spec(_named(name), name, allow_fetch=False, notify=notify).path)


@models_app.command("verify")
def verify(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Default: every model that is here.", show_default=False)
    ] = None,
) -> None:
    """Read the files again and compare size and digest with what is published, or what was pinned when fetched."""
    from nss.errors import ModelUnavailableError
    from nss.models import local_models

    faults = []
    for spec in [_named(name)] if name else _all():
        location = local_models.locate(spec)
        if location is None:
            if name:
                raise ModelUnavailableError(f"{spec.name} is not on this machine: nothing to verify")
            continue
        source, file = location
        if fault := local_models.find_fault(spec, source, file, fresh=True):
            faults.append(fault)
            typer.echo(f"{spec.name}  BAD  {file}")
            continue
        digest = local_models.expected_digest(spec, source)
        checks = [*(["size"] if spec.size else []), *(digest[:1] if digest else [])]
        what = " and ".join(checks) + ("" if digest else "; no sha256 is known")
        typer.echo(f"{spec.name}  ok ({what})  {file}")
    if faults:
        raise ModelUnavailableError("; ".join(faults))


@models_app.command("remove")
def remove(name: _Name) -> None:
    """Delete a fetched model, also as it was compiled, and forget its pinned commit.

    What is rembg's or put by hand stays.
    """
    from nss.errors import UsageError
    from nss.models import compiled, local_models
    from nss.models.weights import hub, release
    from nss.models.weights.transfer import format_size

    spec = _named(name)
    if spec.builtin:
        raise UsageError(f"{spec.name} is built into the package and cannot be removed")
    digests = _digests(spec)
    nbytes = hub.discard(spec) + release.discard(spec) + compiled.drop((spec.name,), digests)
    typer.echo(f"{spec.name}: {format_size(nbytes)} freed" if nbytes else f"{spec.name}: nothing in the cache")
    if (remaining := local_models.locate(spec)) is not None:
        whose = "rembg's" if remaining[0] == "rembg" else "your own"
        complain(f"{whose} file stays: {remaining[1]}")
    compiled.check_deleted(compiled.nbytes((spec.name,), digests))


@models_app.command("info")
def info(name: _Name, as_json: _Json = False) -> None:
    """Print everything known about a model."""
    from nss.cli.table import in_words

    facts = _describe(_named(name, ask=True))
    if as_json:
        _print_json(facts)
        return
    width = max(map(len, facts))
    for key, value in facts.items():
        typer.echo(f"{key.ljust(width)}  {in_words(value)}")


def _all() -> list[ModelSpec]:
    """The models of the catalogue, and those that were fetched from other repositories."""
    from nss.models.catalogue import CATALOGUE
    from nss.models.weights import repositories

    return [*CATALOGUE.values(), *repositories.pinned_specs()]


def _named(name: str, variant: str | None = None, *, ask: bool = False) -> ModelSpec:
    """The model of a name, of the catalogue or of a repository; of one that was never fetched little is known.

    ask: ask the hub what it has.
    """
    from nss.errors import ModelUnavailableError
    from nss.models import references
    from nss.models.catalogue import CATALOGUE, spec_by_name

    if reference := references.parse(name, variant):
        from nss.models.weights import repositories

        return repositories.spec_of(reference) if ask else repositories.placeholder(reference)
    spec = spec_by_name(name)
    if spec is None:
        raise ModelUnavailableError(f"no model {name} in the catalogue: it has {', '.join(CATALOGUE)}")
    return spec


def _digests(spec: ModelSpec) -> set[str]:
    """The SHA-256 of the model's file, as far as it is known without reading it."""
    from nss.models.weights import model_store

    pin = model_store.read_pin(spec.name)
    return {digest for digest in (spec.sha256, pin.sha256 if pin else None) if digest}


def _describe(spec: ModelSpec) -> dict[str, Any]:
    from nss.interfaces.interface import as_json
    from nss.models import compiled
    from nss.models.catalogue import AUTO_ORDER
    from nss.models.local_models import locate
    from nss.models.weights import model_store

    location = locate(spec)
    order = AUTO_ORDER.index(spec.name) + 1 if spec.name in AUTO_ORDER else None
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
        "auto": order,
        "gated": spec.gated,
        "repository": spec.repo,
        "revision": spec.revision if spec.repo else None,
        "pinned_commit": pin.commit if pin else None,
        "filename": spec.filename,
        "release": spec.release,
        "size": spec.size,
        "sha256": spec.sha256 or (pin.sha256 if pin else None),
        "md5": spec.md5,
        "model_config": as_json(spec.interface),
        "state": _STATES[location[0]] if location else "not here",
        "path": str(location[1]) if location else None,
        "compiled_bytes": compiled.nbytes((spec.name,), _digests(spec)),
    }


def _print_json(value: object) -> None:
    import json

    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))
