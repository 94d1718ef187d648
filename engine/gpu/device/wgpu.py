"""wgpu-native, through wgpu-py."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterable
from typing import Any

from engine.gpu.device.base import PythonApi

ALIVE_S = 1.0
"""Seconds to wait for a result before checking that the device still answers."""

MATRIX_FEATURES = ("cooperative-matrix", "experimental-cooperative-matrix")
"""Matrix units, in other words than Dawn's; wgpu-native 29 lists them and then refuses the device."""

NO_CHECKS = 0
"""The checks of ``wgpuDeviceCreateShaderModuleTrusted``: 1 is bounds, 2 is loops that end."""

TYPES = (
    *("WGPUStringView *", "WGPUInstanceDescriptor *", "WGPUAdapter[]", "WGPUAdapterInfo *", "WGPUChainedStruct *"),
    *("WGPUNativeLimits *", "WGPULimits *", "char []", "WGPUQueueDescriptor *", "WGPUDeviceExtras *"),
    *("WGPUChainedStruct * ", "WGPUDeviceLostCallbackInfo *", "WGPUUncapturedErrorCallbackInfo *"),
    *("WGPUFeatureName[]", "WGPUDeviceDescriptor *", "WGPURequestDeviceCallbackInfo *", "WGPUBufferDescriptor *"),
    *("uint8_t []", "uintptr_t", "uint8_t *", "WGPUShaderSourceWGSL *", "WGPUShaderModuleDescriptor *"),
    *("WGPUComputeState *", "WGPUComputePipelineDescriptor *", "WGPUBindGroupEntry *", "WGPUBindGroupEntry[]"),
    *("WGPUBindGroupDescriptor *", "WGPUBufferMapCallbackInfo *", "intptr_t", "WGPUCommandEncoderDescriptor *"),
    *("WGPUComputePassDescriptor *", "WGPUCommandBufferDescriptor *", "WGPUCommandBuffer[]"),
    *("WGPUQuerySetDescriptor *", "WGPUPassTimestampWrites *"),
    "void(WGPUDevice const *, WGPUDeviceLostReason, WGPUStringView, void *, void *)",
    "void(WGPUDevice const *, WGPUErrorType, WGPUStringView, void *, void *)",
    "void(WGPURequestDeviceStatus, WGPUDevice, WGPUStringView, void *, void *)",
    "void(WGPUMapAsyncStatus, WGPUStringView, void *, void *)",
)
"""The C types that wgpu-py names in what a session calls, as it writes them."""


class Wgpu(PythonApi):
    """wgpu-native."""

    name, package, library = "wgpu", "wgpu", "wgpu.backends.wgpu_native._api"

    def prepare(self) -> None:
        parse_together(self.api.ffi, TYPES)

    def matrix_shapes(self, handle: Any) -> tuple[str, ...]:
        return () if handle.features.isdisjoint(MATRIX_FEATURES) else ("advertised",)

    def try_unusable_matrix_units(self, handle: Any) -> str:
        features = [name for name in MATRIX_FEATURES if name in handle.features]
        handle.request_device_sync(required_features=features).destroy()
        return "the device opens with them; no kernel here is written for wgpu's"

    def shader(self, device: Any, source: str, label: str, *, trusted: bool) -> Any:
        if not trusted:
            return super().shader(device, source, label, trusted=trusted)
        # in wgpu.h and in the library, but not among wgpu-py's methods
        api = self.api
        wgsl = api.new_struct_p("WGPUShaderSourceWGSL *", code=api.to_c_string_view(source))
        wgsl[0].chain.next, wgsl[0].chain.sType = api.ffi.NULL, api.lib.WGPUSType_ShaderSourceWGSL
        descriptor = api.new_struct_p(
            "WGPUShaderModuleDescriptor *",
            nextInChain=api.ffi.cast("WGPUChainedStruct *", wgsl),
            label=api.to_c_string_view(label),
        )
        module = api.libf.wgpuDeviceCreateShaderModuleTrusted(device._internal, descriptor, NO_CHECKS)
        return api.GPUShaderModule(label, module, device)

    def map_to_read(self, buffer: Any, nbytes: int) -> Any:
        # the plain READ first submits an empty command buffer, for callers that have submitted nothing
        return buffer.map_async("READ_NOSYNC", 0, nbytes)

    def wait(self, promise: Any, check: Callable[[], None]) -> None:
        # wgpu-py waits for a thread that polls the device, which ends when another thread destroys the device
        event = getattr(promise, "_thread_event", None)
        while event is not None and not event.wait(ALIVE_S):
            check()
        promise.sync_wait()

    def tick_seconds(self, device: Any) -> float:
        # the driver's own unit
        return float(self.api.libf.wgpuQueueGetTimestampPeriod(device.queue._internal)) * 1e-9


def parse_together(ffi: Any, types: Iterable[str]) -> None:
    """Have cffi know these types, for one run of its parser.

    It parses a type when it first meets its name, each time with all 700 names of the header before it: 20 ms for each
    of some 40 types, half a second between the first adapter and the first result. Where cffi has no such table any
    more, or the header no such type, each is parsed when it is met, as before.
    """
    absent_types = importlib.import_module("cffi").CDefError
    with contextlib.suppress(absent_types, AttributeError):
        table = ffi._parsed_types
        unknown_types = [name for name in types if name not in table]
        arguments = ffi.typeof(f"void(*)({', '.join(map(_pointer, unknown_types))})").args
        for name, argument in zip(unknown_types, arguments, strict=True):
            is_function = name.endswith(")")
            table[name] = (argument if is_function else argument.item), is_function


def _pointer(name: str) -> str:
    """A pointer to that type, as C writes it: what is handed to a function is never an array itself."""
    if name.endswith(")"):
        return name.replace("(", "(*)(", 1)
    return name.replace("[]", "(*)[]") if name.endswith("[]") else f"{name}*"
