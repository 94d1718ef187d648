"""What an adapter reaches at the most: bytes copied, and multiplications with additions of each type, in a second."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from engine.caps import MATRIX_FEATURE
from engine.compiled.model import CompiledProgram
from engine.errors import EngineError
from engine.gpu.device.device import Device
from engine.gpu.run.profile import run_seconds

INVOCATIONS = 256
"""Of a workgroup."""

RUNS = 5
"""Measurements of which the median counts, once the clock is up."""

COPY = """
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>) {
  for (var i = id.x; i < arrayLength(&y); i += count.x * 256u) {
    y[i] = x[i];
  }
}
"""

FUSED = """
{enable}
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {{
  // numbers that a compiler does not know, and that stay small
  let a = vec4<{kind}>(x[0]) * {kind}(0.5);
  let b = vec4<{kind}>(x[1]);
  {declarations}
  for (var i = 0u; i < {steps}u; i += 1u) {{
    {body}
  }}
  y[id.x] = vec4<f32>({total});
}}
"""

SUMS = 12
"""Sums of four that an invocation has under way."""

MATRIX = """
enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);

@group(0) @binding(0) var<storage, read> x: array<f16>;
@group(0) @binding(1) var<storage, read_write> y: array<{result}>;

@compute @workgroup_size({lanes})
fn main(@builtin(workgroup_id) id: vec3<u32>) {{
{loads}
  for (var i = 0u; i < {steps}u; i += 1u) {{
{body}
  }}
{stores}
}}
"""


@dataclass(frozen=True, slots=True)
class _Work:
    """One dispatch that reaches for a ceiling: its WGSL, elements of both bindings as bytes, workgroups, and work."""

    wgsl: str
    read_bytes: int
    write_bytes: int
    workgroups: int
    work: int


def measure_ceilings(device: Device) -> dict[str, float]:
    """``copy`` in bytes a second, ``f32``, ``f16`` and ``matrix`` in operations a second, as far as the device has
    them. Raises BackendError where it has no timestamps."""
    software = device.adapter.software
    rates = {"copy": _rate(device, _copy(device, 16 << 20 if software else 512 << 20))}
    rates["f32"] = _rate(device, _fused("f32", software=software))
    if device.f16:
        rates["f16"] = _rate(device, _fused("f16", software=software))
    caps = device.caps
    if caps.matrix_units is not None and MATRIX_FEATURE in device.adapter.features:
        shapes = [shape for shape in device.adapter.matrix_shapes if shape.startswith("f16→f32")]
        rates["matrix"] = max((_matrix_rate(device, shape, caps.matrix_units.lanes) for shape in shapes), default=0.0)
    return rates


def _copy(device: Device, nbytes: int) -> _Work:
    nbytes = min(nbytes, device.caps.binding_limit)
    return _Work(COPY, nbytes, nbytes, workgroups=4096, work=2 * nbytes)


def _fused(kind: str, *, software: bool) -> _Work:
    workgroups, steps = (64, 64) if software else (4096, 1024)
    wgsl = FUSED.format(
        enable="enable f16;" if kind == "f16" else "",
        kind=kind,
        declarations="\n  ".join(f"var c{i} = vec4<{kind}>({kind}(id.x % 7u) * 0.1 + {i}.0);" for i in range(SUMS)),
        steps=steps,
        body="\n    ".join(f"c{i} = fma(c{i}, a, b);" for i in range(SUMS)),
        total=" + ".join(f"c{i}" for i in range(SUMS)),
    )
    count = workgroups * INVOCATIONS
    return _Work(wgsl, 32, 16 * count, workgroups, work=count * steps * SUMS * 4 * 2)


def _matrix(shape: str, lanes: int) -> _Work:
    match = re.fullmatch(r"f16→(\w+) (\d+)x(\d+)x(\d+)", shape)
    assert match is not None, shape
    result, (m, n, k) = match[1], map(int, match.groups()[1:])
    rows, columns, steps, workgroups, subgroups = 2, 4, 512, 2048, 4
    loads = [
        f"  let left{i} = subgroupMatrixLoad<subgroup_matrix_left<f16, {k}, {m}>>(&x, {i * m * k}u, false, {k}u);"
        for i in range(rows)
    ]
    loads += [
        f"  let right{j} = subgroupMatrixLoad<subgroup_matrix_right<f16, {n}, {k}>>(&x, {j * n * k}u, false, {n}u);"
        for j in range(columns)
    ]
    pairs = [(i, j) for i in range(rows) for j in range(columns)]
    loads += [f"  var c{i}_{j}: subgroup_matrix_result<{result}, {n}, {m}>;" for i, j in pairs]
    wgsl = MATRIX.format(
        result=result,
        lanes=lanes * subgroups,
        steps=steps,
        loads="\n".join(loads),
        body="\n".join(
            f"    c{i}_{j} = subgroupMatrixMultiplyAccumulate(left{i}, right{j}, c{i}_{j});" for i, j in pairs
        ),
        # all subgroups of a workgroup store the same
        stores="\n".join(
            f"  subgroupMatrixStore(&y, id.x * {len(pairs) * m * n}u + {(i * columns + j) * m * n}u, c{i}_{j}, false, "
            f"{n}u);"
            for i, j in pairs
        ),
    )
    item = 2 if result == "f16" else 4
    return _Work(
        wgsl,
        read_bytes=2 * max(rows * m * k, columns * n * k),
        write_bytes=workgroups * len(pairs) * m * n * item,
        workgroups=workgroups,
        work=workgroups * subgroups * steps * len(pairs) * 2 * m * n * k,
    )


def _matrix_rate(device: Device, shape: str, lanes: int) -> float:
    try:
        return _rate(device, _matrix(shape, lanes))
    except EngineError:  # a shape that the adapter lists and does not compile
        return 0.0


def _rate(device: Device, work: _Work) -> float:
    """Work a second."""
    pipeline = device.compile(CompiledProgram("ceiling", work.wgsl), trusted=False).result()
    buffers = [
        device.buffer(work.read_bytes, "STORAGE|COPY_DST", "in"),
        device.buffer(work.write_bytes, "STORAGE", "out"),
    ]
    try:
        device.write(buffers[0], 0, np.ones(min(work.read_bytes, 1 << 16) // 4, np.float32))
        entries = [(buffers[0], 0, work.read_bytes), (buffers[1], 0, work.write_bytes)]
        group = device.bind_group(pipeline, entries, "ceiling")
        commands: Sequence[Any] = [(pipeline, group, (work.workgroups, 1, 1))]
        device.core_clock.wake(lambda: sum(run_seconds(device, [commands], RUNS)))
        return work.work / median(run_seconds(device, [commands], RUNS))
    finally:
        device.free(buffers)
