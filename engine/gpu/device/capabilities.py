"""The capabilities of an adapter, as plans are made for them."""

from __future__ import annotations

from dataclasses import replace

from engine.caps import Caps
from engine.gpu.device.adapters import Adapter
from engine.gpu.device.probe import matrix_units_of


def session_caps(adapter: Adapter, precision: str) -> Caps:
    """What kernels of a session in that precision use on a device of that adapter."""
    # of a compiler that takes seconds for each kernel, few of them are worth more than fast ones
    compact = adapter.software and adapter.name.startswith("SwiftShader")
    return replace(caps_of(adapter, matrix_units=precision != "f32-strict"), compact=compact)


def caps_of(adapter: Adapter, *, matrix_units: bool = True) -> Caps:
    """What kernels may use on a device of that adapter.

    Whether matrix units compute is found out on a device of its own, where the adapter lists them and it is not
    remembered; without ``matrix_units`` there are none, and nothing is opened.
    """
    return Caps(
        limits=dict(adapter.limits),
        features=adapter.features,
        matrix_units=matrix_units_of(adapter) if matrix_units else None,
        subgroup=adapter.subgroup,
    )
