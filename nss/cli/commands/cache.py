"""``nss-wgpu cache``: the models that were compiled on this machine and are kept, and freeing them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from nss.cli.terminal import escaped, require_command

cache_app = typer.Typer(
    name="cache", help="Show and clear the models that are kept compiled.", invoke_without_command=True
)


@cache_app.callback()
def _cache(context: typer.Context) -> None:
    require_command(context)


@cache_app.command("info")
def info(as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False) -> None:
    """Print where compiled models are kept, how much they may take, and each of them."""
    facts = _facts()
    if as_json:
        import json

        typer.echo(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    for line in _lines(facts):
        typer.echo(line)


@cache_app.command("clear")
def clear() -> None:
    """Delete every compiled model. What is needed again is compiled again."""
    from nss.models import compiled
    from nss.models.weights.transfer import format_size

    typer.echo(f"{format_size(compiled.clear())} freed")
    compiled.check_deleted(sum(entry.bytes for entry in compiled.entries()))


def _facts() -> dict[str, Any]:
    from datetime import UTC, datetime

    from nss.models import compiled
    from nss.models.weights import model_store

    entries = [
        {
            "model": entry.origin.name if entry.origin else None,
            "licence": entry.origin.licence if entry.origin else None,
            "model_sha256": entry.origin.sha256 if entry.origin else None,
            "backend": entry.backend or None,
            "precision": entry.precision or None,
            "input_shapes": [list(shape) for shape in entry.input_shapes],
            "bytes": entry.bytes,
            "last_used": datetime.fromtimestamp(entry.last_used, UTC).isoformat(timespec="seconds"),
        }
        for entry in compiled.entries()
    ]
    return {
        "folder": str(model_store.compiled_dir()),
        "bytes": sum(entry["bytes"] for entry in entries),
        "limit": compiled.limit(),
        "entries": entries,
    }


def _lines(facts: dict[str, Any]) -> list[str]:
    from nss.cli.table import aligned
    from nss.models.weights.transfer import format_size

    used, limit = format_size(facts["bytes"]), format_size(facts["limit"])
    lines = [f"{escaped(facts['folder'])}: {used}{f' of {limit}' if facts['limit'] else '; off'}"]
    if not facts["entries"]:
        return lines
    rows = [["MODEL", "BACKEND", "PRECISION", "INPUT", "SIZE", "LAST USED"]]
    for entry in facts["entries"]:
        name = escaped(entry["model"] or "damaged")
        last_used = entry["last_used"].replace("T", " ").replace("+00:00", " UTC")
        shapes = ", ".join("x".join(map(str, shape)) for shape in entry["input_shapes"])
        what = [escaped(entry["backend"] or ""), escaped(entry["precision"] or ""), shapes]
        rows.append([name, *what, format_size(entry["bytes"]), last_used])
    return [*lines, *aligned(rows, numbers=(4,))]
