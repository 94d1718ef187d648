"""The probe of matrix units: which answers it would believe."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engine.gpu.device import probe
from engine.gpu.device.probe import operands, try_matrix_units
from tests.engine.gpu.cards import CARD

CONFIG = {"component_type": "f16", "result_component_type": "f32", "m": 16, "n": 16, "k": 16}


def test_the_operands_tell_a_product_from_its_look_alikes() -> None:
    a, b = (array.astype(np.float32) for array in operands(16, 16, 16))
    right = a @ b
    for wrong in (b @ a, a.T @ b, a @ b.T, (a @ b).T, np.zeros_like(right)):
        assert not np.array_equal(right, wrong)
    half = a.astype(np.float16) @ b.astype(np.float16)
    assert np.array_equal(half.astype(np.float32), right)  # exact in any order of summation


@pytest.mark.parametrize("result", ["f32", "f16"])
@pytest.mark.parametrize("works", [True, False])
def test_a_product_is_believed_only_when_right(monkeypatch: pytest.MonkeyPatch, result: str, works: bool) -> None:
    dtype = np.float16 if result == "f16" else np.float32

    def run_kernel(_: object, source: str, inputs: tuple[np.ndarray, np.ndarray], nbytes: int) -> np.ndarray:
        a, b = (array.astype(np.float32) for array in inputs)
        product = np.ascontiguousarray(a @ b if works else b @ a).astype(dtype)
        assert product.nbytes == nbytes
        assert f"var<storage, read_write> c: array<{result}>" in source
        return product.reshape(-1).view(np.uint8)

    monkeypatch.setattr(probe, "_run_kernel", run_kernel)
    verdict = probe._product(None, {**CONFIG, "result_component_type": result}, 32)
    assert verdict.works is works
    assert f"f16→{result} 16x16x16" in verdict.reason


def handle_of(monkeypatch: pytest.MonkeyPatch, **members: Any) -> None:
    """Have the adapter's fresh handle be one with these members."""
    monkeypatch.setattr(probe, "fresh_handle", lambda _: SimpleNamespace(**members))


def test_units_that_are_listed_and_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise RuntimeError("experimental features\nare not enabled")

    handle_of(monkeypatch, features={"cooperative-matrix"}, request_device_sync=refuse)
    verdict = try_matrix_units(replace(CARD, matrix_shapes=("advertised",)))
    assert verdict.works is False
    assert verdict.reason == "listed, but refused: experimental features are not enabled"


def test_an_adapter_without_them_opens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "fresh_handle", lambda _: pytest.fail("asked the driver"))
    verdict = try_matrix_units(CARD)
    assert verdict.works is None
    assert verdict.reason.startswith("wgpu lists none on this adapter")
