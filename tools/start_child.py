"""One process's share of ``tools/start.py``: a session and its first result, by a clock that starts after the imports.

    python -P tools/start_child.py first|store|cached|pipelines MODEL IMPLEMENTATION PRECISION FOLDER SHAPES

IMPLEMENTATION is wgpu, dawn or numpy, FOLDER that of the cache, SHAPES those of the inputs as JSON. Prints one JSON
object. ``first`` reads the model and compiles it, ``store`` also keeps it and what was found out about the adapter,
``cached`` opens what was kept, and
``pipelines`` counts the pipelines of the portable plan (of a tree without ``engine.compile``, those that a session asks
its device for). The engine is the one on PYTHONPATH, which may be of an older commit.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

PACKAGES = {"wgpu": "wgpu.backends.wgpu_native", "dawn": "wgpudawn"}
LARGEST_CACHE = 1 << 40


def main(mode: str, model: str, implementation: str, precision: str, folder: str, shapes: str) -> None:
    """Measure, and print."""
    import numpy as np

    if implementation in PACKAGES:
        importlib.import_module(PACKAGES[implementation])
    if mode == "pipelines":
        print(json.dumps({"pipelines": _pipelines(model, implementation, json.loads(shapes))}))
        return
    print(json.dumps({"rollup": _rollup()}), flush=True)
    start = time.perf_counter()
    import engine

    options: dict[str, Any] = {"backend": "numpy"}
    if implementation in PACKAGES:
        options = {"backend": "webgpu", "adapter": implementation}
    if mode == "store":
        options["keep_compiled"] = True
    if mode != "cached":
        options["input_shapes"] = json.loads(shapes)
    source: Any = model
    if mode != "first":
        if implementation in PACKAGES and hasattr(engine, "remember_adapters"):
            engine.remember_adapters(Path(folder))
        cache = engine.ModelCache(Path(folder), LARGEST_CACHE)
        # the folder is this bench's alone, and its model stays as it is: to read it would be seen in the memory
        key = engine.cache_key(model=model, implementation=implementation, precision=precision)
        if mode == "cached":
            source = cache.get(key)
            if source is None:
                raise SystemExit("start_child: nothing was kept")
    with engine.Session(source, precision=precision, **options) as session:
        opened = time.perf_counter()
        session.run({info.name: np.full(info.shape, 0.5, info.dtype) for info in session.inputs})
        end = time.perf_counter()
        if mode == "store":
            cache.put(key, session.compiled)  # type: ignore[arg-type]
        info = session.info
    print(
        json.dumps(
            {
                "open": opened - start,
                "seconds": end - start,
                "backend": info.backend,
                "device": info.device,
                "weight_bytes": info.weight_bytes,
                "environment": engine.environment(info.backend, info.device),
            }
        )
    )


def _rollup() -> str:
    """What Linux says of this process's memory; "" on another system."""
    try:
        return Path("/proc/self/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return ""


def _pipelines(model: str, implementation: str, shapes: dict[str, list[int]]) -> int:
    import engine

    if hasattr(engine, "compile"):
        plan: Any = engine.compile(model, input_shapes=shapes).plan
        return len({program.wgsl for program in plan.programs})
    device_class = _device_class()
    plain = device_class.pipeline
    sources: set[str] = set()

    def pipeline(self: object, source: str, *arguments: object, **options: object) -> object:
        sources.add(source)
        return plain(self, source, *arguments, **options)

    device_class.pipeline = pipeline
    with engine.Session(model, backend="webgpu", adapter=implementation, input_shapes=shapes):
        return len(sources)


def _device_class() -> Any:
    """Of trees in which a device compiles one source at a time."""
    for name in ("engine.gpu.device.device", "engine.gpu.device"):
        try:
            return importlib.import_module(name).Device
        except (ImportError, AttributeError):
            continue
    raise SystemExit("start_child: this tree has no Device that counts pipelines")


if __name__ == "__main__":
    main(*sys.argv[1:])
