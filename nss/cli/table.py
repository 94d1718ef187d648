"""Rows of text as columns."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def aligned(rows: Sequence[Sequence[str]], numbers: Collection[int] = ()) -> list[str]:
    """A line for each row; the columns in ``numbers`` are flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if index in numbers else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def format_bytes(count: int) -> str:
    """Bytes in the binary unit that memory is counted in: "32 KiB", "4.6 MiB", "2 GiB"."""
    size, units = float(count), ["bytes", "KiB", "MiB", "GiB"]
    while size >= 1023.95 and len(units) > 1:
        size /= 1024
        units.pop(0)
    number = f"{size:.0f}" if size >= 100 else f"{size:.1f}".removesuffix(".0")
    return f"{number} {units[0]}"


def in_words(value: object) -> str:
    """A value of JSON as a cell of text: a list with commas, an object as its names and values."""
    if value is None:
        return "-"
    if isinstance(value, dict):
        return "; ".join(f"{key} {in_words(item)}" for key, item in value.items()) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
