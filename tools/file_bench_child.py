"""One process's share of ``tools/file_bench.py``: a decoded photo to its alpha, with the network's session open.

    python -P tools/file_bench_child.py PHOTO MODEL BACKEND DEVICE PRECISION

Prints one JSON object: the milliseconds of each run, and the medians of the stages. The package is the one on
PYTHONPATH, which may be of an older commit.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from statistics import median
from typing import Any

RUNS = 12


def main(path: str, model: str, backend: str, device: str, precision: str) -> None:
    """Measure, and print."""
    import nss
    from nss.photos import image_io

    photo = image_io.load(path)
    milliseconds: list[float] = []
    stages: dict[str, list[float]] = {}
    with nss.Remover(model, backend=backend, device=device or None, precision=precision) as remover:
        for _ in range(RUNS + 3):
            start = time.perf_counter()
            cutout = remover.remove(photo)
            # the alpha of a file: 8 bits a pixel, packed with the colours in the same step
            end = _alpha(cutout)
            milliseconds.append((end - start) * 1e3)
            for name, value in cutout.info.milliseconds.items():
                stages.setdefault(name, []).append(value)
        where = getattr(cutout.info, "stages", None)
    print(
        json.dumps(
            {
                "milliseconds": milliseconds[3:],
                "stages": {name: median(values[3:] or values) for name, values in stages.items()},
                "where": where,
            }
        )
    )


def _alpha(cutout: Any) -> float:
    """When the alpha of the cut-out is there, uint8."""
    import numpy as np

    if hasattr(cutout, "photo_mask"):
        shape = cutout.photo_mask.shape
        cutout.photo_mask.fill_alpha(np.empty(shape, np.uint8), own_alpha=None, invert=False)
    else:  # an older tree, where the whole mask was made first
        importlib.import_module("nss.files.picture").quantise(cutout.alpha())
    return time.perf_counter()


if __name__ == "__main__":
    main(*sys.argv[1:])
