"""A compiled model run by what docs/compiled.md says alone: nothing of ``engine`` is imported here."""

from __future__ import annotations

import base64
import hashlib
import json
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import wgpu

STORED_BYTES = {"raw": 256, "f16": 128, "q8": 68}
STORAGE = {"f32": np.float32, "f16": np.float16, "i32": np.int32, "u32": np.uint32}


def replay(folder: Path, inputs: dict[str, np.ndarray], adapter: Any = None) -> dict[str, np.ndarray]:
    """The outputs, in the types that lie in the buffers, on an adapter of wgpu's: the first one, or another."""
    text = (folder / "model.json").read_bytes()
    header = json.loads(text)
    assert hashlib.sha256(text[77:]).hexdigest() == header["sha256"]
    assert header["format"] == 2
    plan = header["plan"]
    adapter = adapter or wgpu.gpu.enumerate_adapters_sync()[0]
    device = adapter.request_device_sync(
        required_limits=plan["needs"]["limits"], required_features=plan["needs"]["features"]
    )
    usage = wgpu.BufferUsage
    storage = usage.STORAGE | usage.COPY_SRC | usage.COPY_DST
    buffers = [device.create_buffer(size=size, usage=storage) for size in plan["buffers"]]
    _upload(device, buffers[: plan["constant_buffers"]], folder, header["weights"])
    uniforms = device.create_buffer_with_data(data=base64.b64decode(plan["uniforms"]), usage=usage.UNIFORM)
    pipelines = [
        device.create_compute_pipeline(
            layout="auto",
            compute={"module": device.create_shader_module(code=program["wgsl"]), "entry_point": "main"},
        )
        for program in plan["programs"]
    ]
    for place in header["inputs"]:
        if place["buffer"] is not None:
            data = np.ascontiguousarray(inputs[place["name"]], STORAGE[place["storage"]]).tobytes()
            device.queue.write_buffer(buffers[place["buffer"]], place["offset"], data + bytes(-len(data) % 8))
    encoder = device.create_command_encoder()
    compute = encoder.begin_compute_pass()
    for command in plan["commands"]:
        pipeline = pipelines[command["program"]]
        ranges = [(uniforms, command["uniform"], command["uniform_bytes"])]
        ranges += [(buffers[buffer], offset, size) for buffer, offset, size in command["bindings"]]
        entries = [
            {"binding": number, "resource": {"buffer": buffer, "offset": offset, "size": size}}
            for number, (buffer, offset, size) in enumerate(ranges)
        ]
        compute.set_pipeline(pipeline)
        compute.set_bind_group(0, device.create_bind_group(layout=pipeline.get_bind_group_layout(0), entries=entries))
        compute.dispatch_workgroups(*command["grid"])
    compute.end()
    device.queue.submit([encoder.finish()])
    return {place["name"]: _output(device, buffers[place["buffer"]], place) for place in header["outputs"]}


def _upload(device: Any, buffers: list[Any], folder: Path, weights: dict[str, Any]) -> None:
    """The constants, which stand one behind the other, into the buffers, each of which begins at a multiple of 256."""
    data = content(folder, weights)
    start = 0
    for buffer in buffers:
        device.queue.write_buffer(buffer, 0, data[start : start + buffer.size])
        start += -(-buffer.size // 256) * 256
    assert start == len(data)


def content(folder: Path, weights: dict[str, Any]) -> bytes:
    """The bytes of all units, widened."""
    stored = b""
    for shard in weights["shards"]:
        part = (folder / f"{shard['sha256']}.bin").read_bytes()
        assert len(part) == shard["bytes"]
        assert hashlib.sha256(part).hexdigest() == shard["sha256"]
        stored += part
    units, place = [], 0
    for encoding, count in weights["segments"]:
        for _ in range(count):
            unit = stored[place : place + STORED_BYTES[encoding]]
            place += len(unit)
            if encoding == "f16":
                unit = np.frombuffer(unit, "<f2").astype("<f4").tobytes()
            elif encoding == "q8":
                (scale,) = np.frombuffer(unit[:4], "<f4")
                unit = (scale * np.frombuffer(unit[4:], np.int8).astype("<f4")).tobytes()
            units.append(unit)
    assert place == len(stored)
    return b"".join(units)


def _output(device: Any, buffer: Any, place: dict[str, Any]) -> np.ndarray:
    dtype, count = STORAGE[place["storage"]], prod(place["shape"])
    nbytes = count * np.dtype(dtype).itemsize
    data = device.queue.read_buffer(buffer, place["offset"], -(-nbytes // 8) * 8)
    return np.frombuffer(data, dtype, count).reshape(place["shape"])
