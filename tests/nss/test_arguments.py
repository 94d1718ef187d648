"""Arguments of other types than the library takes: a UsageError of one sentence, which names the parameter."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nss
from nss import UsageError, ray
from nss.compat import rembg

PHOTO, MASK = np.zeros((4, 4, 3), np.uint8), np.full((4, 4), 255, np.uint8)


def cutout() -> Any:
    return nss.apply_mask(PHOTO, MASK)


MODELS = "'models' is a name or a path, or a list of these"
A_FORMAT = "is the name of a format, or an nss.Encoding"
CALLS: dict[str, tuple[Callable[[Any], object], str]] = {
    "models": (lambda tmp: nss.export_web(5, tmp / "site"), f"{MODELS}, not int"),  # type: ignore[arg-type]
    "a model": (lambda tmp: nss.export_web(["u2netp", 5], tmp / "site"), f"{MODELS}, not int"),  # type: ignore[list-item]
    "bytes": (lambda tmp: nss.export_web(b"u2netp", tmp / "site"), f"{MODELS}, not bytes"),  # type: ignore[arg-type]
    "folder": (lambda _: nss.export_web("u2netp", 5), "'folder' is a path, not int"),  # type: ignore[arg-type]
    "Remover": (lambda _: nss.Remover(5), "'model' is a name or a path, not int"),  # type: ignore[arg-type]
    "remove": (lambda _: nss.remove(PHOTO, model=b"u2netp"), "'model' is a name or a path, not bytes"),  # type: ignore[arg-type]
    "model_variant": (
        lambda _: nss.Remover("u2netp", model_variant=["f16"]),  # type: ignore[arg-type]
        "'model_variant' is a variant's name, not list",
    ),
    "max_pixels": (
        lambda _: nss.Remover("u2netp", max_pixels="1M"),  # type: ignore[arg-type]
        "'max_pixels' \"1M\": a number is wanted",
    ),
    "format": (lambda _: nss.Encoding(["png"]), "'format' is the name of a format, not list"),  # type: ignore[arg-type]
    "quality": (lambda _: nss.Encoding("webp", "90"), "'quality' \"90\": a number is wanted"),  # type: ignore[arg-type]
    "effort": (
        lambda _: nss.Encoding("png", effort=[1]),  # type: ignore[arg-type]
        "'effort' [1]: a number is wanted",
    ),
    "path": (lambda _: cutout().save(5), "<cutout>: takes no bytes"),
    "encoding": (lambda tmp: cutout().save(tmp / "a.png", encoding=5), f"'encoding' {A_FORMAT}, not int"),
    "to_bytes": (lambda _: cutout().to_bytes(5), f"'format' {A_FORMAT}, not int"),
    "a composition to save": (
        lambda tmp: cutout().save(tmp / "a.png", composition={"crop": 5}),
        "'composition' is an nss.Composition, not dict",
    ),
    "a composition": (lambda _: cutout().composed(5), "'composition' is an nss.Composition, not int"),
    "a refinement": (lambda _: cutout().refined({"feather": 1}), "'refinement' is an nss.Refinement, not dict"),
    "the refinement of a mask": (
        lambda _: nss.apply_mask(PHOTO, MASK, refinement=5),  # type: ignore[arg-type]
        "'refinement' is an nss.Refinement, not int",
    ),
    "a cluster's output": (
        lambda tmp: ray.remove([tmp / "a.jpg"], 5),  # type: ignore[arg-type]
        "'output' is a path or an address, not int",
    ),
    "rembg's session": (
        lambda _: rembg.new_session(["u2netp"]),  # type: ignore[arg-type]
        "'model_name' is the name of a session, not list",
    ),
    "model_config": (
        lambda _: nss.Remover("u2netp", model_config=5),  # type: ignore[arg-type]
        "'model_config' is a mapping or the path of a JSON file, not int",
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_they_are_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    call, sentence = CALLS[name]
    with pytest.raises(UsageError, match=f"^{re.escape(sentence)}") as caught:
        call(tmp_path)
    assert len(str(caught.value).splitlines()) == 1
    assert not list(tmp_path.iterdir())
