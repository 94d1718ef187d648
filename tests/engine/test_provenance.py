"""What a result depends on is named, as far as it ran."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
import pytest
from threadpoolctl import threadpool_info

import engine
from engine.gpu.device.implementations import IMPLEMENTATIONS
from tests.engine.gpu.gpu import device
from tests.project import output_of


def test_without_a_network() -> None:
    versions = engine.environment()
    assert versions.keys() == {"numpy", "blas"}
    assert versions["numpy"] == np.__version__
    libraries = [library for library in threadpool_info() if library["user_api"] == "blas"]  # other packages' too
    assert not libraries or any(
        library["version"] is None or f"{library['internal_api']} {library['version']}" in versions["blas"]
        for library in libraries
    )


@pytest.mark.parametrize("backend", ["numpy", "reference"])
def test_on_the_processor(backend: str) -> None:
    versions = engine.environment(backend, "a processor")
    assert versions.keys() == {"numpy", "blas", "onnx"}
    assert versions["onnx"] == version("onnx")


def test_on_a_gpu() -> None:
    adapter = device().adapter
    package = IMPLEMENTATIONS[adapter.implementation].package
    versions = engine.environment("webgpu", str(adapter))
    assert versions.keys() == {"numpy", "blas", "onnx", package, "driver"}
    assert versions[package] == version(package)
    assert versions["driver"] == adapter.driver


def test_on_a_gpu_that_is_gone() -> None:
    assert engine.environment("webgpu", "pulled out").keys() == {"numpy", "blas", "onnx"}


def test_the_blas_of_other_packages_is_none_of_a_result() -> None:
    code = (
        "import sys; from engine.cpu import blas; before = blas.libraries(); import scipy.linalg; "
        "from threadpoolctl import threadpool_info; "
        "print(before == blas.libraries() != '', sum(info['user_api'] == 'blas' for info in threadpool_info()))"
    )
    pytest.importorskip("scipy", reason="SciPy, which comes with rembg, is not installed")
    assert output_of(code).split() in (["True", "1"], ["True", "2"])
