"""An ONNX engine: a model file becomes a static plan that NumPy or WebGPU runs.

``Session``, ``ModelFile`` and the error types are all that it takes to run a model; ``devices`` lists the adapters,
``save_compiled`` and ``load_compiled`` keep a ``CompiledModel`` in files, and a ``ModelCache`` many of them;
``remember_adapters`` keeps what was found out about adapters, ``tune`` finds the fastest kernels for a model on one,
and ``forget_tuning`` forgets them; ``compare`` holds one backend to another, ``kernel_report`` says which kernels a
model's nodes got, ``environment`` which versions a result depends on;
``PixelInput``, ``MaskOutput`` and what they consist of say what a GPU makes of pixels, and of a mask; ``image_kernels``
are those kernels for a page;
``available_cores``, ``available_memory``, ``single_threaded_blas``, ``Gate`` and ``in_child`` are for work around a
run.
Importing the package loads neither NumPy nor onnx: they come with the first name that needs them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from engine.errors import (
    BackendError,
    DeviceLostError,
    EngineError,
    InputError,
    ModelError,
    TooLargeError,
    UnsupportedError,
)
from engine.version import __version__ as __version__

if TYPE_CHECKING:
    from engine.backend import Place as Place
    from engine.backend import open_ahead as open_ahead
    from engine.backend import place as place
    from engine.caps import Caps as Caps
    from engine.compiled.cache import CacheEntry as CacheEntry
    from engine.compiled.cache import ModelCache as ModelCache
    from engine.compiled.cache import cache_key as cache_key
    from engine.compiled.model import CompiledModel as CompiledModel
    from engine.compiled.model import ModelOrigin as ModelOrigin
    from engine.compiled.reader import load_compiled as load_compiled
    from engine.compiled.writer import save_compiled as save_compiled
    from engine.compiler import compile as compile  # noqa: A004 (read as engine.compile)
    from engine.cores import available_cores as available_cores
    from engine.cpu.threads import single_threaded_blas as single_threaded_blas
    from engine.forks import in_child as in_child
    from engine.gate import Gate as Gate
    from engine.gpu.device.listing import DeviceInfo as DeviceInfo
    from engine.gpu.device.listing import Devices as Devices
    from engine.gpu.device.listing import devices as devices
    from engine.gpu.device.memory import remember_adapters as remember_adapters
    from engine.gpu.images.browser import image_kernels as image_kernels
    from engine.graph.model_file import ModelFile as ModelFile
    from engine.handles import Handle as Handle
    from engine.handles import ImageHandle as ImageHandle
    from engine.handles import ImageResult as ImageResult
    from engine.images import Dilation as Dilation
    from engine.images import LineWeights as LineWeights
    from engine.images import MaskOutput as MaskOutput
    from engine.images import PixelInput as PixelInput
    from engine.images import Smoothing as Smoothing
    from engine.kernel_time import KernelTime as KernelTime
    from engine.memory import available_memory as available_memory
    from engine.parity import NodeError as NodeError
    from engine.parity import ParityReport as ParityReport
    from engine.parity import compare as compare
    from engine.parity import deviates as deviates
    from engine.provenance import environment as environment
    from engine.session import Session as Session
    from engine.session_info import SessionInfo as SessionInfo
    from engine.session_info import TensorInfo as TensorInfo
    from engine.tuning.kernel_report import ChosenRow as ChosenRow
    from engine.tuning.kernel_report import KernelReport as KernelReport
    from engine.tuning.kernel_report import NodeKernels as NodeKernels
    from engine.tuning.kernel_report import kernel_report as kernel_report
    from engine.tuning.report import TunedLayer as TunedLayer
    from engine.tuning.report import TuningReport as TuningReport
    from engine.tuning.tuner import forget_tuning as forget_tuning
    from engine.tuning.tuner import tune as tune

__all__ = [
    "BackendError",
    "CacheEntry",
    "Caps",
    "ChosenRow",
    "CompiledModel",
    "DeviceInfo",
    "DeviceLostError",
    "Devices",
    "Dilation",
    "EngineError",
    "Gate",
    "Handle",
    "ImageHandle",
    "ImageResult",
    "InputError",
    "KernelReport",
    "KernelTime",
    "LineWeights",
    "MaskOutput",
    "ModelCache",
    "ModelError",
    "ModelFile",
    "ModelOrigin",
    "NodeError",
    "NodeKernels",
    "ParityReport",
    "PixelInput",
    "Place",
    "Session",
    "SessionInfo",
    "Smoothing",
    "TensorInfo",
    "TooLargeError",
    "TunedLayer",
    "TuningReport",
    "UnsupportedError",
    "available_cores",
    "available_memory",
    "cache_key",
    "compare",
    "compile",
    "deviates",
    "devices",
    "environment",
    "forget_tuning",
    "image_kernels",
    "in_child",
    "kernel_report",
    "load_compiled",
    "open_ahead",
    "place",
    "remember_adapters",
    "save_compiled",
    "single_threaded_blas",
    "tune",
]

_MODULES = {
    "CacheEntry": "compiled.cache",
    "Caps": "caps",
    "ChosenRow": "tuning.kernel_report",
    "CompiledModel": "compiled.model",
    "DeviceInfo": "gpu.device.listing",
    "Devices": "gpu.device.listing",
    "Dilation": "images",
    "Gate": "gate",
    "Handle": "handles",
    "ImageHandle": "handles",
    "ImageResult": "handles",
    "KernelReport": "tuning.kernel_report",
    "KernelTime": "kernel_time",
    "LineWeights": "images",
    "MaskOutput": "images",
    "ModelCache": "compiled.cache",
    "ModelFile": "graph.model_file",
    "ModelOrigin": "compiled.model",
    "NodeError": "parity",
    "NodeKernels": "tuning.kernel_report",
    "ParityReport": "parity",
    "PixelInput": "images",
    "Place": "backend",
    "Session": "session",
    "SessionInfo": "session_info",
    "Smoothing": "images",
    "TensorInfo": "session_info",
    "TunedLayer": "tuning.report",
    "TuningReport": "tuning.report",
    "available_cores": "cores",
    "available_memory": "memory",
    "cache_key": "compiled.cache",
    "compare": "parity",
    "compile": "compiler",
    "deviates": "parity",
    "devices": "gpu.device.listing",
    "environment": "provenance",
    "forget_tuning": "tuning.tuner",
    "image_kernels": "gpu.images.browser",
    "in_child": "forks",
    "kernel_report": "tuning.kernel_report",
    "load_compiled": "compiled.reader",
    "open_ahead": "backend",
    "place": "backend",
    "remember_adapters": "gpu.device.memory",
    "save_compiled": "compiled.writer",
    "single_threaded_blas": "cpu.threads",
    "tune": "tuning.tuner",
}
"""The modules of the names that are imported on first use."""


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return getattr(importlib.import_module(f"engine.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'engine' has no attribute '{name}'")
