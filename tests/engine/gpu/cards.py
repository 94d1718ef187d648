"""Adapters that no machine has, for what only reads their description."""

from __future__ import annotations

from dataclasses import replace

from engine.gpu.device import adapters
from engine.gpu.device.adapters import Adapter

FAKE = Adapter(
    index=0,
    implementation="wgpu",
    name="Slow Rasterizer",
    backend="Vulkan",
    driver="Mesa 1.2",
    software=True,
    f16=False,
    timestamps=False,
    subgroup=None,
    matrix_shapes=(),
    limits=dict.fromkeys(adapters.LIMITS, 1 << 20),
    handle=None,
)


CARD = replace(FAKE, index=1, name="Fast Card 9", driver="maker 580", software=False)


DAWN_CARD = replace(CARD, index=2, implementation="dawn")
