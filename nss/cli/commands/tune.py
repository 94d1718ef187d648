"""``nss-wgpu tune``: the fastest kernel for each layer of a model on an adapter, measured and kept."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nss.cli import interface_options
from nss.cli.grouped import grouped
from nss.cli.help_sections import COMMON
from nss.cli.named_file import NamedFile
from nss.cli.run_options import DeviceOption, JsonOption, ModelVariantOption, Precision, PrecisionOption
from nss.cli.table import aligned
from nss.cli.terminal import complain, notify
from nss.errors import NssError, UsageError

if TYPE_CHECKING:
    import engine
    from nss.interfaces.interface import Description
    from nss.models.local_models import ResolvedModel


@grouped(model_config=interface_options.interface)
def tune(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL", help="auto, a catalogue name, an ONNX file, or OWNER/NAME.", show_default=False
        ),
    ] = None,
    *,
    model_variant: ModelVariantOption = None,
    device: DeviceOption = None,
    precision: PrecisionOption = Precision.F32,
    model_config: Description,
    seconds: Annotated[
        float, typer.Option(min=1.0, metavar="N", help="How long it may take; the largest layers come first.")
    ] = 60.0,
    record: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            rich_help_panel=COMMON,
            help="Also write all times as JSON, to send to the project; names no model and no file.",
            show_default=False,
        ),
    ] = None,
    forget: Annotated[
        bool,
        typer.Option("--forget", help="First forget what is kept of the adapter; without MODEL that is all."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Try the kernels that there are for each layer of a model on a GPU, and keep the choice of the fastest."""
    import engine
    from nss.models.adapter_memory import remember_adapters
    from nss.removal.opening import opening

    if model is None and not forget:
        raise UsageError("a MODEL is missing; with --forget alone what is kept of the adapter is forgotten")
    if model is None and (as_json or record is not None):
        raise UsageError(f"{'--json' if record is None else '--record'} is of a tuning: name the MODEL to tune")
    record_file = None if record is None else NamedFile("--record", record)
    remember_adapters()
    if forget:
        with opening(Path()):
            name, count = engine.forget_tuning(device)
        kinds = "1 kind" if count == 1 else f"{count} kinds"
        notify(f"{name}: the choices for {kinds} of layers are forgotten" if count else f"{name}: nothing was kept")
    if model is None:
        return
    from nss.models import resolve

    resolved = resolve.resolve(
        model, variant=model_variant, backend="webgpu", device=device, allow_fetch=True, notify=notify
    )
    if record_file is not None:
        record_file.check([resolved.path])
    report = _tune(resolved, model_config, adapter=device, precision=precision.value, seconds=seconds)
    if record_file is not None:
        record_file.write(json.dumps(report.record, indent=1))
    if as_json:
        facts = {"model": resolved.spec.name, "device": report.device, "reason": report.reason}
        print(json.dumps({**facts, "seconds": report.seconds, **report.record}, indent=2))
    else:
        for line in _lines(resolved.spec.name, report):
            print(line)
    if report.left:
        complain(
            f"the time was up before {len(report.left)} of {len(report.left) + len(report.layers)} kinds of layers; "
            f"--seconds {2 * seconds:g} gives it more"
        )
    if report.failed:
        raise NssError(report.reason)


def _tune(resolved: ResolvedModel, model_config: Description, **options: Any) -> engine.TuningReport:
    import engine
    from nss.cli.progress import Progress
    from nss.removal.model_reading import bindings, read
    from nss.removal.opening import opening

    with opening(resolved.path):
        file, resolved_interface = read(resolved, model_config)
    for line in resolved_interface.guesses:
        notify(line)
    with resolved_interface.blaming_guesses(), opening(resolved.path), ExitStack() as stack:
        bars: list[Progress] = []

        def progress(done: int, total: int, key: str) -> None:
            if not bars:
                bars.append(stack.enter_context(Progress(total, quiet=False, what="layer")))
            bars[0].update(done, key)

        return engine.tune(file, progress=progress, **bindings(file, resolved_interface.interface), **options)


def _lines(name: str, report: engine.TuningReport) -> list[str]:
    lines = [f"{name} on {report.device}, {report.precision}, tuned in {report.seconds:.1f} s", ""]
    if report.layers:
        rows = [["LAYER", "COUNT", "BEFORE", "µs", "AFTER", "µs", "TIMES"], *map(_row, report.layers)]
        lines += [*aligned(rows, numbers=(1, 3, 5, 6)), ""]
    whole = f"the whole model: {report.seconds_before * 1e3:.2f} ms"
    if report.seconds_after is not None:
        whole += f" before, {report.seconds_after * 1e3:.2f} ms after, outputs apart by {report.error:.1e}"
    return [*lines, whole, *([] if report.failed else [report.reason])]


def _row(layer: engine.TunedLayer) -> list[str]:
    before, after = layer.seconds_before, layer.seconds_after
    changed = layer.after != layer.before
    return [
        layer.key,
        str(layer.count),
        layer.before,
        "-" if before is None else f"{before * 1e6:.1f}",
        layer.after if changed else "=",
        f"{after * 1e6:.1f}" if changed and after is not None else "",
        f"{before / after:.2f}" if changed and before and after else "",
    ]
