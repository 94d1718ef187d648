"""Records of tunings → the choices that come with the package, in engine/tuning/defaults/.

``python -m tools.tuning_defaults RECORD... --command "nss-wgpu tune isnet"``

A record is what ``nss-wgpu tune --record FILE`` writes, or ``tools/kernel_lab``. There is one file for
each make of adapters and implementation of WebGPU. It names the layers for which another row than the table's first was
faster by what is worth having, and about as exact, and says of which adapter, driver, version and day that is, and of
which command. What a file had of layers that no record measured stays in it, if it is of the same adapter and driver.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from engine.errors import EngineError
from engine.tuning.cases import TOLERANCE
from engine.tuning.defaults import FOLDER, make_of
from engine.tuning.race import winner
from engine.tuning.record import KIND, Record, RecordedLayer, read_record

EXACT_SHARE, EXACT_TIMES = 0.25, 2.0
"""A row may have this part of its layer's tolerance as an error, or so many times that of the table's row: errors of
layers add up, and nobody holds the whole of a network that has these rows to the one without."""

FACTS = ("adapter", "driver", "implementation", "package")
"""What tells the adapters of the laboratory's records apart."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files; the status is 1 where a record cannot be read, or is of a make that has no defaults."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", nargs="+", type=Path, metavar="RECORD")
    parser.add_argument("--command", required=True, help="what measured them, for who wants to do it again")
    parser.add_argument("--out", type=Path, default=FOLDER, help="the folder of the files")
    options = parser.parse_args(arguments)
    records: dict[Path, list[Record]] = {}
    for path in options.records:
        try:
            for record in read(path):
                records.setdefault(options.out / file_name(record), []).append(record)
        except (OSError, ValueError, KeyError, EngineError) as error:
            print(f"{path}: {error}", file=sys.stderr)
            return 1
    for target, group in records.items():
        document = defaults(group, options.command, _existing(target))
        target.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        counts = ", ".join(f"{len(rows)} in {precision}" for precision, rows in document["choices"].items())
        print(f"{target.name}: {counts}, {document['origin']['adapter']}")
    return 0


def read(path: Path) -> list[Record]:
    """The records in a file of either kind.

    Raises OSError, InputError for what is neither, and KeyError for a record of the laboratory that lacks a field.
    """
    text = path.read_text(encoding="utf-8")
    first = json.loads(text.partition("\n")[0]) if text.startswith('{"') else None
    return [read_record(text)] if first is None or first["kind"] == KIND else list(_of_laboratory(text))


def _of_laboratory(text: str) -> Iterator[Record]:
    """The records of the laboratory, a Record for each adapter and precision, without rows that were wrong."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for line in text.splitlines():
        entry = json.loads(line)
        if entry["kind"] == "layer":
            groups.setdefault(tuple(entry[word] for word in (*FACTS, "precision")), []).append(entry)
    for facts, entries in groups.items():
        first = entries[0]
        own = {entry["key"]: entry["row"] for entry in entries if entry["own"]}
        seconds: dict[str, dict[str, float]] = {key: {} for key in own}
        errors: dict[str, dict[str, float]] = {key: {} for key in own}
        for entry in entries:
            if entry["right"] and entry["key"] in own:
                seconds[entry["key"]][entry["row"]] = entry["seconds"]
                errors[entry["key"]][entry["row"]] = entry["error"]
        adapter = dict(zip(FACTS, facts, strict=False))
        yield Record(
            adapter={**adapter, "name": adapter["adapter"], "make": (first["vendor"], first["model"])},
            engine=first["engine"],
            date=first["date"],
            precision=first["precision"],
            layers=tuple(RecordedLayer(key, row, seconds[key], errors[key]) for key, row in own.items()),
        )


def file_name(record: Record) -> str:
    """The file that a record's choices go to. Raises ValueError for an adapter of a make that has none."""
    adapter = record.adapter
    make = make_of(adapter["name"], adapter["make"])
    if make is None:
        raise ValueError(f"{adapter['name']} is of no make that engine/tuning/defaults knows")
    return f"{make}-{adapter['implementation']}.json"


def defaults(records: Sequence[Record], command: str, existing: dict[str, Any] | None = None) -> dict[str, Any]:
    """The content of a file, from records of one make and implementation; of one key the last record counts."""
    newest = max(records, key=lambda record: record.date)
    origin = {
        "adapter": newest.adapter["name"],
        "driver": newest.adapter["driver"],
        "implementation": newest.adapter["package"],
        "engine": newest.engine,
        "date": newest.date,
        "command": command,
    }
    choices: dict[str, dict[str, str]] = {}
    if existing and all(existing["origin"][word] == origin[word] for word in ("adapter", "driver")):
        choices = existing["choices"]
    for record in records:
        rows = choices.setdefault(record.precision, {})
        for layer in record.layers:
            rows.pop(layer.key, None)
            seconds = _exact(layer, record.precision)
            if seconds and (best := winner(seconds, layer.table)) != layer.table:
                rows[layer.key] = best
    return {"origin": origin, "choices": choices}


def _exact(layer: RecordedLayer, precision: str) -> dict[str, float]:
    """The seconds of the table's row, and of those that are about as exact."""
    most = max(EXACT_SHARE * TOLERANCE[precision], EXACT_TIMES * layer.errors.get(layer.table, 0.0))
    return {
        row: seconds
        for row, seconds in layer.seconds.items()
        if row == layer.table or layer.errors.get(row, float("inf")) <= most
    }


def _existing(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


if __name__ == "__main__":
    sys.exit(main())
