"""Where and how a network runs."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import engine
from nss.errors import GpuUnavailableError, UsageError, quoted


@dataclass(frozen=True)
class RunOptions:
    """Where and how a network runs.

    Attributes:
        backend: ``"auto"``, ``"webgpu"``, ``"numpy"`` or ``"reference"``.
        device: an adapter, as ``engine.Session`` takes it (a number or a name), or None.
        precision: ``"f32"``, ``"f32-strict"`` or ``"f16"``.
        require_gpu: nothing but a hardware adapter will do.
    """

    backend: str = "auto"
    device: str | int | None = None
    precision: str = "f32"
    require_gpu: bool = False

    @property
    def demands_gpu(self) -> bool:
        """Whether the user asked for the GPU, so that the processor is no substitute for it."""
        return self.require_gpu or self.backend == "webgpu"

    def check(self) -> None:
        """Raise GpuUnavailableError where a GPU is required and there is none, UsageError for a contradiction."""
        if not self.require_gpu:
            return
        if self.backend in ("numpy", "reference"):
            raise UsageError(f"a GPU is required, and backend {quoted(self.backend)} runs on the processor")
        try:
            devices = engine.devices(self.device)
        except engine.BackendError as error:
            raise UsageError(str(error)) from error
        if devices.chosen is None:
            raise GpuUnavailableError(f"a GPU is required: {devices.reason}")
        adapter = next(adapter for adapter in devices.adapters if adapter.index == devices.chosen)
        if adapter.software:
            raise GpuUnavailableError(f"a GPU is required, and {adapter.name} is a software adapter")

    def open_ahead(self) -> None:
        """Begin to open the device that a session will run on; what is wrong with it the session will say."""
        arguments = (self._backend, self.precision, self.device)
        # no daemon: a process that ends within a driver's call may crash there
        threading.Thread(target=engine.open_ahead, args=arguments, name="nss-gpu").start()

    def session(self, model: engine.ModelFile | engine.CompiledModel, **bindings: Any) -> engine.Session:
        """The model on what these options say; ``bindings`` are what a session of a file takes besides.

        Raises what opening a session does.
        """
        return engine.Session(model, backend=self._backend, adapter=self.device, precision=self.precision, **bindings)

    def place(self) -> engine.Place:
        """What a session would run on. Raises BackendError where the backend, adapter or precision is not there."""
        return engine.place(self._backend, self.precision, self.device)

    @property
    def _backend(self) -> str:
        return "webgpu" if self.require_gpu else self.backend


ON_NUMPY = RunOptions(backend="numpy")
