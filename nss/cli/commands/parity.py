"""``nss-wgpu parity``: how far a backend is from the oracle, node by node and at the end."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nss.cli import interface_options
from nss.cli.grouped import grouped
from nss.cli.run_options import (
    Backend,
    BackendOption,
    DeviceOption,
    JsonOption,
    ModelArgument,
    ModelVariantOption,
    Precision,
    PrecisionOption,
)
from nss.cli.table import aligned
from nss.cli.terminal import complain, notify

if TYPE_CHECKING:
    import numpy as np

    import engine
    from nss.interfaces.interface import Description, Interface
    from nss.models.local_models import ResolvedModel
    from nss.removal.resolved_interface import ResolvedInterface


class Oracle(StrEnum):
    """What a backend is held to."""

    REFERENCE = "reference"
    NUMPY = "numpy"


@grouped(model_config=interface_options.interface)
def parity(
    model: ModelArgument,
    *,
    model_variant: ModelVariantOption = None,
    image: Annotated[
        str | None, typer.Option(metavar="P", help="A photo as input; default: random numbers.", show_default=False)
    ] = None,
    backend: BackendOption = Backend.WEBGPU,
    against: Annotated[Oracle, typer.Option(help="What it is compared with.")] = Oracle.REFERENCE,
    per_node: Annotated[bool, typer.Option("--per-node", help="Also compare every node.")] = False,
    device: DeviceOption = None,
    precision: PrecisionOption = Precision.F32,
    model_config: Description,
    rtol: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            metavar="X",
            help="Tolerance, as a part of the largest magnitude.  [default: 1e-3, with f16 1e-2]",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare a backend with the oracle; status 1 where a node or an output is over tolerance.

    With --per-node each node is fed the oracle's own inputs (error), and the whole network runs with its intermediate
    values kept (drift).
    """
    from nss.models import resolve

    resolved = resolve.resolve(
        model, variant=model_variant, backend=backend.value, device=device, allow_fetch=True, notify=notify
    )
    report, resolved_interface = _compare(
        resolved,
        image,
        model_config,
        backend=backend.value,
        against=against.value,
        per_node=per_node,
        adapter=device,
        precision=precision.value,
        rtol=rtol,
    )
    over = report.first_over
    if as_json:
        first = asdict(over) if over else None
        print(
            json.dumps(
                _finite({**asdict(report), "first_over": first, "model_config": resolved_interface.as_json()}), indent=2
            )
        )
    else:
        for line in _lines(report):
            print(line)
    if over:
        complain(f"over tolerance: {_label(over)} is off by {over.error.relative:.2e}, {report.rtol:g} is allowed")
        raise typer.Exit(1)


def _compare(
    resolved: ResolvedModel, image: str | None, model_config: Description, **options: Any
) -> tuple[engine.ParityReport, ResolvedInterface]:
    import engine
    from nss.models.adapter_memory import remember_adapters
    from nss.removal.model_reading import bindings, read
    from nss.removal.opening import opening

    remember_adapters()
    with opening(resolved.path):
        file, resolved_interface = read(resolved, model_config)
    for line in resolved_interface.guesses:
        notify(line)
    with resolved_interface.blaming_guesses(), opening(resolved.path):
        inputs = None if image is None else _photo(image, resolved_interface.interface)
        shape = inputs[resolved_interface.interface.input].shape if inputs else None
        return engine.compare(
            file, inputs, **bindings(file, resolved_interface.interface, shape), **options
        ), resolved_interface


def _photo(image: str, interface: Interface) -> dict[str, np.ndarray]:
    from nss.photos import image_io
    from nss.removal import preprocess

    photo = image_io.load(image)
    return {interface.input: preprocess.prepare(photo.rgb, interface, photo.alpha, photo.name)}


def _finite(value: Any) -> Any:
    """``value`` with infinities as text: JSON has no number for them."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _label(item: engine.NodeError) -> str:
    return f"{item.op} '{item.name}'"


def _lines(report: engine.ParityReport) -> list[str]:
    against = f"{report.backend} ({report.device}, {report.precision}) against {report.against}"
    lines = [f"{against}, tolerance {report.rtol:g} of the largest magnitude", ""]
    if report.nodes:
        rows = [["", "OP", "NODE", "SHAPE", "ERROR", "RELATIVE", "DRIFT", "RELATIVE"]]
        rows += [_row(node, report.rtol) for node in report.nodes]
        lines += [*aligned(rows, numbers=range(4, 8)), ""]
        worst = max(report.nodes, key=lambda node: node.error.relative)
        lines.append(f"{len(report.nodes)} nodes; the worst is {_label(worst)}, {worst.error.relative:.2e}")
    for output in report.outputs:
        error = output.error
        lines.append(f"end to end: {output.name} is off by {error.absolute:.2e} at most, {error.relative:.2e} relative")
    return lines


def _row(node: engine.NodeError, rtol: float) -> list[str]:
    drift = node.drift
    return [
        "" if node.error.relative <= rtol else "!",
        node.op,
        node.name,
        "x".join(map(str, node.shape)) or "scalar",
        f"{node.error.absolute:.2e}",
        f"{node.error.relative:.2e}",
        f"{drift.absolute:.2e}" if drift else "-",
        f"{drift.relative:.2e}" if drift else "-",
    ]
