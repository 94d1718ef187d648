"""Runs on a cluster that make cut-outs: one set of options, planned, and done."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nss import pipes
from nss.batch.outputs import CutoutWriter, OutputFiles
from nss.batch.stages import HostWork
from nss.cutouts import background
from nss.cutouts.compose import Composition
from nss.errors import UsageError
from nss.files import formats
from nss.files.formats import Encoding
from nss.files.output_file import InputFiles
from nss.interfaces.interface import ModelConfig, as_json, read_config
from nss.masks.refine import Refinement
from nss.models import resolve
from nss.models.local_models import ResolvedModel
from nss.notices import Notify
from nss.pipes import OneTimeFile
from nss.ray import planning
from nss.ray.manifest import Exists
from nss.ray.pipeline import ClusterRun
from nss.ray.planning import ClusterPlan

if TYPE_CHECKING:
    import ray.data

WHERE = ("backend", "device", "require_gpu", "cache")
"""Options that say where a model runs, and not what comes out."""


@dataclass(frozen=True)
class CutoutRuns:
    """What makes cut-outs, whichever photos they are of.

    Attributes:
        model: what runs.
        options: as :class:`nss.Remover` takes them, without the model and the device.
        refinement: what is done to each mask.
        composition: what the cut-outs show; an image behind them is held, for machines that do not have it.
        encoding: of the outputs.
        fail_empty: a photo in which nothing was found fails.
        exists: what becomes of an output that exists.
        words: as `nss.batch.outputs.CutoutWriter` takes it.
    """

    model: ResolvedModel
    options: Mapping[str, Any]
    refinement: Refinement
    composition: Composition
    encoding: Encoding
    fail_empty: bool
    exists: Exists
    words: Callable[[str], str] = str

    @classmethod
    def of(
        cls,
        model: str | os.PathLike[str],
        *,
        model_variant: str | None,
        model_config: ModelConfig | None,
        options: Mapping[str, Any],
        refinement: Refinement | None,
        composition: Composition | None,
        encoding: Encoding | None,
        fail_empty: bool,
        exists: Exists,
        allow_fetch: bool = True,
        quiet: bool = False,
        notify: Notify | None = None,
        words: Callable[[str], str] = str,
    ) -> CutoutRuns:
        """Find the model, on this machine or where it is published.

        Raises:
            ModelUnavailableError, UsageError: as :class:`nss.Remover`.
        """
        composition, encoding = composition or Composition(), encoding or formats.choose(Path("x.png"))
        formats.check_bits(encoding, composition.mask_bits)
        found = resolve.resolve(
            model,
            variant=model_variant,
            backend=options["backend"],
            allow_fetch=allow_fetch,
            quiet=quiet,
            notify=notify,
        )
        config = as_json(read_config(model_config))
        return cls(
            model=found,
            options={**options, "model_config": config},
            refinement=refinement or Refinement(),
            composition=_held(composition),
            encoding=encoding,
            fail_empty=fail_empty,
            exists=exists,
            words=words,
        )

    @property
    def suffix(self) -> str:
        """What follows a photo's stem in the name of its output."""
        kind = ".mask" if self.composition.mask_only else ".cutout"
        return kind + formats.suffix_of(self.encoding.format)

    def plan(
        self, photos: Sequence[str], target: str, *, recursive: bool, notify: Callable[[str], object] | None = None
    ) -> ClusterPlan:
        """What there is to do. Raises as `nss.ray.planning.plan`."""
        return planning.plan(
            photos,
            target,
            settings=self._settings(),
            suffix=self.suffix,
            recursive=recursive,
            exists=self.exists,
            notify=notify,
        )

    def run(self, plan: ClusterPlan) -> ClusterRun:
        """What does it, when it is called."""
        files = OutputFiles(self.encoding, InputFiles(), self.exists)
        levels_alone = self.encoding.has_alpha or self.composition.mask_only
        host = HostWork(
            stages=None,
            masks=None,
            refinement=self.refinement,
            write=CutoutWriter(files, self.refinement, self.composition, self.words),
            max_pixels=self.options["max_pixels"],
            fail_empty=self.fail_empty,
            level_bits=self.composition.level_bits if levels_alone else None,
        )
        return ClusterRun(plan=plan, model=self.model, options=self.options, host=host, exists=self.exists)

    def dataset(self, plan: ClusterPlan) -> ray.data.Dataset:
        """Do it; what came of each photo, the failures of the plan among them, as `nss.ray.manifest.Row` has it."""
        import ray.data

        rows = [*planning.failed_rows(plan), *self.run(plan)(lambda _job, _result: None)]
        return ray.data.from_items([{name: getattr(row, name) for name in row.__slots__} for row in rows])

    def _settings(self) -> dict[str, Any]:
        return {
            "model": self.model.sha256,
            "options": {name: value for name, value in self.options.items() if name not in WHERE},
            "refinement": self.refinement.settings(),
            "composition": self.composition.settings(),
            "background": self.composition.background.sha256
            if isinstance(self.composition.background, OneTimeFile)
            else None,
            "encoding": self.encoding.settings(),
            "fail_empty": self.fail_empty,
        }


def photos_of(photos: object) -> list[str]:
    """Names of photos, from one, several, or a dataset with a column ``path``. Raises UsageError for anything else."""
    if isinstance(photos, (str, os.PathLike)):
        return [os.fspath(photos)]
    if isinstance(photos, Iterable) and not hasattr(photos, "select_columns"):
        names = list(photos)
        if all(isinstance(name, (str, os.PathLike)) for name in names):
            return [os.fspath(name) for name in names]
    elif hasattr(photos, "select_columns"):
        return [row["path"] for row in photos.select_columns(["path"]).iter_rows()]
    raise UsageError("'photos' are paths or addresses, or a dataset with such in its column path")


def _held(composition: Composition) -> Composition:
    """The same, with the image behind it as this machine has it."""
    file = background.file_of(composition.background)
    if file is None or isinstance(file, OneTimeFile):
        return composition
    try:
        return replace(composition, background=pipes.read(file))
    except OSError as error:
        raise UsageError(f"'background' {file}: cannot be read: {error.strerror or error}") from error
