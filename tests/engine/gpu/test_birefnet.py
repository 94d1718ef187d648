"""The tiny BiRefNet on the GPU against ONNX Runtime, in both precisions."""

from __future__ import annotations

import pytest

from tests.engine.birefnet import parity
from tests.engine.gpu.gpu import device
from tools.make_birefnet import FORMS


@pytest.mark.parametrize("form", FORMS)
def test_in_single_precision(form: str) -> None:
    # measured: 1.2e-5 on lavapipe
    parity(
        "tiny", form, side=128, tolerance=1e-4, backend="webgpu", adapter=str(device().adapter.index), precision="f32"
    )


@pytest.mark.parametrize("form", FORMS[:1])
def test_in_half_precision(form: str) -> None:
    if not device().f16:
        pytest.skip(f"{device().adapter} has no shader-f16: HALF PRECISION IS NOT TESTED")
    # measured: 3.2e-3 on lavapipe
    parity(
        "tiny", form, side=128, tolerance=2e-2, backend="webgpu", adapter=str(device().adapter.index), precision="f16"
    )
