"""wgpu-native, through wgpu-py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.gpu.device.base import PythonApi

ALIVE_S = 1.0
"""Seconds to wait for a result before checking that the device still answers."""

MATRIX_FEATURES = ("cooperative-matrix", "experimental-cooperative-matrix")
"""Matrix units, in other words than Dawn's; wgpu-native 29 lists them and then refuses the device."""

NO_CHECKS = 0
"""The checks of ``wgpuDeviceCreateShaderModuleTrusted``: 1 is bounds, 2 is loops that end."""


class Wgpu(PythonApi):
    """wgpu-native."""

    name, package, library = "wgpu", "wgpu", "wgpu.backends.wgpu_native._api"

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
