"""Adapters that no machine has, for what only reads their description."""

from __future__ import annotations

from dataclasses import dataclass, replace

from engine.caps import PORTABLE_LIMITS
from engine.gpu.device.adapters import Adapter


@dataclass(frozen=True, slots=True)
class FakeAdapter(Adapter):
    """One whose index is what the test says."""

    number: int = 0

    @property
    def index(self) -> int:
        return self.number


FAKE = FakeAdapter(
    position=0,
    implementation="wgpu",
    name="Slow Rasterizer",
    backend="Vulkan",
    driver="Mesa 1.2",
    kind="software",
    features=(),
    subgroup=None,
    matrix_shapes=(),
    limits=PORTABLE_LIMITS,
    handle=None,
    number=1,
)


CARD = replace(FAKE, position=1, number=2, name="Fast Card 9", driver="maker 580", kind="discrete")


DAWN_CARD = replace(CARD, position=0, number=0, implementation="dawn")
