"""wgpu-native, through wgpu-py."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import threading
from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from engine.gpu.device.base import MapMode, PythonApi, memory_at

if TYPE_CHECKING:
    import numpy as np

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


class _Mapping:
    """Of a buffer: ``outcome`` is None as long as it is not mapped, "" when it is, or why it never will be."""

    outcome: str | None = None


class Wgpu(PythonApi):
    """wgpu-native."""

    name, package, library = "wgpu", "wgpu", "wgpu.backends.wgpu_native._api"
    matrix_spelling = "wgpu"

    def __init__(self) -> None:
        self._numbers, self._mappings = itertools.count(1), dict[int, _Mapping]()
        self._polling = threading.Lock()

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

    # wgpu-py's own maps are waited for by a thread that blocks in the driver until the newest submission has ended, and
    # as long as it does no thread can submit; here whoever waits asks, by a call that does not block

    def map(self, buffer: Any, mode: MapMode, nbytes: int) -> Any:
        api, mapping = self.api, _Mapping()
        number = next(self._numbers)
        self._mappings[number] = mapping
        info = api.new_struct(
            "WGPUBufferMapCallbackInfo",
            mode=api.lib.WGPUCallbackMode_AllowProcessEvents,
            callback=self._callback,
            userdata1=api.ffi.cast("void *", number),
        )
        flag = api.lib.WGPUMapMode_Read if mode == "READ" else api.lib.WGPUMapMode_Write
        api.libf.wgpuBufferMapAsync(buffer._internal, flag, 0, nbytes, info)
        return mapping

    @cached_property
    def _callback(self) -> Any:
        api, mappings = self.api, self._mappings

        def mapped(status: int, message: Any, number: Any, _: Any) -> None:
            mapping = mappings.pop(int(api.ffi.cast("uintptr_t", number)), None)
            if mapping is not None:
                is_mapped = status == api.lib.WGPUMapAsyncStatus_Success
                mapping.outcome = "" if is_mapped else f"not mapped ({status}): {api.from_c_string_view(message)}"

        return api.ffi.callback("void(WGPUMapAsyncStatus, WGPUStringView, void *, void *)", mapped)

    # a poll of a lost device destroys its buffers: whoever reads one that was mapped reads memory that is gone, and
    # whoever asks for its address ends the process; so a lost device is never polled, and none is between the look
    # whether the device is lost and the address

    def is_mapped(self, device: Any, mapping: _Mapping) -> bool:
        if mapping.outcome is None:
            with self._polling:
                self._check_not_lost(device)
                self.api.libf.wgpuDevicePoll(device._internal, False, self.api.ffi.NULL)
        if mapping.outcome:
            raise RuntimeError(mapping.outcome)
        return mapping.outcome is not None

    def mapped(self, buffer: Any, mode: MapMode, nbytes: int) -> np.ndarray:  # noqa: ARG002
        with self._polling:
            self._check_not_lost(buffer._device)
            address = self.api.libf.wgpuBufferGetMappedRange(buffer._internal, 0, nbytes)
        return memory_at(self.api.ffi, address, nbytes)

    def _check_not_lost(self, device: Any) -> None:
        """Raise what wgpu-py raises of a lost device: the cheapest call that does, 1.5 microseconds."""
        layout = self.api.libf.wgpuDeviceCreateBindGroupLayout(device._internal, self._no_bindings)
        self.api.libf.wgpuBindGroupLayoutRelease(layout)

    @cached_property
    def _no_bindings(self) -> Any:
        api = self.api
        return api.new_struct_p(
            "WGPUBindGroupLayoutDescriptor *", label=api.to_c_string_view(""), entryCount=0, entries=api.ffi.NULL
        )

    def unmap(self, buffer: Any, written: np.ndarray | None) -> None:  # noqa: ARG002
        self.api.libf.wgpuBufferUnmap(buffer._internal)

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
