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
    from nss.removal.entry_facts import facts

    entries = [
        {
            "model": entry.origin.name if entry.origin else None,
            "licence": entry.origin.licence if entry.origin else None,
            "model_sha256": entry.origin.sha256 if entry.origin else None,
            "backend": entry.backend or None,
            "precision": (values := facts(entry)).pop("precision") or None,
            "input_shapes": [list(shape) for shape in entry.input_shapes],
            "bytes": entry.bytes,
            "last_used": datetime.fromtimestamp(entry.last_used, UTC).isoformat(timespec="seconds"),
            **values,
        }
        for entry in compiled.entries()
    ]
    return {
        "folder": str(model_store.compiled_dir()),
        "bytes": sum(entry["bytes"] for entry in entries),
        "limit": compiled.limit(),
        "entries": entries,
    }


_ALWAYS = ("ENTRY", "MODEL", "FILE", "BACKEND", "PRECISION", "INPUT", "SIZE", "LAST USED")
"""Columns that are there also where all of their cells are empty."""

_DIGITS = 8
"""Of a digest: enough to tell a few."""


def _lines(facts: dict[str, Any]) -> list[str]:
    from nss.cli.table import aligned
    from nss.models.weights.transfer import format_size

    used, limit = format_size(facts["bytes"]), format_size(facts["limit"])
    lines = [f"{escaped(facts['folder'])}: {used}{f' of {limit}' if facts['limit'] else '; off'}"]
    rows = [{name: escaped(cell) for name, cell in _cells(entry).items()} for entry in facts["entries"]]
    if not rows:
        return lines
    columns = [name for name in rows[0] if name in _ALWAYS or any(row[name] for row in rows)]
    table = [columns, *([row[name] for name in columns] for row in rows)]
    return [*lines, *aligned(table, numbers=(columns.index("SIZE"),))]


def _cells(entry: dict[str, Any]) -> dict[str, str]:
    """A row by its columns."""
    from nss.cli.table import in_words
    from nss.models.weights.transfer import format_size

    key, file, code = (str(entry[name] or "")[:_DIGITS] for name in ("key", "model_sha256", "code"))
    driver = f", driver {entry['driver']}" if entry["driver"] else ""
    is_damaged = entry["model"] is None
    return {
        "ENTRY": key,
        "MODEL": "damaged" if is_damaged else entry["model"],
        "FILE": file,
        "BACKEND": entry["backend"] or "",
        "PRECISION": entry["precision"] or "",
        "INPUT": ", ".join("x".join(map(str, shape)) for shape in entry["input_shapes"]),
        "SIZE": format_size(entry["bytes"]),
        "LAST USED": entry["last_used"].replace("T", " ").replace("+00:00", " UTC"),
        "VERSION": "" if entry["is_current"] or is_damaged else f"another, {entry['engine']} {code}".rstrip(),
        "TUNED": "tuned" if entry["tuning"].startswith("tuned") else "",
        "OPTIONS": in_words(entry["options"]) if entry["options"] else "",
        "DEVICE": entry["device"] + driver,
    }
