"""web/image's strokes of a brush against the distances of all pixels, which nss has nothing of."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from tests.web.conftest import HERE, Node
from tests.web.image.cases import Cases, mask


def test_strokes(run_node: Node, tmp_path: Path) -> None:
    cases = Cases(tmp_path / "cases")
    _add_strokes(cases, np.random.default_rng(19))
    run_node(HERE / "image/strokes.test.mjs", NSS_CASES=cases.write())


def _add_strokes(cases: Cases, rng: np.random.Generator) -> None:
    for size in ((1, 1), (37, 61), (150, 290)):
        for scale, left, top in ((1.0, 0.0, 0.0), (0.37, 0.0, 0.0), (2.5, 7.25, -3.5)):
            m = mask(rng, *size)
            strokes = []
            for _ in range(5):
                points = rng.uniform(-20, 320, (int(rng.integers(1, 6)), 2)).round(2)
                if rng.integers(3) == 0:
                    points = np.repeat(points[:1], 2, axis=0)  # a click: no length
                strokes.append(
                    {
                        "mode": str(rng.choice(["erase", "restore"])),
                        "size": float(rng.choice([0, 1, 7.5, 60, 301])),
                        "hardness": float(rng.choice([0, 0.3, 0.8, 1])),
                        "points": points.tolist(),
                    }
                )
            result = m.astype(np.float64)
            for stroke in strokes:
                result = _painted(result, stroke, scale, left, top)
            cases.add(
                "strokes", f"{size} {scale}", mask=m, strokes=strokes, place={"scale": scale, "left": left, "top": top},
                result=result.astype(np.float32),
            )  # fmt: skip


def _painted(m: np.ndarray, stroke: dict[str, Any], scale: float, left: float, top: float) -> np.ndarray:
    """The mask after a stroke, by the distance of each pixel's centre in the photo to each segment."""
    rows, columns = np.mgrid[0 : m.shape[0], 0 : m.shape[1]]
    y, x = (rows + 0.5) / scale + top, (columns + 0.5) / scale + left
    nearest = np.full(m.shape, math.inf)
    points = stroke["points"]
    for (ax, ay), (bx, by) in zip(points, points[1:] or points, strict=False):
        length = math.hypot(bx - ax, by - ay)
        along = ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length if length else np.zeros_like(x)
        along = np.clip(along, 0, length) / (length or 1)
        nearest = np.minimum(nearest, np.hypot(x - ax - along * (bx - ax), y - ay - along * (by - ay)))
    radius = stroke["size"] / 2
    if radius == 0:
        return m
    inner = max(0.0, min(stroke["hardness"] * radius, radius - 1 / scale))
    t = np.clip((radius - nearest) / (radius - inner), 0, 1)
    coverage = t * t * (3 - 2 * t)
    return m * (1 - coverage) if stroke["mode"] == "erase" else m + (1 - m) * coverage
