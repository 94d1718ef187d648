"""``nss-wgpu devices``: the adapters of this machine, what each can do, and which one ``auto`` takes."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING

from nss.cli.run_options import JsonOption
from nss.cli.table import aligned, format_bytes

if TYPE_CHECKING:
    from engine import DeviceInfo, Devices

SIZES = {
    "max-buffer-size": "buffer",
    "max-storage-buffer-binding-size": "binding",
    "max-compute-workgroup-storage-size": "workgroup memory",
}
COUNTS = {
    "max-compute-invocations-per-workgroup": "invocations",
    "max-storage-buffers-per-shader-stage": "storage buffers",
}

ORDER = (
    "order: discrete adapters before integrated ones, of the first implementation that has one or the other; "
    "Dawn is asked before wgpu, since it starts sooner and has matrix units (in f32 wgpu may be a little faster)"
)


def devices(as_json: JsonOption = False) -> None:
    """List the adapters that WebGPU finds, and which one would run the network."""
    import engine

    listing = engine.devices(probe=True)
    if as_json:
        import json

        print(json.dumps({**asdict(listing), "advice": _advice(listing)}, indent=2, ensure_ascii=False))
        return
    for line in _lines(listing):
        print(line)


def _lines(listing: Devices) -> list[str]:
    lines = []
    if listing.adapters:
        rows = [["", "#", "NAME", "WEBGPU", "API", "DRIVER", "KIND", "F16", "SUBGROUPS", "TIMESTAMPS", "MATRIX UNITS"]]
        rows += [_row(adapter, adapter.index == listing.chosen) for adapter in listing.adapters]
        lines += [*aligned(rows), ""]
        for adapter in listing.adapters:
            lines += [f"{adapter.index}  limits: {_limits(adapter)}", f"   matrix units: {_matrix(adapter)}"]
        lines.append("")
    lines += _cards(listing)
    if len(listing.adapters) > 1:
        lines.append(ORDER)
    runs = "numpy" if listing.chosen is None else f"webgpu on adapter {listing.chosen}"
    lines.append(f"backend auto: {runs}; {listing.reason}")
    lines += [f"  {line}" for line in _advice(listing)]
    return lines


def _cards(listing: Devices) -> list[str]:
    """How many cards there are, and which implementations do not show all of them, or nothing at all."""
    counts = Counter(adapter.implementation for adapter in listing.adapters if not adapter.software)
    fewer = [f"{name} shows {count} of them" for name, count in counts.items() if count < listing.cards]
    cards = (
        [f"cards: the drivers have {listing.cards}{''.join(f'; {words}' for words in fewer)}"] if listing.cards else []
    )
    return [*cards, *(f"{name}: {failure}" for name, failure in listing.failures.items() if listing.adapters)]


def _row(adapter: DeviceInfo, is_chosen: bool) -> list[str]:
    return [
        "*" if is_chosen else "",
        str(adapter.index),
        f"{adapter.name} #{adapter.ordinal + 1}" if adapter.equals > 1 else adapter.name,
        adapter.implementation,
        adapter.api,
        adapter.driver or "-",
        "hardware" if adapter.kind == "other" else adapter.kind,
        "yes" if adapter.f16 else "no",
        "-" if adapter.subgroup is None else "-".join(map(str, dict.fromkeys(adapter.subgroup))),
        "yes" if adapter.timestamps else "no",
        {True: "work", False: "fail", None: "no"}[adapter.matrix_works],
    ]


def _limits(adapter: DeviceInfo) -> str:
    sizes = [f"{what} {format_bytes(adapter.limits[name])}" for name, what in SIZES.items()]
    return ", ".join([*sizes, *(f"{adapter.limits[name]} {what}" for name, what in COUNTS.items())])


def _matrix(adapter: DeviceInfo) -> str:
    shapes = f" (lists {', '.join(adapter.matrix_shapes)})" if adapter.matrix_shapes else ""
    return f"{adapter.matrix_reason}{shapes}"


def _advice(listing: Devices) -> list[str]:
    """What to install, where there is no adapter but perhaps a software one."""
    if any(not adapter.software for adapter in listing.adapters):
        return []
    from nss.cli.drivers import advice

    return advice()
