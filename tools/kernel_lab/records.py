"""Records of the kernel laboratory as JSON.

Every record has ``kind``; of what ran it ``adapter``, ``vendor`` and ``model`` (the vendor's numbers), ``driver``,
``implementation``, its ``package`` with version, ``backend``, and ``engine``, this project's version; and the ``date``
in UTC. One of kind "ceilings" has what the adapter reaches: ``copy`` in bytes a second, read and written, and ``f32``,
``f16`` and ``matrix`` in operations a second, a multiplication and an addition each; those that it has no units for are
left out.

One of kind "layer" has the ``precision``; ``models``, in which the layer is so many times; the ``family`` and the
tuning ``key``; the operator ``op``; the ``row``, and whether it is the table's ``own``; ``seconds``, the median of the
``samples``; ``flops`` and ``bytes``, those a second; the ``error`` as a part of the largest magnitude of the result,
its ``tolerance``, and whether it is ``right``; the number of ``dispatches``, their ``kernels``, and the input's
``seed``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.gpu.device.adapters import Adapter
from engine.gpu.device.implementations import package_version
from engine.version import __version__
from tools.kernel_lab.measure import Layer, Result


def _adapter(adapter: Adapter) -> dict[str, Any]:
    return {
        "adapter": adapter.name,
        "vendor": adapter.make[0],
        "model": adapter.make[1],
        "driver": adapter.driver,
        "implementation": adapter.implementation,
        "package": package_version(adapter.implementation),
        "backend": adapter.backend,
        "engine": __version__,
        "date": datetime.now(UTC).date().isoformat(),
    }


def ceilings_record(adapter: Adapter, ceilings: Mapping[str, float]) -> dict[str, Any]:
    """The record of what the adapter reaches."""
    return {"kind": "ceilings", **_adapter(adapter), **ceilings}


def layer_record(adapter: Adapter, layer: Layer, result: Result) -> dict[str, Any]:
    """The record of a layer with one row."""
    timing = result.timing
    return {
        "kind": "layer",
        **_adapter(adapter),
        "precision": layer.case.precision,
        "models": layer.models,
        "family": layer.case.family,
        "key": timing.key,
        "op": layer.case.node.op,
        "row": timing.row,
        "own": timing.row == layer.case.row,
        "seconds": timing.seconds,
        "samples": result.samples,
        "flops": timing.flops,
        "bytes": timing.nbytes,
        "flops_per_second": timing.flops / timing.seconds if timing.seconds else 0.0,
        "bytes_per_second": timing.nbytes / timing.seconds if timing.seconds else 0.0,
        "error": timing.error if math.isfinite(timing.error) else "infinite",
        "tolerance": timing.tolerance,
        "right": timing.is_right,
        "dispatches": timing.dispatches,
        "kernels": timing.kernels,
        "seed": result.seed,
    }


def measured(records: Iterable[Mapping[str, Any]], adapter: Adapter) -> set[tuple[str, str]]:
    """The precision and the key of each layer that records have of an adapter, whatever its driver was then."""
    names = adapter.name, adapter.implementation
    return {
        (record["precision"], record["key"])
        for record in records
        if record["kind"] == "layer" and (record["adapter"], record["implementation"]) == names
    }


def read(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """All records of some files, in order."""
    return [json.loads(line) for path in paths for line in path.read_text("utf-8").splitlines() if line.strip()]
