"""Whether an adapter's matrix units compute: one small product on a device of its own, compared with NumPy's.

An adapter that lists them may still refuse the device (wgpu-native 29 does), or hold an operand transposed; the only
proof is a product of two matrices that do not commute.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.forks import is_foreign
from engine.gpu.device import memory
from engine.gpu.device.adapters import Adapter, fresh_handle, required_limits
from engine.gpu.device.base import matrix_shape
from engine.gpu.device.implementations import IMPLEMENTATIONS, library_lock
from engine.gpu.program.template import render
from engine.version import __version__

KERNEL_SHAPE = "f16→f32 16x16x16"
"""The matrix shape and types that the kernels use."""

KERNEL_BYTES = 32768
"""Bytes of workgroup memory of these kernels."""


@dataclass(frozen=True, slots=True)
class MatrixUnits:
    """The result of a probe: whether a product was right (None where none was tried), and one line on why.

    ``lanes`` is the size of a subgroup where the kernels here can use the units, else 0: the product was right, in
    their shape, and all subgroups have one size and consecutive invocations. ``tried`` says that a product was made.
    """

    works: bool | None
    reason: str
    lanes: int = 0
    tried: bool = False


_results: dict[tuple[str, int], MatrixUnits] = {}
"""By the adapter's implementation and position."""


def probe_matrix_units(adapter: Adapter) -> MatrixUnits:
    """Try the adapter's matrix units on a device of their own, once in a process; raises nothing."""
    if is_foreign():
        return MatrixUnits(None, "not tried: WebGPU was in use before this process was forked")
    key = adapter.implementation, adapter.position
    with library_lock():
        if key not in _results:
            _results[key] = try_matrix_units(adapter)
            _note(adapter, _results[key])
        return _results[key]


def matrix_lanes(adapter: Adapter) -> int:
    """``MatrixUnits.lanes`` of an adapter, as it was remembered; else it is probed."""
    key = adapter.implementation, adapter.position
    if not adapter.matrix_shapes:
        return 0
    with library_lock():
        entry = memory.matrix_units(_name(adapter)) if key not in _results else None
        lanes = entry.get("lanes") if entry else None
        return lanes if isinstance(lanes, int) and 0 <= lanes <= 128 else probe_matrix_units(adapter).lanes


def _note(adapter: Adapter, result: MatrixUnits) -> None:
    """Remember a product; a device that was refused may be given another time."""
    if result.tried:
        memory.note_matrix_units(_name(adapter), {"lanes": result.lanes})


def _name(adapter: Adapter) -> str:
    """What changes with the adapter, its driver, the implementation, or the kernels here."""
    stamp = memory.implementation_stamp(adapter.implementation)
    return " | ".join((__version__, stamp, adapter.name, adapter.driver, adapter.backend, str(adapter.make)))


def try_matrix_units(adapter: Adapter) -> MatrixUnits:
    """Try the adapter's matrix units; raises nothing."""
    implementation = IMPLEMENTATIONS[adapter.implementation]
    try:
        if not adapter.matrix_shapes:
            return MatrixUnits(None, f"{adapter.implementation} lists none on this adapter")
        handle = fresh_handle(adapter)
        configs = [c for c in implementation.matrix_configs(handle) if c["component_type"] == "f16"]
        if not configs:
            return MatrixUnits(None, implementation.try_unusable_matrix_units(handle))
        device = implementation.open_device(handle, required_limits(adapter))
        try:
            configs.sort(key=lambda config: (matrix_shape(config) != KERNEL_SHAPE, matrix_shape(config)))
            result = _product(device, configs[0], adapter.subgroup[1] if adapter.subgroup else 32)
            usable = (
                result.works
                and KERNEL_SHAPE in adapter.matrix_shapes
                and adapter.limits["max-compute-workgroup-storage-size"] >= KERNEL_BYTES
            )
            return MatrixUnits(result.works, result.reason, _subgroup_lanes(device) if usable else 0, tried=True)
        finally:
            device.destroy()
    except Exception as error:  # whatever an experimental feature ends in
        return MatrixUnits(False, f"listed, but refused: {' '.join(str(error).split())[:200]}")


def _subgroup_lanes(device: Any) -> int:
    """Invocations of a subgroup where all subgroups have one size and consecutive invocations, else 0."""
    threads = 256
    numbers = _run_kernel(device, render("subgroup_probe"), [], 8 * threads).view(np.uint32)
    sizes, positions = numbers[:threads], numbers[threads:]
    lanes = int(sizes[0])
    is_uniform = lanes > 0 and (sizes == lanes).all() and np.array_equal(positions, np.arange(threads) % lanes)
    return lanes if is_uniform else 0


def operands(m: int, n: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """float16 [m, k] and [k, n] of small integers: exact in float16, and A·B is none of B·A, Aᵀ·B and A·Bᵀ."""
    a = (np.arange(m)[:, None] * 3 + np.arange(k) * 5) % 7 - 2
    b = (np.arange(k)[:, None] * 2 + np.arange(n) * np.arange(1, n + 1)) % 5 - 1
    return a.astype(np.float16), b.astype(np.float16)


def _product(device: Any, config: Mapping[str, Any], lanes: int) -> MatrixUnits:
    m, n, k = (int(config[side]) for side in ("m", "n", "k"))
    result, shape = str(config["result_component_type"]), matrix_shape(config)
    a, b = operands(m, n, k)
    dtype = np.dtype(np.float16 if result == "f16" else np.float32)
    source = render("matrix_probe", m=m, n=n, k=k, result=result, lanes=lanes)
    product = _run_kernel(device, source, (a, b), m * n * dtype.itemsize).view(dtype).reshape(m, n)
    if np.array_equal(product.astype(np.float32), a.astype(np.float32) @ b.astype(np.float32)):
        return MatrixUnits(True, f"a product of {shape} came out right")
    return MatrixUnits(False, f"a product of {shape} came out wrong")


def _run_kernel(device: Any, source: str, inputs: Sequence[np.ndarray], nbytes: int) -> np.ndarray:
    """The bytes, uint8, that the kernel writes to its last binding."""
    buffers = [device.create_buffer_with_data(data=array, usage="STORAGE") for array in inputs]
    buffers.append(device.create_buffer(size=nbytes, usage="STORAGE|COPY_SRC"))
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
