"""web/image's refinement of masks against nss's own, step by step and all together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nss.arrays import gaussian
from nss.errors import UsageError
from nss.masks.guided import natural_radius
from nss.masks.photo_mask import PhotoMask
from nss.masks.refine import Refinement
from tests.web.conftest import HERE, Node
from tests.web.image.cases import Cases, mask, photo

SIZES = [(1, 1), (1, 40), (33, 1), (3, 5), (61, 90), (300, 283)]

STEPS: list[dict[str, Any]] = [
    {"black": 0.1, "white": 0.9},
    {"black": 0.5, "white": 0.5},
    {"black": 1.0, "white": 1.0},
    {"drop_islands": 2},
    {"drop_islands": 60.5},
    {"drop_islands": 1e9},
    {"fill_holes": 2},
    {"fill_holes": 500},
    {"fill_holes": 1e9},
    {"smooth": 0.4},
    {"smooth": 3},
    {"expand": 0.3},
    {"expand": 1},
    {"expand": 2.6},
    {"expand": 13.2},
    {"expand": -1.5},
    {"expand": -7},
    {"feather": 0.3},
    {"feather": 1.7},
    {"feather": 20},
    {"guided": 1},
    {"guided": 3.75},
    {"guided": 9},
    {"guided": 60},
]

WRONG: list[dict[str, Any]] = [
    {"feather": -1},
    {"smooth": 1001},
    {"expand": 201},
    {"drop_islands": -3},
    {"black": 0.6, "white": 0.5},
    {"white": 1.1},
    {"guided": float("1e4")},
]


def test_refine(run_node: Node, tmp_path: Path) -> None:
    rng = np.random.default_rng(17)
    cases = Cases(tmp_path / "cases")
    for size in SIZES:
        rgba = photo(rng, *size)
        for number, settings in enumerate(STEPS):
            m = mask(rng, *size)
            if number % 5 == 4:
                m = np.round(m * 12).astype(np.float32) / 12  # many pixels at a level, and equal areas
            result = Refinement(**settings).apply(m, rgba[..., :3])
            cases.add("step", f"{size} {settings}", settings=settings, mask=m, rgba=rgba, result=result)
    for seed in range(12):
        _add_whole(cases, np.random.default_rng(seed))
    for size in ((500, 800), (20, 31), (64, 32)):
        cases.add("natural radius", f"{size}", size=list(size), radius=natural_radius(size, (64, 32)))
    for sigma in (0.1, 0.3, 1, 2.5, 40, 333):
        cases.add("kernel", f"{sigma}", sigma=sigma, weights=gaussian.half_kernel(sigma))
    for settings in WRONG:
        with pytest.raises(UsageError) as error:
            Refinement(**settings)
        cases.add("wrong", str(error.value), settings=settings)
    run_node(HERE / "image/refine.test.mjs", NSS_CASES=cases.write())


def _add_whole(cases: Cases, rng: np.random.Generator) -> None:
    """All steps at once, on a network's mask that is enlarged."""
    height, width = (int(side) for side in rng.integers(2, 400, 2))
    settings = {
        "black": round(rng.uniform(0, 0.3), 3),
        "white": round(rng.uniform(0.5, 1), 3),
        "drop_islands": int(rng.integers(0, 300)),
        "fill_holes": int(rng.integers(0, 300)),
        "smooth": round(rng.uniform(0, 4), 2),
        "expand": round(rng.uniform(-5, 5), 2),
        "feather": round(rng.uniform(0, 4), 2),
    }
    raw = mask(rng, 48, 48) * np.float32(1.02) - np.float32(0.01)
    rgba = photo(rng, height, width)
    result = Refinement(**settings).apply(PhotoMask.enlarged(raw, (height, width)).array, rgba[..., :3])
    cases.add("whole", f"{height} x {width} {settings}", settings=settings, raw=raw, rgba=rgba, result=result)
