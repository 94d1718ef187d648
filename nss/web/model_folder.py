"""A model, compiled for what every browser has, in a folder of its own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import engine
from nss.errors import ModelUnavailableError, one_line
from nss.interfaces.interface import Description, EdgeSize, FixedSize, Interface, as_json
from nss.removal import mask_output
from nss.removal.model_inputs import image_shape
from nss.removal.model_reading import bindings, read
from nss.removal.opening import opening
from nss.web import licences
from nss.web.site import SiteFile, SiteModel

if TYPE_CHECKING:
    from nss.models.local_models import ResolvedModel
    from nss.removal.resolved_interface import ResolvedInterface

Weights = Literal["f32", "f16", "int8"]

SHARD = 16 << 20
"""Bytes of a file of weights: some hosts take no more than 25 MiB, and a download that was cut begins again there."""

SMALL = 16 << 20
"""Bytes of weights that are stored as they are, unless something else is asked for: a download of seconds, after which
the page's masks are the command's. Halved weights move those of U²-Netp by up to two levels of 255."""

LICENCE = "LICENCE.txt"

_STORED = {"f32": "as they are", "f16": "as 16-bit floats", "int8": "as 8-bit integers with a scale for each 64"}


def write_model(
    model: ResolvedModel, description: Description, site: Path, *, name: str, weights: Weights | None, default: bool
) -> tuple[SiteModel, tuple[str, ...]]:
    """Compile a model and write it into ``models/`` of a site that is being made; and the notices on its interface.

    No adapter is asked for: it is compiled for WebGPU's default limits, in float32, for the input that a square photo
    gets. A size that follows the photo's shape is that of a square from then on.

    Args:
        model: its file.
        description: what the user says of its interface.
        site: the folder of the site, which has a folder ``models``.
        name: what it is called there.
        weights: how they are stored; None for f32 where they take up to ``SMALL``, and f16 beyond.
        default: whether the page begins with it.

    Raises:
        ModelUnavailableError: the file cannot be read, is no mask model, has operators without a kernel, or needs more
            than WebGPU's default limits.
        UsageError: ``description`` contradicts itself.
        NssError: the system refuses to write it.
    """
    with opening(model.path):
        file, resolved_interface = read(model, description)
    interface = _fixed(file, resolved_interface.interface)
    notices = (*resolved_interface.guesses, *_on_size(model, resolved_interface))
    with resolved_interface.blaming_guesses(), _naming_limits(), opening(model.path):
        compiled = engine.compile(
            file,
            **bindings(file, resolved_interface.interface),
            origin=engine.ModelOrigin(name=model.spec.name, sha256=model.sha256, licence=model.spec.licence),
            metadata={"interface": as_json(interface), "notices": list(notices), "title": model.spec.title},
            caps=engine.Caps(compact=True),
        )
    if weights is None:
        weights = "f32" if sum(compiled.plan.constant_sizes) <= SMALL else "f16"
    slug = folder_name(name)
    folder = site / "models" / slug
    with opening(model.path), _writing():
        engine.save_compiled(compiled, folder, shard=SHARD, weights=weights)
    height, width = interface.size.of(1, 1)
    change = f"compiled by nss-wgpu {engine.__version__} for WebGPU at {height} x {width}, weights {_STORED[weights]}."
    (folder / LICENCE).write_text(licences.text(model, change), "utf-8", newline="\n")
    files = tuple(SiteFile.of(f"models/{slug}/{path.name}", path) for path in sorted(folder.iterdir()))
    spec = model.spec
    return SiteModel(
        name=name,
        title=spec.title,
        summary=spec.summary,
        licence=spec.licence,
        licence_url=spec.licence_url,
        commercial=spec.commercial,
        origin=licences.origin(model),
        weights=weights,
        bytes=sum(file.bytes for file in files),
        size=(height, width),
        folder=f"models/{slug}/",
        default=default,
        files=files,
    ), notices


def unique_names(names: Iterable[str]) -> list[str]:
    """The names in their order, those that are taken with a number: no two make folders that any system holds equal."""
    taken: set[str] = set()
    unique = []
    for name in names:
        number, candidate = 1, name
        while folder_name(candidate).casefold() in taken:
            number += 1
            candidate = f"{name[:80]}-{number}"
        taken.add(folder_name(candidate).casefold())
        unique.append(candidate)
    return unique


def folder_name(name: str) -> str:
    """A model's name as that of a folder and a part of a URL: ASCII letters, digits, ``-``, ``_`` and dots within."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:100].strip("-.") or "model"


def _fixed(file: engine.ModelFile, interface: Interface) -> Interface:
    """The interface of the compiled model, which has one size, and one output, by its name."""
    shape = image_shape(interface)
    height, width = shape[2:] if interface.layout == "NCHW" else shape[1:3]
    return replace(interface, size=FixedSize(height, width), output=mask_output.output_name(file.outputs, interface))


def _on_size(model: ResolvedModel, resolved_interface: ResolvedInterface) -> list[str]:
    size = resolved_interface.interface.size
    if not isinstance(size, EdgeSize):
        return []
    square = size.of(size.length, size.length)[0]
    return [
        f"{model.spec.name}: takes photos in their own shape ({size}), and has one size in a browser: all are brought "
        f"to {square}x{square}"
    ]


@contextmanager
def _naming_limits() -> Iterator[None]:
    """Say what helps where a model needs more than every browser has; the backend that the engine names does not.

    What is too large for this machine is left as it is.
    """
    try:
        yield
    except ModelUnavailableError as error:
        what, use, _ = one_line(error).partition(". Use ")
        if not (isinstance(error.__cause__, engine.TooLargeError) and use):
            raise
        raise ModelUnavailableError(
            f"{what.replace('the adapter', 'a browser')} by default: say a smaller 'size' where the model takes one"
        ) from error.__cause__


@contextmanager
def _writing() -> Iterator[None]:
    """What the system refuses is no fault of the model."""
    try:
        yield
    except engine.ModelError as error:
        if not isinstance(error.__cause__, OSError):
            raise
        raise error.__cause__ from None
