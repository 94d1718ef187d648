"""web/image from photo to picture against `nss.Remover`, both with U²-Netp's output; and the memory that it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import nss
from nss.cutouts.compose import Composition
from nss.masks.refine import Refinement
from tests.web.conftest import HERE, ROOT, Node
from tests.web.image.cases import Cases

WANTED: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any] | None]] = [
    ({}, {}, None),
    ({"black": 0.05, "white": 0.95, "drop_islands": 40, "smooth": 1.5}, {"hidden": "bleed"}, None),
    ({"guided": 6, "expand": -1}, {"decontaminate": 1.0, "crop": 10}, None),
    ({"feather": 1, "fill_holes": 90}, {"background": "#20406080", "invert": True}, {"colour": [32, 64, 96, 128]}),
    ({}, {"background": "blur:6"}, {"blur": 6}),
]


def test_cutout(run_node: Node, tmp_path: Path) -> None:
    cases = Cases(tmp_path / "cases")
    with Image.open(ROOT / "docs/astronaut.jpg") as image:
        rgb = np.asarray(image.convert("RGB").resize((301, 283)))
    alpha = np.full((*rgb.shape[:2], 1), 255, np.uint8)
    alpha[:40] = 0
    alpha[40:80] = 100
    with nss.Remover("u2netp", backend="numpy", quiet=True) as remover:
        for own in (None, alpha):
            photo = rgb if own is None else np.concatenate([rgb, own], axis=2)
            prepared = remover.prepare(photo)
            inferred = remover.infer(prepared)
            cutout = remover.finish(inferred)
            assert cutout.info.model_config
            for refinement, composition, background in WANTED:
                picture = cutout.refined(Refinement(**refinement)).composed(Composition(**composition)).picture
                cases.add(
                    "cutout", f"{refinement} {composition} {'opaque' if own is None else 'with alpha'}",
                    rgba=np.concatenate([rgb, np.full_like(alpha, 255) if own is None else own], axis=2),
                    opaque=own is None, interface=cutout.info.model_config["values"], input=prepared.network_input,
                    output=inferred.raw[None, None], settings=refinement, background=background,
                    composition={key: value for key, value in composition.items() if key != "background"},
                    result=picture.pixels,
                )  # fmt: skip
    run_node(HERE / "image/cutout.test.mjs", NSS_CASES=cases.write())


@pytest.mark.parametrize(
    "megapixels",
    [
        24,
        pytest.param(100, marks=pytest.mark.long(reason="100 megapixels; 24 are run in any case")),
    ],
)
def test_memory(run_node: Node, megapixels: int) -> None:
    run_node(HERE / "image/memory.test.mjs", NSS_MEGAPIXELS=str(megapixels))
