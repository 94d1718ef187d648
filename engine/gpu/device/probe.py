"""Whether an adapter's matrix units compute: one small product on a device of its own, compared with NumPy's.

An adapter that lists them may still refuse the device (wgpu-native 29 does), or hold an operand transposed; the only
proof is a product of two matrices that do not commute.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from engine.caps import MatrixUnits
from engine.forks import is_foreign
from engine.gpu.device import memory
from engine.gpu.device.adapters import Adapter, fresh_handle, required_limits
from engine.gpu.device.base import matrix_shape
from engine.gpu.device.implementations import IMPLEMENTATIONS, library_lock
from engine.gpu.program.template import render
from engine.version import __version__

PREFERRED_SHAPES = ((16, 16, 16), (8, 16, 16), (16, 8, 16), (16, 8, 8), (8, 8, 8))
"""Fragments m, n and k in the order in which they are tried: the larger the fewer loads a multiplication. Others come
behind these."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a probe: whether a product was right (None where none was tried), and one line on why.

    ``units`` are those that kernels here can use, or None: products of float16 with float32 sums were right, and all
    subgroups have one size and consecutive invocations. ``tried`` says that a product was made.
    """

    works: bool | None
    reason: str
    units: MatrixUnits | None = None
    tried: bool = False


_results: dict[tuple[str, int], Verdict] = {}
"""By the adapter's implementation and position."""


def probe_matrix_units(adapter: Adapter) -> Verdict:
    """Try the adapter's matrix units on a device of their own, once in a process; raises nothing."""
    if is_foreign():
        return Verdict(None, "not tried: WebGPU was in use before this process was forked")
    key = adapter.implementation, adapter.position
    with library_lock():
        if key not in _results:
            _results[key] = try_matrix_units(adapter)
            _note(adapter, _results[key])
        return _results[key]


def matrix_units_of(adapter: Adapter) -> MatrixUnits | None:
    """``Verdict.units`` of an adapter, as they were remembered; else it is probed."""
    key = adapter.implementation, adapter.position
    if not adapter.matrix_shapes:
        return None
    with library_lock():
        entry = memory.matrix_units(_name(adapter)) if key not in _results else None
        if entry == NONE:
            return None
        entry = entry or {}
        numbers, truncates = [entry.get(name, 0) for name in SHAPE], entry.get("truncates")
        if all(type(number) is int and 0 < number <= 128 for number in numbers) and isinstance(truncates, bool):
            spelling = IMPLEMENTATIONS[adapter.implementation].matrix_spelling
            return MatrixUnits(**dict(zip(SHAPE, numbers, strict=True)), spelling=spelling, truncates=truncates)
        return probe_matrix_units(adapter).units


SHAPE = ("lanes", "m", "n", "k")
"""The numbers that are remembered of matrix units."""

NONE: dict[str, Any] = {"lanes": 0}
"""What is remembered of matrix units that no kernel here can use."""


def _note(adapter: Adapter, verdict: Verdict) -> None:
    """Remember a product; a device that was refused may be given another time."""
    if verdict.tried:
        units = verdict.units
        noted = {name: getattr(units, name) for name in (*SHAPE, "truncates")} if units else NONE
        memory.note_matrix_units(_name(adapter), noted)


def _name(adapter: Adapter) -> str:
    """What changes with the adapter, its driver, the implementation, or the kernels here."""
    stamp = memory.implementation_stamp(adapter.implementation)
    return " | ".join((__version__, stamp, adapter.name, adapter.driver, adapter.backend, str(adapter.make)))


def try_matrix_units(adapter: Adapter) -> Verdict:
    """Try the adapter's matrix units; raises nothing."""
    implementation = IMPLEMENTATIONS[adapter.implementation]
    try:
        if not adapter.matrix_shapes:
            return Verdict(None, f"{adapter.implementation} lists none on this adapter")
        handle = fresh_handle(adapter)
        configs = sorted(
            (config for config in implementation.matrix_configs(handle) if _is_tried(config)),
            key=_preference,
        )
        if not configs:
            return Verdict(None, implementation.try_unusable_matrix_units(handle))
        device = implementation.open_device(handle, required_limits(adapter))
        try:
            lanes = _subgroup_lanes(device)
            largest = adapter.subgroup[1] if adapter.subgroup else 32
            for config in configs:
                units = MatrixUnits(lanes or largest, *_fragment(config), spelling=implementation.matrix_spelling)
                result = str(config["result_component_type"])
                works = _is_right(device, units, result)
                if works or config is configs[-1]:
                    break
            usable = works and result == "f32" and lanes > 0
            if usable:
                units = replace(units, truncates=_truncates(device, units))
            reason = f"a product of {matrix_shape(config)} came out {'right' if works else 'wrong'}"
            return Verdict(works, reason, units if usable else None, tried=True)
        finally:
            device.destroy()
    except Exception as error:  # whatever an experimental feature ends in
        return Verdict(False, f"listed, but refused: {' '.join(str(error).split())[:200]}")


def _is_tried(config: Mapping[str, Any]) -> bool:
    """Whether a product is one that the kernels could use: of float16, its extents multiples of eight."""
    return config["component_type"] == "f16" and not any(extent % 8 for extent in _fragment(config))


def _fragment(config: Mapping[str, Any]) -> tuple[int, int, int]:
    return int(config["m"]), int(config["n"]), int(config["k"])


def _preference(config: Mapping[str, Any]) -> tuple[bool, int, str]:
    """Sums of float32 before others, then by PREFERRED_SHAPES."""
    fragment = _fragment(config)
    rank = PREFERRED_SHAPES.index(fragment) if fragment in PREFERRED_SHAPES else len(PREFERRED_SHAPES)
    return config["result_component_type"] != "f32", rank, matrix_shape(config)


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


def _is_right(device: Any, units: MatrixUnits, result: str) -> bool:
    """Whether a product of float16 comes out right, with sums of type ``result``."""
    a, b = operands(units.m, units.n, units.k)
    product = _product(device, units, a, b, result)
    return np.array_equal(product.astype(np.float32), 2 * (a.astype(np.float32) @ b.astype(np.float32)))


def _truncates(device: Any, units: MatrixUnits) -> bool:
    """Whether sums of float32 lose what they have no bits for: 1 and 7/4 of its last bit, twice, are then one bit of
    the result short."""
    a, b = np.zeros((units.m, units.k), np.float16), np.zeros((units.k, units.n), np.float16)
    a[:, 0] = b[0] = 1
    a[:, 1], b[1] = 2.0**-12, 1.75 * 2.0**-11
    return bool((_product(device, units, a, b, "f32") < 2 + 2.0**-21).all())


def _product(device: Any, units: MatrixUnits, a: np.ndarray, b: np.ndarray, result: str) -> np.ndarray:
    """2·A·B on the device, ``[m, n]`` of type ``result``."""
    dtype = np.dtype(np.float16 if result == "f16" else np.float32)
    source = render("matrix_probe", matrix=asdict(units), result=result)
    product = _run_kernel(device, source, (a, b), units.m * units.n * dtype.itemsize)
    return product.view(dtype).reshape(units.m, units.n)


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
