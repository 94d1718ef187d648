"""What a tuning measured on an adapter, for those who do not have one: a JSON document, written and read.

It says what the adapter is and can do, which versions measured, and each time. It names no file, no model and no
person: layers are told by their tuning keys, which are types and shapes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from engine.caps import Caps
from engine.errors import InputError
from engine.gpu.device.implementations import package_version
from engine.tuning.store import identity, is_rows
from engine.version import __version__

if TYPE_CHECKING:
    from engine.gpu.device.adapters import Adapter
    from engine.tuning.report import TunedLayer, TuningReport

FORMAT = 1
KIND = "tuning record of nss-wgpu"


def record_of(report: TuningReport, adapter: Adapter, caps: Caps) -> dict[str, Any]:
    """The record of a tuning."""
    return {
        "kind": KIND,
        "format": FORMAT,
        "engine": __version__,
        "date": datetime.now(UTC).date().isoformat(),
        "adapter": {**identity(adapter), "kind": adapter.kind, "package": package_version(adapter.implementation)},
        "caps": json.loads(json.dumps(asdict(caps))),
        "precision": report.precision,
        "seconds_before": report.seconds_before,
        "seconds_after": report.seconds_after,
        "error": _finite(report.error),
        "kept": report.kept,
        "layers": [_layer(layer) for layer in report.layers],
        "left": list(report.left),
    }


def _layer(layer: TunedLayer) -> dict[str, Any]:
    return {
        "key": layer.key,
        "count": layer.count,
        "table": layer.table,
        "before": layer.before,
        "after": layer.after,
        "rows": [
            {
                "row": row,
                "seconds": timing.seconds,
                "error": _finite(timing.error),
                "flops": timing.flops,
                "bytes": timing.nbytes,
                "dispatches": timing.dispatches,
            }
            for row, timing in layer.timings.items()
        ],
        "rejected": dict(layer.rejected),
    }


def _finite(number: float | None) -> float | None:
    """A number as JSON has it: none that is infinite."""
    return number if number is not None and abs(number) < float("inf") else None


@dataclass(frozen=True, slots=True)
class RecordedLayer:
    """A kind of layer in a record: its key, the row that its table takes, and the seconds of all that were right.

    ``errors`` are those of the rows that were held to the oracle, as parts of the largest result.
    """

    key: str
    table: str
    seconds: Mapping[str, float]
    errors: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Record:
    """A record that was read."""

    adapter: Mapping[str, Any]
    engine: str
    date: str
    precision: str
    layers: tuple[RecordedLayer, ...]


def read_record(text: str) -> Record:
    """A record out of its text. Raises InputError, which says in a line what is wrong with it."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError("the record is no JSON") from error
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise InputError("the file is no record of a tuning")
    if document.get("format") != FORMAT:
        raise InputError(f"the record has format {document.get('format')!r}; this version reads {FORMAT}")
    try:
        return Record(
            adapter=_adapter(document["adapter"]),
            engine=_text(document["engine"]),
            date=_text(document["date"]),
            precision=_text(document["precision"]),
            layers=tuple(map(_recorded_layer, document["layers"])),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"the record is damaged: {error!r}") from error


def _adapter(value: Any) -> dict[str, Any]:
    words = ("implementation", "name", "api", "driver", "kind", "package")
    first, second = value["make"]
    return {word: _text(value[word]) for word in words} | {"make": (int(first), int(second))}


def _recorded_layer(value: Any) -> RecordedLayer:
    seconds = {row["row"]: float(row["seconds"]) for row in value["rows"]}
    if not all(is_rows({value["key"]: row}) for row in (value["table"], *seconds)):
        raise ValueError("a layer has no key or no row")
    if not all(0 < number < float("inf") for number in seconds.values()):
        raise ValueError("a row took no time")
    errors = {row["row"]: float(row["error"]) for row in value["rows"] if row.get("error") is not None}
    return RecordedLayer(value["key"], value["table"], seconds, errors)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value
