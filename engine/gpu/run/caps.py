"""The capabilities of an open device, as passes, lowering and plans ask for them."""

from __future__ import annotations

from engine.caps import Caps
from engine.gpu.device.device import Device
from engine.gpu.plan.limits import FEATURES, MATRIX_FEATURE


def device_caps(device: Device, *, matrix_units: bool) -> Caps:
    """The caps of a device; with ``matrix_units`` a product is tried on them, once in a process."""
    features = [FEATURES["f16"]] if device.f16 else []
    features += ["timestamp-query"] if device.timestamps else []
    features += [FEATURES["subgroups"], MATRIX_FEATURE] if device.matrix_units else []
    lanes = 0
    if matrix_units:
        from engine.gpu.device.probe import matrix_lanes

        lanes = matrix_lanes(device)
    return Caps(
        limits=device.limits,
        features=tuple(features),
        matrix_lanes=lanes,
        matrix_shapes=device.adapter.matrix_shapes,
        subgroup=device.adapter.subgroup,
    )
