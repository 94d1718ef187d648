"""Whether an adapter's matrix units compute: one small product on a device of its own, compared with NumPy's.

An adapter that lists them may still refuse the device (wgpu-native 29 does), or hold an operand transposed; the only
proof is a product of two matrices that do not commute.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.forks import is_foreign
from engine.gpu.device.adapters import DAWN_MATRIX_FEATURE, Adapter, library_lock
from engine.gpu.device.device import Device
from engine.gpu.program.template import render

WGPU_FEATURES = ("cooperative-matrix", "experimental-cooperative-matrix")


@dataclass(frozen=True, slots=True)
class MatrixUnits:
    """The result of a probe: whether a product was right (None where none was tried), and one line on why."""

    works: bool | None
    reason: str


def probe_matrix_units(adapter: Adapter) -> MatrixUnits:
    """Try the adapter's matrix units; raises nothing."""
    if is_foreign():
        return MatrixUnits(None, "not tried: WebGPU was in use before this process was forked")
    features = adapter.handle.features
    try:
        if adapter.implementation == "dawn" and DAWN_MATRIX_FEATURE in features:
            return _try_dawn(adapter)
        matrix_features = [name for name in WGPU_FEATURES if name in features]
        if matrix_features:
            adapter.handle.request_device_sync(required_features=matrix_features).destroy()
            return MatrixUnits(None, "the device opens with them; no kernel here is written for wgpu's")
    except Exception as error:  # whatever an experimental feature ends in
        return MatrixUnits(False, f"listed, but refused: {' '.join(str(error).split())[:200]}")
    where = "" if adapter.implementation == "dawn" else "; they need Dawn (pip install 'nss-wgpu[dawn]')"
    return MatrixUnits(None, f"{adapter.implementation} lists none on this adapter{where}")


KERNEL_SHAPE = "f16→f32 16x16x16"
"""The matrix shape and types that the kernels use."""

KERNEL_BYTES = 32768
"""Bytes of workgroup memory of these kernels."""


_LANES: dict[int, int] = {}
"""The memoised results of ``matrix_lanes``, by the adapter's index."""


def matrix_lanes(device: Device) -> int:
    """Invocations of a subgroup where a product on the device's matrix units was right, else 0."""
    adapter = device.adapter
    with library_lock():
        if adapter.index in _LANES:
            return _LANES[adapter.index]
        usable = (
            device.matrix_units
            and KERNEL_SHAPE in adapter.matrix_shapes
            and adapter.limits["max-compute-workgroup-storage-size"] >= KERNEL_BYTES
            and probe_matrix_units(adapter).works
        )
        _LANES[adapter.index] = _subgroup_lanes(device) if usable else 0
        return _LANES[adapter.index]


def _subgroup_lanes(device: Device) -> int:
    """Invocations of a subgroup where all subgroups have one size and consecutive invocations, else 0."""
    threads = 256
    with device.guarded("asking how subgroups lie"):
        numbers = _run_kernel(device.handle, render("subgroup_probe"), [], 8 * threads).view(np.uint32)
    sizes, positions = numbers[:threads], numbers[threads:]
    lanes = int(sizes[0])
    is_uniform = lanes > 0 and (sizes == lanes).all() and np.array_equal(positions, np.arange(threads) % lanes)
    return lanes if is_uniform else 0


def _try_dawn(adapter: Adapter) -> MatrixUnits:
    extras = importlib.import_module("wgpudawn.backends.dawn.extras")
    configs = extras.get_adapter_properties(adapter.handle).get("subgroup_matrix_configs", ())
    f16_configs = [config for config in configs if config["component_type"] == "f16"]
    if not f16_configs:
        return MatrixUnits(None, "there are none for float16, the only type that a kernel here would use")
    f16_configs.sort(key=lambda config: config["result_component_type"] != "f32")
    names = [DAWN_MATRIX_FEATURE, "shader-f16", "subgroups"]
    device = adapter.handle.request_device_sync(required_features=names)
    try:
        return _product(device, f16_configs[0], adapter.subgroup[1] if adapter.subgroup else 32)
    finally:
        device.destroy()


def operands(m: int, n: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """float16 [m, k] and [k, n] of small integers: exact in float16, and A·B is none of B·A, Aᵀ·B and A·Bᵀ."""
    a = (np.arange(m)[:, None] * 3 + np.arange(k) * 5) % 7 - 2
    b = (np.arange(k)[:, None] * 2 + np.arange(n) * np.arange(1, n + 1)) % 5 - 1
    return a.astype(np.float16), b.astype(np.float16)


def _product(device: Any, config: Mapping[str, Any], lanes: int) -> MatrixUnits:
    m, n, k = (int(config[side]) for side in ("m", "n", "k"))
    result = str(config["result_component_type"])
    shape = f"f16→{result} {m}x{n}x{k}"
    a, b = operands(m, n, k)
    dtype = np.dtype(np.float16 if result == "f16" else np.float32)
    source = render("matrix_probe", m=m, n=n, k=k, result=result, lanes=lanes)
    product = _run_kernel(device, source, (a, b), m * n * dtype.itemsize).view(dtype).reshape(m, n)
    if np.array_equal(product.astype(np.float32), a.astype(np.float32) @ b.astype(np.float32)):
        return MatrixUnits(True, f"a product of {shape} came out right")
    return MatrixUnits(False, f"a product of {shape} came out wrong")


def _run_kernel(device: Any, source: str, inputs: Sequence[np.ndarray], nbytes: int) -> np.ndarray:
    """The bytes, uint8, that the kernel writes to its last binding."""
    usage = importlib.import_module("wgpudawn").BufferUsage
    buffers = [device.create_buffer_with_data(data=array, usage=usage.STORAGE) for array in inputs]
    buffers.append(device.create_buffer(size=nbytes, usage=usage.STORAGE | usage.COPY_SRC))
    module = device.create_shader_module(code=source)
    pipeline = device.create_compute_pipeline(layout="auto", compute={"module": module, "entry_point": "main"})
    entries = [{"binding": i, "resource": {"buffer": b, "offset": 0, "size": b.size}} for i, b in enumerate(buffers)]
    group = device.create_bind_group(layout=pipeline.get_bind_group_layout(0), entries=entries)
    encoder = device.create_command_encoder()
    compute = encoder.begin_compute_pass()
    compute.set_pipeline(pipeline)
    compute.set_bind_group(0, group)
    compute.dispatch_workgroups(1)
    compute.end()
    device.queue.submit([encoder.finish()])
    return np.frombuffer(device.queue.read_buffer(buffers[-1]), np.uint8)
