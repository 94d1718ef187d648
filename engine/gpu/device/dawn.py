"""Dawn, through wgpudawn, which has wgpu-py's API."""

from __future__ import annotations

import contextlib
import importlib
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from engine.caps import MATRIX_FEATURE
from engine.gpu.device.base import MapMode, PythonApi, memory_at
from engine.gpu.device.silence import silence_stderr

if TYPE_CHECKING:
    import numpy as np

TOGGLES = ("allow_unsafe_apis", "vulkan_enable_f16_on_nvidia")
"""Features that Dawn disables by default: experimental ones, and float16 on NVIDIA's Vulkan driver."""

TOGGLES_OFF = ("timestamp_quantization",)
"""Dawn rounds timestamps to 0.1 ms, for the privacy of web pages; most kernels take less."""

LOCKING_FEATURE = "implicit-device-synchronization"
"""The feature that gives a device a lock, which it needs for threads, and to free what Python collects in any."""


class ThreadErrors(threading.local):
    """A list of errors for each thread, in place of wgpudawn's one list for all.

    Dawn reports an error during the call that makes it, in the thread of that call, and wgpudawn's wrapper raises what
    is on the list at the end of any call: with one list a thread that compiles would end the call of another one.
    """

    def __init__(self) -> None:
        self._errors: list[tuple[str, str]] = []

    def __bool__(self) -> bool:
        return bool(self._errors)

    def __getitem__(self, part: slice) -> list[tuple[str, str]]:
        return self._errors[part]

    def append(self, error: tuple[str, str]) -> None:
        self._errors.append(error)

    def clear(self) -> None:
        self._errors.clear()


class Dawn(PythonApi):
    """Dawn."""

    name, package, library = "dawn", "wgpudawn", "wgpudawn.backends.dawn._api"
    matrix_spelling = "dawn"
    wanted_features = (*PythonApi.wanted_features, "subgroups", MATRIX_FEATURE, LOCKING_FEATURE)

    def prepare(self) -> None:
        # toggles cannot change once the instance exists
        with contextlib.suppress(RuntimeError):
            self._extras.set_instance_extras(enable_toggles=TOGGLES, disable_toggles=TOGGLES_OFF)
        api: Any = self.api
        api.error_handler.pending = ThreadErrors()
        # whose functions have the list that there was when they were made
        api.libf = type(api.libf)(api.lib, api.error_handler)

    @property
    def _extras(self) -> Any:
        return importlib.import_module("wgpudawn.backends.dawn.extras")

    def list_handles(self) -> list[Any]:
        with silence_stderr():  # Dawn warns of each driver that it does not use
            return super().list_handles()

    def matrix_configs(self, handle: Any) -> list[Mapping[str, Any]]:
        if MATRIX_FEATURE not in handle.features:
            return []
        return list(self._extras.get_adapter_properties(handle).get("subgroup_matrix_configs", ()))

    def takes_threads(self, device: Any) -> bool:
        return LOCKING_FEATURE in device.features

    # a wait of Dawn's own holds the device's lock while it blocks, and so keeps other threads from submitting

    def is_mapped(self, device: Any, mapping: Any) -> bool:  # noqa: ARG002
        api = self.api
        if mapping._state == "pending" and mapping._wgpu_future_id is not None:
            wait = api.ffi.new("WGPUFutureWaitInfo *")
            wait.future.id = mapping._wgpu_future_id
            api.libf.wgpuInstanceWaitAny(api.get_wgpu_instance(), 1, wait, 0)
        if mapping._state == "pending":
            return False
        mapping.sync_wait()
        return True

    def mapped(self, buffer: Any, mode: MapMode, nbytes: int) -> np.ndarray:
        api = self.api
        if mode == "READ":
            pointer = api.libf.wgpuBufferGetConstMappedRange(buffer._internal, 0, nbytes)
        else:
            pointer = api.libf.wgpuBufferGetMappedRange(buffer._internal, 0, nbytes)
        return memory_at(api.ffi, pointer, nbytes)

    def unmap(self, buffer: Any, written: np.ndarray | None) -> None:  # noqa: ARG002
        buffer.unmap()
