"""``nss-wgpu kernels``: which kernel computes each node of a network on a GPU, why that one, and what it costs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nss.cli import interface_options
from nss.cli.grouped import grouped
from nss.cli.help_sections import MODEL
from nss.cli.run_options import (
    DeviceOption,
    JsonOption,
    ModelArgument,
    ModelVariantOption,
    Precision,
    PrecisionOption,
)
from nss.cli.table import aligned
from nss.cli.terminal import notify
from nss.errors import UsageError

if TYPE_CHECKING:
    import engine
    from nss.interfaces.interface import Description

NO_ROW = "-"
"""What stands for the row of a node whose operator has one kernel only."""


@grouped(model_config=interface_options.interface)
def kernels(
    model: ModelArgument,
    *,
    model_variant: ModelVariantOption = None,
    device: DeviceOption = None,
    portable: Annotated[
        bool,
        typer.Option("--portable", rich_help_panel=MODEL, help="Plan for what every browser has, and no adapter."),
    ] = False,
    precision: PrecisionOption = Precision.F32,
    model_config: Description,
    measure: Annotated[bool, typer.Option("--time", help="Also run the network, and time each kernel.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say which kernel computes each node of a network on a GPU, why that one, and what it costs.

    Without an adapter it says what a browser would get.
    """
    if portable and (device is not None or measure):
        raise UsageError(f"--portable and {'--time' if device is None else '--device'} contradict each other")
    import engine
    from nss.models import resolve
    from nss.models.adapter_memory import remember_adapters
    from nss.removal.model_reading import bindings, read
    from nss.removal.opening import opening

    resolved = resolve.resolve(
        model, variant=model_variant, backend="auto", device=device, allow_fetch=True, notify=notify
    )
    remember_adapters()
    with opening(resolved.path):
        file, resolved_interface = read(resolved, model_config)
    for line in resolved_interface.guesses:
        notify(line)
    with resolved_interface.blaming_guesses(), opening(resolved.path):
        report = engine.kernel_report(
            file,
            adapter=device,
            precision=precision.value,
            portable=portable,
            measure=measure,
            **bindings(file, resolved_interface.interface),
        )
    if as_json:
        facts = {"model": resolved.spec.name, "model_config": resolved_interface.as_json()}
        print(json.dumps({**facts, **asdict(report)}, indent=2))
        return
    for line in _lines(resolved.spec.name, report):
        print(line)


def _lines(name: str, report: engine.KernelReport) -> list[str]:
    entries = [*report.nodes, *([report.copies] if report.copies.kernels else [])]
    whole = sum(entry.seconds or 0.0 for entry in entries)
    costs = ["US", "%", "GFLOP/S", "GB/S"] if not report.unmeasured else []
    header = ["OP", "NODE", "SHAPE", "ROW", "KERNELS", "GFLOP", "MB", *costs]
    rows = [header, *(_row(entry, whole) for entry in entries)]
    families: dict[str, list[engine.NodeKernels]] = {}
    for entry in entries:
        families.setdefault(_row_name(entry) or entry.op, []).append(entry)
    totals = sorted(families.items(), key=lambda item: _weight(item[1]), reverse=True)
    return [
        f"{name} on {report.device}, {report.precision}: "
        f"{_number(report.dispatches, 'dispatch', 'es')} of {_number(report.programs, 'program')}",
        "",
        *aligned(rows, numbers=range(5, len(header))),
        "",
        *_families([*totals, ("all", entries)], whole, costs),
        "",
        *_reasons(report.nodes),
        *([report.tuning] if report.tuning else []),
        *([report.unmeasured] if report.unmeasured else []),
    ]


def _row(entry: engine.NodeKernels, whole: float) -> list[str]:
    op = " + ".join((entry.op, *entry.joined))
    return [
        op,
        entry.name or NO_ROW,
        "x".join(map(str, entry.shape)) or "scalar",
        _row_name(entry) or NO_ROW,
        _counted(entry.kernels) or "none: it moves nothing",
        *_costs([entry], whole),
    ]


def _row_name(entry: engine.NodeKernels) -> str:
    """The rows of a node, those of the parts of its layer last: "matmul linear, convolution tiled-wide"."""
    return ", ".join(f"{row.family} {row.row}" for row in entry.rows)


def _counted(names: Iterable[str]) -> str:
    """Names in their order, each with how many of it follow each other: "conv, conv_sum", "matmul x 12"."""
    counts: list[tuple[str, int]] = []
    for name in names:
        if counts and counts[-1][0] == name:
            counts[-1] = name, counts[-1][1] + 1
        else:
            counts.append((name, 1))
    return ", ".join(name if count == 1 else f"{name} x {count}" for name, count in counts)


def _costs(entries: Sequence[engine.NodeKernels], whole: float) -> list[str]:
    flops, nbytes = sum(entry.flops for entry in entries), sum(entry.nbytes for entry in entries)
    cells = [f"{flops / 1e9:.3f}" if flops else "-", f"{nbytes / 1e6:.2f}" if nbytes else "-"]
    if any(entry.seconds is None for entry in entries):
        return cells
    seconds = sum(entry.seconds or 0.0 for entry in entries)
    return [
        *cells,
        f"{seconds * 1e6:.1f}",
        f"{100 * seconds / whole:.1f}" if whole else "-",
        f"{flops / seconds / 1e9:.1f}" if flops and seconds else "-",
        f"{nbytes / seconds / 1e9:.1f}" if nbytes and seconds else "-",
    ]


def _weight(entries: Sequence[engine.NodeKernels]) -> tuple[float, int]:
    return sum(entry.seconds or 0.0 for entry in entries), sum(entry.flops for entry in entries)


def _families(totals: Sequence[tuple[str, Sequence[Any]]], whole: float, costs: Sequence[str]) -> list[str]:
    rows = [["ROW OR OPERATOR", "NODES", "DISPATCHES", "GFLOP", "MB", *costs]]
    for name, entries in totals:
        dispatches = sum(len(entry.kernels) for entry in entries)
        rows.append([name, str(len(entries)), str(dispatches), *_costs(entries, whole)])
    return aligned(rows, numbers=range(1, len(rows[0])))


def _reasons(entries: Sequence[engine.NodeKernels]) -> list[str]:
    """Why each row that was taken was: its own sentence, and what became of those before it."""
    rows: dict[tuple[str, str], engine.ChosenRow] = {}
    counts: dict[tuple[str, str], int] = {}
    for entry in entries:
        for row in entry.rows:
            rows.setdefault((row.family, row.row), row)
            counts[row.family, row.row] = counts.get((row.family, row.row), 0) + 1
    lines: list[str] = []
    for (family, name), row in rows.items():
        asked = "asked for: " if row.forced else ""
        lines.append(f"{family} {name}, {_number(counts[family, name], 'layer')}: {asked}{row.reason}")
        others: dict[str, list[str]] = {}
        for other, why in row.passed_over.items():
            others.setdefault(why, []).append(other)
        lines += [f"  not {_kinds(names)}: {why}" for why, names in others.items()]
    return [*lines, ""] if lines else []


def _kinds(rows: Iterable[str]) -> str:
    """Rows by kind, as many as there are of one: "few-inputs, patch (15 rows)"; `--json` has each by its name."""
    kinds: dict[str, list[str]] = {}
    for row in rows:
        kinds.setdefault(re.split(r"-(?=\d)", row)[0], []).append(row)
    return ", ".join(names[0] if len(names) == 1 else f"{kind} ({len(names)} rows)" for kind, names in kinds.items())


def _number(count: int, word: str, ending: str = "s") -> str:
    return f"{count} {word}{'' if count == 1 else ending}"
