"""A site: the page, and models for it, in one folder of static files."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import engine
from nss.errors import UsageError, check_kind, quoted
from nss.interfaces.interface import Description, ModelConfig, read_config
from nss.models import resolve
from nss.models.local_models import ResolvedModel
from nss.notices import Notices, Notify
from nss.web import licences, model_folder, placing
from nss.web.page_files import page_files
from nss.web.site import NAME, Site, SiteFile, SiteModel

LICENCE = "LICENCE.txt"
KERNELS = "image/kernels.json"
"""What `engine.image_kernels` gives, for the modules beside it."""

BUILTIN = "u2netp"

Progress = Callable[[int, str], None]
"""Takes how many models are done, and the name of the one that is next."""


@dataclass(frozen=True)
class ExportedSite:
    """A site that was written.

    Attributes:
        folder: where it is.
        models: what it offers, in the order of the request; their fields are those of ``site.json``.
        files: how many there are, and ``bytes`` what they take together.
        notes: the notices: of models' interfaces, and of licences that do not allow everything.
    """

    folder: Path
    models: tuple[SiteModel, ...]
    files: int
    bytes: int
    notes: tuple[str, ...]


def export_web(
    models: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = BUILTIN,
    folder: str | os.PathLike[str] = "site",
    *,
    weights: Literal["f32", "f16", "int8"] | None = None,
    page: bool = True,
    model_variant: str | None = None,
    model_config: ModelConfig | None = None,
    overwrite: bool = False,
    allow_fetch: bool = True,
    quiet: bool = False,
    notify: Notify | None = None,
    progress: Progress | None = None,
) -> ExportedSite:
    """Write a folder of static files that cuts out photos in a visitor's browser, on the visitor's own GPU.

    Models are compiled for what every browser with WebGPU has, without asking for an adapter. The folder appears whole
    or not at all, and is the same byte by byte each time.

    Args:
        models: one or several, each as :class:`nss.Remover` takes it; the page begins with the first.
        folder: its name; the folder that it lies in must be there.
        weights: how weights are stored, all of which the page computes with in float32: ``"f16"`` is half the download
            of ``"f32"``, and ``"int8"`` about a third, further from the model's own. None: ``"f16"``, and ``"f32"`` for
            a model of up to 16 MiB.
        page: with the page; without it, models and the modules that a page of your own imports.
        model_variant: which of a repository's files, where one model is exported.
        model_config: how the model takes a photo and where its mask is, where one model is exported.
        overwrite: a site of nss-wgpu may be there, and is replaced. What is not the site's stays in the folder.
        allow_fetch: a model that is asked for by name may be downloaded.
        quiet: no progress of downloads, and no notices.
        notify: receives each notice as one line, as :func:`nss.remove` has it.
        progress: is told before each model, and at the end.

    Raises:
        ModelUnavailableError: a model is missing or damaged, cannot be compiled, or needs more than every browser has.
        UsageError: ``weights`` is no such word, an argument is of another type, one model was given twice, or the
            folder's parent does not exist.
        NssError: the folder is taken, has other files where the site has its own, or cannot be written.
    """
    say = Notices(_nobody if quiet else notify)
    if weights is not None and weights not in get_args(model_folder.Weights):
        raise UsageError(f"'weights' {quoted(weights)}: one of {', '.join(get_args(model_folder.Weights))} is possible")
    names = _names(models)
    description = read_config(model_config)
    _check_names(names, description, model_variant)
    target = placing.target_folder(folder)
    before = placing.check(target, overwrite=overwrite)
    sources = page_files(page=page)
    resolved = [
        # numpy: "auto" takes what is quick enough here, and need not look for a GPU for that
        resolve.resolve(name, variant=model_variant, backend="numpy", allow_fetch=allow_fetch, quiet=quiet, notify=say)
        for name in names
    ]
    _check_repetitions(resolved)
    with placing.unfinished(target) as building:
        (building / "models").mkdir()
        written = []
        for index, (model, name) in enumerate(
            zip(resolved, model_folder.unique_names(model.spec.name for model in resolved), strict=True)
        ):
            _tell(progress, index, name)
            record, notes = model_folder.write_model(
                model, description, building, name=name, weights=weights, default=index == 0
            )
            written.append(record)
            for line in (*notes, *filter(None, [licences.warning(model)])):
                say(line)
        _tell(progress, len(resolved), "")
        site = Site(engine.__version__, tuple(written), _write_page(sources, building))
        (building / NAME).write_bytes(site.encode())
        nbytes = sum(file.bytes for file in site.all_files.values()) + (building / NAME).stat().st_size
        placing.place(building, target, before)
    return ExportedSite(target, site.models, len(site.all_files) + 1, nbytes, say.lines)


def _names(models: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[str | os.PathLike[str]]:
    if isinstance(models, str | os.PathLike):
        return [models]
    names: list[Any] = [models] if isinstance(models, bytes) or not isinstance(models, Iterable) else list(models)
    for name in names:
        check_kind("models", name, (str, os.PathLike), "a name or a path, or a list of these")
    return names


def _check_names(names: Sequence[str | os.PathLike[str]], description: Description, model_variant: str | None) -> None:
    if not names:
        raise UsageError("no model is given; 'models' names one at least")
    if len(names) > 1 and description:
        keys = ", ".join(f"'{key}'" for key in description)
        raise UsageError(
            f"{keys}: of which of {len(names)} models? Keep it in each file, in its metadata under nss.interface"
        )
    if len(names) > 1 and model_variant is not None:
        raise UsageError("'model_variant': of which of the models? Name the file instead, owner/name:onnx/model.onnx")


def _check_repetitions(models: Sequence[ResolvedModel]) -> None:
    by_content: dict[str, ResolvedModel] = {}
    for model in models:
        other = by_content.setdefault(model.sha256, model)
        if other is not model:
            raise UsageError(f"{model.requested} is the same file as {other.requested}; leave one of them out")


def _write_page(sources: dict[str, Path], building: Path) -> tuple[SiteFile, ...]:
    """The page's files, the image kernels and the page's licence in the folder that is being made."""
    for path, source in sources.items():
        (building / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, building / path)
    kernels = json.dumps(engine.image_kernels(), sort_keys=True, separators=(",", ":")).encode()
    licence = licences.of_the_page(engine.__version__).encode()
    for path, content in {KERNELS: kernels, LICENCE: licence}.items():
        (building / path).parent.mkdir(exist_ok=True)
        (building / path).write_bytes(content)
    return tuple(SiteFile.of(path, building / path) for path in sorted({*sources, KERNELS, LICENCE}))


def _tell(progress: Progress | None, finished: int, name: str) -> None:
    if progress is not None:
        progress(finished, name)


def _nobody(line: str) -> None:
    """Nobody is told."""
