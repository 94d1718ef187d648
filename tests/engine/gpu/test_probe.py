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
from tests.engine.gpu.gpu import device
from tests.engine.gpu.plans import EMULATED, UNITS


def config(m: int, n: int, k: int, result: str = "f32", operands: str = "f16") -> dict[str, Any]:
    """A product as an implementation lists it."""
    return {"component_type": operands, "result_component_type": result, "m": m, "n": n, "k": k}


def test_the_operands_tell_a_product_from_its_look_alikes() -> None:
    a, b = (array.astype(np.float32) for array in operands(16, 16, 16))
    right = a @ b
    for wrong in (b @ a, a.T @ b, a @ b.T, (a @ b).T, np.zeros_like(right)):
        assert not np.array_equal(right, wrong)
    half = 2 * (a.astype(np.float16) @ b.astype(np.float16))
    assert np.array_equal(half.astype(np.float32), 2 * right)  # exact in any order of summation


@pytest.mark.parametrize("result", ["f32", "f16"])
@pytest.mark.parametrize("works", [True, False])
def test_a_product_is_believed_only_when_right(monkeypatch: pytest.MonkeyPatch, result: str, works: bool) -> None:
    dtype = np.float16 if result == "f16" else np.float32

    def run_kernel(_: object, source: str, inputs: tuple[np.ndarray, np.ndarray], nbytes: int) -> np.ndarray:
        a, b = (array.astype(np.float32) for array in inputs)
        product = np.ascontiguousarray(2 * (a @ b if works else b @ a)).astype(dtype)
        assert product.nbytes == nbytes
        assert f"var<storage, read_write> c: array<{result}>" in source
        return product.reshape(-1).view(np.uint8)

    monkeypatch.setattr(probe, "_run_kernel", run_kernel)
    assert probe._is_right(None, UNITS, result) is works


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


@pytest.mark.parametrize(
    ("configs", "right", "expected"),
    [
        ([config(16, 8, 8), config(16, 16, 16)], {(16, 16, 16), (16, 8, 8)}, (16, 16, 16)),
        ([config(16, 16, 16), config(16, 8, 16)], {(16, 8, 16)}, (16, 8, 16)),
        ([config(16, 16, 16, "f16"), config(24, 8, 8)], {(16, 16, 16), (24, 8, 8)}, (24, 8, 8)),
        ([config(16, 16, 16), config(4, 4, 4)], {(4, 4, 4)}, None),
        ([config(16, 16, 16, "f16")], {(16, 16, 16)}, None),
        ([config(16, 16, 16)], set(), None),
    ],
)
def test_the_largest_fragment_that_computes_is_taken(
    monkeypatch: pytest.MonkeyPatch,
    configs: list[dict[str, Any]],
    right: set[tuple[int, int, int]],
    expected: tuple[int, int, int] | None,
) -> None:
    handle_of(monkeypatch)
    implementation = probe.IMPLEMENTATIONS[CARD.implementation]
    listed = [config(16, 16, 32, "i32", operands="i8"), *configs]
    monkeypatch.setattr(implementation, "matrix_configs", lambda _: listed)
    monkeypatch.setattr(implementation, "open_device", lambda *_: SimpleNamespace(destroy=lambda: None))
    monkeypatch.setattr(probe, "_subgroup_lanes", lambda _: 32)
    monkeypatch.setattr(probe, "_is_right", lambda _, units, __: (units.m, units.n, units.k) in right)
    monkeypatch.setattr(probe, "_truncates", lambda *_: True)
    verdict = try_matrix_units(replace(CARD, matrix_shapes=("some",)))
    units = verdict.units
    assert units is None or units.truncates
    assert (units and (units.lanes, units.m, units.n, units.k)) == (expected and (32, *expected))
    assert verdict.tried


def test_the_kernel_of_the_probe_computes() -> None:
    gpu = device()
    if not gpu.f16:
        pytest.skip(f"{gpu.adapter} has no shader-f16: THE PROBE OF MATRIX UNITS IS NOT RUN")
    for units in (EMULATED, replace(EMULATED, m=8, n=16, k=8)):
        assert probe._is_right(gpu.handle, units, "f32")
        assert not probe._truncates(gpu.handle, units)


@pytest.mark.parametrize("truncates", [True, False])
def test_sums_that_lose_what_they_have_no_bits_for_are_known(monkeypatch: pytest.MonkeyPatch, truncates: bool) -> None:
    def fused(_: object, __: str, inputs: tuple[np.ndarray, np.ndarray], ___: int) -> np.ndarray:
        a, b = (array.astype(np.float64) for array in inputs)
        sums = np.zeros((a.shape[0], b.shape[1]))
        for _turn in range(2):
            exact = sums + a @ b
            sums = exact.astype(np.float32).astype(np.float64)
            if truncates:
                sums = np.where(sums > exact, np.nextafter(sums.astype(np.float32), np.float32(0)), sums)
        return sums.astype(np.float32).reshape(-1).view(np.uint8)

    monkeypatch.setattr(probe, "_run_kernel", fused)
    assert probe._truncates(None, UNITS) is truncates
