"""What a run has done, photo by photo: Parquet parts below ``manifest/`` in the target, and what they leave to do.

A part is put whole when its block is finished, so an output can be there without its row, for as long as a block takes
or where its worker has died. Before the first output a run puts the list of those names that were free: a claim. What
has such a name later, and no row, is from a run that did not come to its row.
"""

from __future__ import annotations

import hashlib
import io
import json
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

from nss.errors import ImageError, one_line
from nss.files.output_file import ExistsError
from nss.ray import storage
from nss.ray.listing import Pair

FOLDER = "manifest"

_CLAIM = "_claim-"
"""How the names of claims begin: what reads a folder of Parquet passes over names that begin with ``_``."""

_ENDING = ".parquet"

Exists: TypeAlias = Literal["fail", "skip", "overwrite"]


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one photo.

    Attributes:
        input: its address.
        output: the output's name below the target, with slashes.
        settings: of the run, as `settings_digest` has them.
        sha256: of the output, 64 hexadecimal digits; "" where there is none.
        milliseconds: wall time by stage.
        backend: what ran the network, "" where nothing did.
        node: the machine that wrote the output, or failed.
        error: why there is no output, in one line; "" where there is.
    """

    input: str
    output: str
    settings: str = ""
    sha256: str = ""
    milliseconds: Mapping[str, float] = field(default_factory=dict)
    backend: str = ""
    node: str = ""
    error: str = ""


@dataclass(frozen=True)
class ToDo:
    """What a run has to do.

    Attributes:
        work: the photos to be done, each with whether what has the output's name is to be replaced.
        done: those whose output and row are there.
        skipped: those whose output is somebody else's, and stays.
        failed: those that fail before they are begun.
        claim: the outputs of ``work`` that are this run's to make.
    """

    work: Sequence[tuple[Pair, bool]]
    done: Sequence[Pair]
    skipped: Sequence[Pair]
    failed: Sequence[tuple[Pair, Exception]]
    claim: Sequence[str]


def settings_digest(settings: Mapping[str, Any]) -> str:
    """16 hexadecimal digits that stand for all that decides what an output is: the model's digest, every option."""
    text = json.dumps(settings, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def new_run() -> str:
    """A name for a run: sorted as text, later runs come later."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}Z-{secrets.token_hex(4)}"


def to_do(
    pairs: Iterable[Pair],
    rows: Iterable[Row],
    existing: Collection[str],
    claimed: Collection[str] = (),
    *,
    settings: str = "",
    exists: Exists = "fail",
) -> ToDo:
    """What is still to be done. Outputs and rows together are the truth:

    ============= ================================= ======================================================
    output        newest row of it                  to do
    ============= ================================= ======================================================
    there         without error, of these settings  nothing, in any case
    there         without error, of other settings  as ``exists`` says
    there         none or an error, claimed         the photo, in its place: a run died before the row
    there         none or an error, not claimed     as ``exists`` says: it is somebody else's
    not there     any                               the photo
    ============= ================================= ======================================================

    Args:
        pairs: all photos of the run.
        rows: of all runs with this target, the newest last.
        existing: the outputs that are there.
        claimed: what runs with this target have claimed.
        settings: those of the run.
        exists: ``"fail"`` gives a photo an error, ``"skip"`` leaves it, ``"overwrite"`` does it again.
    """
    by_output = {row.output: (row.settings, row.error == "") for row in rows}
    work: list[tuple[Pair, bool]] = []
    done, skipped, claim = list[Pair](), list[Pair](), list[str]()
    failed: list[tuple[Pair, Exception]] = []
    for pair in pairs:
        row_settings, is_whole = by_output.get(pair.output, ("", False))
        is_there = pair.output in existing
        is_own = not is_whole and pair.output in claimed
        if pair.error is not None:
            failed.append((pair, pair.error))
        elif is_there and is_whole and row_settings == settings:
            done.append(pair)
        elif not is_there or is_own or exists == "overwrite":
            work.append((pair, is_there or exists == "overwrite"))
            if not is_there or is_own:
                claim.append(pair.output)
        elif exists == "skip":
            skipped.append(pair)
        else:
            failed.append((pair, ExistsError(f"{pair.output}: exists already; pass 'overwrite' to replace it")))
    return ToDo(work, done, skipped, failed, claim)


def write_part(target: str, name: str, rows: Iterable[Row]) -> None:
    """Put the rows of a finished block, as one Parquet, in the place of an earlier part of that name.

    Args:
        target: the folder of the outputs.
        name: the run's and the block's, ``f"{run}-{block:06}"``: the same when a block is done again.
        rows: one for each photo of the block.

    Raises:
        ImageError: it cannot be written.
    """
    records = [{name: getattr(row, name) for name in Row.__slots__} for row in rows]
    _write(target, name, [{**record, "milliseconds": list(record["milliseconds"].items())} for record in records])


def write_claim(target: str, run: str, outputs: Sequence[str]) -> None:
    """Put the names that were free when a run began, before it writes any of them. Raises as `write_part`."""
    _write(target, f"{_CLAIM}{run}", [{"output": output} for output in outputs])


def read_rows(target: str, columns: Sequence[str] | None = None) -> Iterator[Row]:
    """The rows of all parts, the newest last; those of the fields ``columns`` alone, which have input and output.

    Raises:
        ImageError: a part cannot be read.
    """
    for record in _read(target, lambda name: not name.startswith(_CLAIM), columns):
        if "milliseconds" in record:
            record["milliseconds"] = dict(record["milliseconds"])
        yield Row(**record)


def read_claims(target: str) -> set[str]:
    """The outputs that runs with this target have claimed. Raises as `read_rows`."""
    return {record["output"] for record in _read(target, lambda name: name.startswith(_CLAIM), None)}


def existing_outputs(target: str) -> set[str]:
    """All files below the target, relative to it, but for the manifest. Raises ImageError if it cannot be listed."""
    return {name for name in storage.names_below(target) if not name.startswith(f"{FOLDER}/")}


def _write(target: str, name: str, records: list[dict[str, Any]]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    schema = _schema(pa)
    if records and len(records[0]) < len(schema):
        schema = pa.schema([schema.field(name) for name in records[0]])
    file = io.BytesIO()
    # neighbours have most of their names in common
    names = {name: "DELTA_BYTE_ARRAY" for name in ("input", "output") if name in schema.names}
    dictionaries = [name for name in schema.names if name in ("settings", "backend", "node")]
    parquet.write_table(
        pa.Table.from_pylist(records, schema=schema),
        file,
        compression="zstd",
        use_dictionary=dictionaries,
        column_encoding=names,
    )
    storage.put(storage.join(target, f"{FOLDER}/{name}{_ENDING}"), file.getvalue(), overwrite=True)


def _read(target: str, wanted: Callable[[str], bool], columns: Sequence[str] | None) -> Iterator[dict[str, Any]]:
    from pyarrow import ArrowException, parquet

    folder = storage.join(target, FOLDER)
    names = sorted(n for n in storage.names_below(folder, recursive=False) if n.endswith(_ENDING) and wanted(n))
    addresses = [storage.join(folder, name) for name in names]
    for address, data in zip(addresses, storage.read_many(addresses), strict=True):
        try:
            table = parquet.read_table(io.BytesIO(data), columns=list(columns) if columns else None)
        except (ArrowException, ValueError, OSError) as error:
            reason = one_line(error)
            raise ImageError(
                f"{address}: is no part of a manifest: {reason}; remove it to have its photos done"
            ) from error
        yield from table.to_pylist()


def _schema(pa: Any) -> Any:
    texts = {name: pa.string() for name in Row.__slots__}
    return pa.schema({**texts, "milliseconds": pa.map_(pa.string(), pa.float64())})
