"""What the engine asks of an implementation of WebGPU, and what those with wgpu-py's Python API share."""

from __future__ import annotations

import importlib
import logging
import os
import tempfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from engine.compiled.model import Grid
from engine.forks import note_use

if TYPE_CHECKING:
    import numpy as np

MapMode = Literal["READ", "WRITE"]
"""What a mapped buffer is mapped for."""

BoundCommand = tuple[Any, Any, Grid]
"""A command of a plan as a device replays it: pipeline, bind group, workgroups."""

OPENGL = ("OpenGL", "OpenGLES")
"""The APIs that show again, with fewer features, what another one shows."""


class Implementation(Protocol):
    """An implementation of WebGPU; handles are its own objects, which have the methods of wgpu-py.

    ``name`` is how a user asks for it, and ``package`` what must be installed. Errors are whatever the package raises.
    """

    name: str
    package: str
    matrix_spelling: str
    """How its WGSL has matrix units (``engine.caps.MatrixUnits.spelling``)."""

    @property
    def module(self) -> ModuleType:
        """The package, ready for use. Raises whatever its import raises."""

    def handles(self) -> list[Any]:
        """New handles of the adapters that can compute, in the driver's order: WebGPU opens one device for each."""

    def features(self, handle: Any) -> tuple[str, ...]:
        """The features that devices are opened with, by WebGPU's names."""

    def matrix_configs(self, handle: Any) -> list[Mapping[str, Any]]:
        """The products of matrix units that WGSL can use, as Dawn describes them: m, n, k, ``component_type`` and
        ``result_component_type``."""

    def try_unusable_matrix_units(self, handle: Any) -> str:
        """Try matrix units that no kernel here can use; one line on them. Raises where the adapter refuses a device."""

    def matrix_shapes(self, handle: Any) -> tuple[str, ...]:
        """The names of the products that the adapter's matrix units claim, usable or not."""

    def open_device(self, handle: Any, limits: Mapping[str, int]) -> Any:
        """A device with ``features(handle)`` and these limits. Each handle opens one."""

    def takes_threads(self, device: Any) -> bool:
        """Whether the device compiles in one thread while another one uses it."""

    def shader(self, device: Any, source: str, label: str, *, trusted: bool) -> Any:
        """A shader module; where ``trusted``, without bounds checks if the implementation can leave them out."""

    def map(self, buffer: Any, mode: MapMode, nbytes: int) -> Any:
        """Ask for the first bytes of a buffer to be mapped; what ``is_mapped`` takes.

        Nothing is submitted for it: a submission to a lost device may end the process.
        """

    def is_mapped(self, device: Any, mapping: Any) -> bool:
        """Whether the bytes are mapped by now; raises where they never will be.

        It returns at once, and keeps no other thread from submitting; ``Device.wait`` calls it again and again.
        """

    def mapped(self, buffer: Any, mode: MapMode, nbytes: int) -> np.ndarray:
        """The first bytes of a mapped buffer, uint8: to be read, or to be written into, until ``unmap``."""

    def unmap(self, buffer: Any, written: np.ndarray | None) -> None:
        """Give a mapped buffer back to the device; ``written`` is what ``mapped`` gave to write into."""

    def tick_seconds(self, device: Any) -> float:
        """Seconds of one tick of a timestamp."""

    def replay(self, compute: Any, commands: Sequence[BoundCommand]) -> None:
        """Record the commands into an open compute pass."""


def matrix_shape(config: Mapping[str, Any]) -> str:
    """The name of a product: "f16→f32 16x16x16"."""
    types = config.get("component_type", "?"), config.get("result_component_type", "?")
    return f"{types[0]}→{types[1]} {config.get('m')}x{config.get('n')}x{config.get('k')}"


class PythonApi:
    """An implementation with wgpu-py's API, as WebGPU's text describes it; each of them differs in a few members."""

    name: str
    package: str
    library: str
    """The module with the C functions (``lib``, and ``ffi``) behind the Python API."""
    wanted_features: tuple[str, ...] = ("shader-f16", "timestamp-query")
    matrix_spelling = ""

    @cached_property
    def module(self) -> ModuleType:
        # one of the drivers warns on standard error at every call when this is not set
        os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())
        module = importlib.import_module(self.package)
        # without a handler Python prints what the package logs of a lost device
        logging.getLogger(self.package).addHandler(logging.NullHandler())
        self.prepare()
        return module

    def prepare(self) -> None:
        """What is to be done once, after the import and before the first adapter is listed."""

    @cached_property
    def api(self) -> ModuleType:
        """The module of ``library``."""
        return importlib.import_module(self.library)

    def handles(self) -> list[Any]:
        note_use(self.module)
        handles = [handle for handle in self.list_handles() if handle.info["backend_type"] != "Null"]
        return [handle for handle in handles if handle.info["backend_type"] not in OPENGL] or handles

    def list_handles(self) -> list[Any]:
        """Every handle that the package gives."""
        return list(self.module.gpu.enumerate_adapters_sync())

    def features(self, handle: Any) -> tuple[str, ...]:
        return tuple(name for name in self.wanted_features if name in handle.features)

    def matrix_configs(self, handle: Any) -> list[Mapping[str, Any]]:  # noqa: ARG002 (the protocol's signature)
        return []

    def matrix_shapes(self, handle: Any) -> tuple[str, ...]:
        return tuple(sorted({matrix_shape(config) for config in self.matrix_configs(handle)}))

    def try_unusable_matrix_units(self, handle: Any) -> str:  # noqa: ARG002
        return "there are none for float16, the only type that a kernel here would use"

    def open_device(self, handle: Any, limits: Mapping[str, int]) -> Any:
        return handle.request_device_sync(required_features=list(self.features(handle)), required_limits=dict(limits))

    def takes_threads(self, device: Any) -> bool:  # noqa: ARG002
        return True

    def shader(self, device: Any, source: str, label: str, *, trusted: bool) -> Any:  # noqa: ARG002
        return device.create_shader_module(code=source, label=label)

    def map(self, buffer: Any, mode: MapMode, nbytes: int) -> Any:
        return buffer.map_async(mode, 0, nbytes)

    def is_mapped(self, device: Any, mapping: Any) -> bool:  # noqa: ARG002
        mapping.sync_wait()
        return True

    def mapped(self, buffer: Any, mode: MapMode, nbytes: int) -> np.ndarray:
        import numpy as np

        return np.frombuffer(buffer.read_mapped(0, nbytes), np.uint8) if mode == "READ" else np.empty(nbytes, np.uint8)

    def unmap(self, buffer: Any, written: np.ndarray | None) -> None:
        if written is not None:
            buffer.write_mapped(written, 0)
        buffer.unmap()

    def tick_seconds(self, device: Any) -> float:  # noqa: ARG002
        return 1e-9

    def replay(self, compute: Any, commands: Sequence[BoundCommand]) -> None:
        # the implementation's own functions over handles: a third of what the wrapper costs for each call
        lib, null, pass_ = self.api.lib, self.api.ffi.NULL, compute._internal
        set_pipeline, set_group = lib.wgpuComputePassEncoderSetPipeline, lib.wgpuComputePassEncoderSetBindGroup
        dispatch = lib.wgpuComputePassEncoderDispatchWorkgroups
        current = None
        for pipeline, group, (x, y, z) in commands:
            if pipeline is not current:
                set_pipeline(pass_, pipeline._internal)
                current = pipeline
            set_group(pass_, 0, group._internal, 0, null)
            dispatch(pass_, x, y, z)


def memory_at(ffi: Any, address: Any, nbytes: int) -> np.ndarray:
    """The bytes, uint8, at a pointer of cffi. Raises RuntimeError for the null pointer."""
    import numpy as np

    if address == ffi.NULL:
        raise RuntimeError("the buffer is not mapped")
    return np.frombuffer(ffi.buffer(address, nbytes), np.uint8)
