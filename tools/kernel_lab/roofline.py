"""Records of the kernel laboratory as a roofline: each layer's arithmetic intensity and rate under the adapter's roof.

    python -m tools.kernel_lab.roofline records.jsonl --model isnet --precision f16 --out docs/roofline.svg [--row best]
    python -m tools.kernel_lab.roofline records.jsonl --profile isnet.json --out docs/roofline.svg

The layers are those of the records, each run alone, or of a profile, which ``nss-wgpu bench MODEL --profile --json``
prints: of the whole network, with all that is fused. The ceilings are the records'.

A layer's place is its operations for each byte that it reads and writes at the least, and its operations a second, both
on logarithmic axes. The slope of the roof is what the adapter copies, and its flat parts are what its units multiply
and add. The area of a circle is the layer's share of the time of all layers of the network, equal ones together. The
SVG has no background of its own, and follows the reader's light or dark theme.

Also prints a table of the layers that take most.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

from tools.kernel_lab.records import read
from tools.timing import table

WIDTH, HEIGHT = 760, 460
LEFT, RIGHT, TOP, BOTTOM = 76, 20, 48, 48
"""Margins of the plot, in pixels."""

LARGEST = 26.0
"""The radius of a circle that has all of the time, in pixels."""

SMALLEST = 2.5
"""The least radius."""

TOLD = 0.005
"""The part of the time from which on a circle says which layer it is, where the pointer rests on it."""

UNITS = ("f32", "f16", "matrix")
"""The ceilings of units, in the order of their names in the legend."""

LIGHT = ("#1f2328", "#59636e", "#d1d9e0", ("#0969da", "#bc4c00", "#1a7f37", "#8250df", "#cf222e", "#6e7781"))
DARK = ("#f0f6fc", "#9198a1", "#3d444d", ("#4493f8", "#f0883e", "#3fb950", "#ab7df8", "#f85149", "#9198a1"))
"""Colours of text and roof, of axes, of the grid, and of rows: the most costly first, the last one for all others."""


@dataclass(frozen=True, slots=True)
class Point:
    """A layer: its row, what it computes and moves, the seconds of one, and how many the network has."""

    key: str
    family: str
    row: str
    flops: int
    nbytes: int
    seconds: float
    count: int

    @property
    def kind(self) -> str:
        """What its colour says: the family, and the way that the row goes, whatever its tile; or the kernel."""
        return f"{self.family} {self.row.partition('-')[0]}" if self.family else self.row

    @property
    def intensity(self) -> float:
        """Operations for each byte."""
        return self.flops / self.nbytes

    @property
    def rate(self) -> float:
        """Operations a second."""
        return self.flops / self.seconds

    def of_roof(self, copy: float, unit: float) -> float:
        """The part of what the adapter could do at this intensity."""
        return self.rate / min(unit, self.intensity * copy)


def points_of(records: Sequence[Mapping[str, Any]], model: str, precision: str, *, best: bool = False) -> list[Point]:
    """The layers of a network with the table's own rows, or the best ones that are right; of two records the later."""
    by_key: dict[str, dict[str, Mapping[str, Any]]] = {}
    for record in records:
        if record["kind"] == "layer" and record["precision"] == precision and model in record["models"]:
            by_key.setdefault(record["key"], {})[record["row"]] = record
    points = []
    for key, rows in by_key.items():
        fitting = [row for row in rows.values() if row["right"] and row["flops"] and (best or row["own"])]
        if fitting:
            row = min(fitting, key=lambda row: float(row["seconds"]))
            points.append(
                Point(
                    key,
                    row["family"],
                    row["row"],
                    flops=row["flops"],
                    nbytes=row["bytes"],
                    seconds=row["seconds"],
                    count=row["models"][model],
                )
            )
    return sorted(points, key=lambda point: point.seconds * point.count, reverse=True)


def points_of_profile(profile: Mapping[str, Any]) -> list[Point]:
    """The layers of a profile, each all kernels of a node behind each other; equal ones together, by their mean.

    A layer is named by its first node, and its row is the kernel that multiplies most. Those that multiply nothing have
    no place.
    """
    layers: dict[tuple[str, int, int], list[tuple[str, float]]] = {}
    for (op, node), group in groupby(profile["kernels"], key=lambda kernel: (kernel["op"], kernel["node"])):
        kernels = list(group)
        flops, nbytes = (sum(kernel[word] for kernel in kernels) for word in ("flops", "nbytes"))
        main = max(kernels, key=lambda kernel: kernel["flops"])["kernel"]
        layers.setdefault((main, flops, nbytes), []).append(
            (f"{op} {node}", sum(kernel["seconds"] for kernel in kernels))
        )
    points = [
        Point(
            members[0][0],
            "",
            main,
            flops=flops,
            nbytes=nbytes,
            seconds=sum(seconds for _, seconds in members) / len(members),
            count=len(members),
        )
        for (main, flops, nbytes), members in layers.items()
        if flops and nbytes
    ]
    return sorted(points, key=lambda point: point.seconds * point.count, reverse=True)


class _Axes:
    """Logarithmic axes: where an intensity and a rate lie, in pixels."""

    def __init__(self, points: Sequence[Point], ceilings: Mapping[str, float]) -> None:
        intensities = [point.intensity for point in points]
        rates = [point.rate for point in points]
        top = max([ceilings[unit] for unit in UNITS if unit in ceilings] + rates)
        ridge = top / ceilings["copy"]
        self.x = _decades([*intensities, ridge])
        self.y = _decades([*rates, top])

    def left(self, intensity: float) -> float:
        first, last = self.x
        return LEFT + (math.log10(intensity) - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    def top(self, rate: float) -> float:
        first, last = self.y
        return HEIGHT - BOTTOM - (math.log10(rate) - first) / (last - first) * (HEIGHT - TOP - BOTTOM)


def _decades(numbers: Sequence[float]) -> tuple[int, int]:
    """The powers of ten around some numbers."""
    first = math.floor(math.log10(min(numbers)))
    return first, max(first + 1, math.ceil(math.log10(max(numbers)) + 1e-9))


def _style(text: str, axis: str, grid: str, rows: Sequence[str]) -> str:
    colours = " ".join(f".c{index} {{ fill: {colour} }}" for index, colour in enumerate(rows))
    return (
        f"text {{ fill: {text} }} .roof {{ stroke: {text} }} .axis {{ stroke: {axis} }} .grid {{ stroke: {grid} }} "
        f"{colours}"
    )


def svg(points: Sequence[Point], ceilings: Mapping[str, float], title: str) -> str:
    """The plot. ``ceilings`` has ``copy`` in bytes a second, and any of UNITS in operations a second."""
    axes = _Axes(points, ceilings)
    whole = sum(point.seconds * point.count for point in points)
    kinds = _kinds(points)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">',
        "<style>text { font: 12px sans-serif } path { fill: none } .roof { stroke-width: 1.5 }",
        "circle { fill-opacity: 0.65 }",
        _style(*LIGHT),
        f"@media (prefers-color-scheme: dark) {{ {_style(*DARK)} }}</style>",
        f'<text x="{LEFT}" y="20" style="font-weight: bold">{escape(title)}</text>',
        *_grid(axes),
        *_roof(axes, ceilings),
    ]
    # the large ones first, so that the small ones lie on them
    for point in points:
        share = point.seconds * point.count / whole
        radius = max(SMALLEST, LARGEST * math.sqrt(share))
        tip = (
            f"{point.key}: {point.row}, {point.seconds * 1e6:.1f} µs, {point.count} of them, "
            f"{point.rate / 1e9:.0f} GFLOP/s, {100 * share:.1f} % of the time"
        )
        title = f"<title>{escape(tip)}</title>" if share >= TOLD else ""
        parts.append(
            f'<circle class="c{min(kinds.index(point.kind), 5)}" cx="{axes.left(point.intensity):.1f}" '
            f'cy="{axes.top(point.rate):.1f}" r="{radius:.1f}">{title}</circle>'
        )
    for index, kind in enumerate(kinds[:5] + (["others"] if len(kinds) > 5 else [])):
        y = HEIGHT - BOTTOM - 12 - 17 * (min(len(kinds), 6) - 1 - index)
        parts.append(f'<circle class="c{index}" cx="{WIDTH - 190}" cy="{y - 4}" r="5"/>')
        parts.append(f'<text x="{WIDTH - 180}" y="{y}">{escape(kind)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _kinds(points: Sequence[Point]) -> list[str]:
    """The kinds of points, those that take most first."""
    seconds: dict[str, float] = {}
    for point in points:
        seconds[point.kind] = seconds.get(point.kind, 0.0) + point.seconds * point.count
    return sorted(seconds, key=lambda kind: -seconds[kind])


def _grid(axes: _Axes) -> list[str]:
    parts = []
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    for power in range(axes.x[0], axes.x[1] + 1):
        x = axes.left(10.0**power)
        parts.append(f'<path class="grid" d="M{x:.1f} {TOP}V{bottom}"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{10.0**power:g}</text>')
    for power in range(axes.y[0], axes.y[1] + 1):
        y = axes.top(10.0**power)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{right}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{10.0 ** (power - 9):,.10g}</text>')
    parts.append(f'<path class="axis" d="M{LEFT} {TOP}V{bottom}H{right}"/>')
    parts.append(f'<text x="{right}" y="{HEIGHT - 10}" text-anchor="end">operations for each byte</text>')
    parts.append(f'<text x="{LEFT - 6}" y="{TOP - 10}" text-anchor="end">GFLOP/s</text>')
    return parts


def _roof(axes: _Axes, ceilings: Mapping[str, float]) -> list[str]:
    """The slope of the copy, up to the highest flat part, and each flat part from the slope on."""
    units = {unit: ceilings[unit] for unit in UNITS if ceilings.get(unit)}
    copy, right = ceilings["copy"], 10.0 ** axes.x[1]
    lowest = max(10.0 ** axes.x[0], 10.0 ** axes.y[0] / copy)
    ridge = max(units.values()) / copy
    parts = [
        f'<path class="roof" d="M{axes.left(lowest):.1f} {axes.top(lowest * copy):.1f}'
        f'L{axes.left(ridge):.1f} {axes.top(ridge * copy):.1f}"/>',
        f'<text x="{axes.left(lowest) + 26:.1f}" y="{axes.top(lowest * copy) + 4:.1f}">{copy / 1e9:.0f} GB/s</text>',
    ]
    for unit, rate in units.items():
        y, first = axes.top(rate), max(rate / copy, 10.0 ** axes.x[0])
        parts.append(f'<path class="roof" d="M{axes.left(first):.1f} {y:.1f}H{axes.left(right):.1f}"/>')
        name = {"f32": "f32", "f16": "f16", "matrix": "f16 on matrix units"}[unit]
        parts.append(
            f'<text x="{axes.left(right) - 4:.1f}" y="{y - 5:.1f}" text-anchor="end">{name}, '
            f"{rate / 1e12:.3g} TFLOP/s</text>"
        )
    return parts


def slowest(points: Sequence[Point], ceilings: Mapping[str, float], count: int = 12) -> str:
    """A Markdown table of the layers that take most."""
    whole = sum(point.seconds * point.count for point in points)
    unit = max(ceilings[name] for name in UNITS if name in ceilings)
    rows = [
        [
            point.key,
            point.row,
            f"{point.count}",
            f"{point.seconds * 1e6:.1f}",
            f"{100 * point.seconds * point.count / whole:.1f}",
            f"{point.rate / 1e12:.2f}",
            f"{point.flops / point.intensity / point.seconds / 1e9:.0f}",
            f"{100 * point.of_roof(ceilings['copy'], unit):.0f}",
        ]
        for point in points[:count]
    ]
    return table(
        f"{len(points)} layers, {whole * 1e3:.3f} ms",
        ["layer", "row", "layers", "µs", "% of all", "TFLOP/s", "GB/s", "% of the roof"],
        rows,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tools.kernel_lab.roofline")
    parser.add_argument("records", type=Path, nargs="+")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model")
    source.add_argument("--profile", type=Path)
    parser.add_argument("--precision", default="f32", choices=["f32", "f16"])
    parser.add_argument("--row", default="own", choices=["own", "best"])
    parser.add_argument("--title")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    records = read(options.records)
    ceilings = [record for record in records if record["kind"] == "ceilings"]
    if options.profile:
        profile = json.loads(options.profile.read_text("utf-8"))
        name, precision = profile["model"], profile["precision"].partition("-")[0]
        points = points_of_profile(profile)
    else:
        name, precision = options.model, options.precision
        points = points_of(records, name, precision, best=options.row == "best")
    if not points or not ceilings:
        sys.exit("no record of such layers, or no ceilings")
    last = ceilings[-1]
    roof = {unit: last[unit] for unit in ("copy", *UNITS) if last.get(unit)}
    # a network in float32 uses no units of float16
    if precision == "f32" and not any("matrix" in point.row or "split" in point.row for point in points):
        roof = {unit: roof[unit] for unit in ("copy", "f32")}
    title = options.title or f"{name}, {precision}, {last['implementation']}, {last['adapter']}"
    if options.out:
        options.out.write_text(svg(points, roof, title), encoding="utf-8")
    print(slowest(points, roof))
    return 0


if __name__ == "__main__":
    sys.exit(main())
