"""A model taken to the machines of a cluster: its files, and what was compiled of it, once for all of them.

A machine that has the same file at the same path, by a shared file system for instance, takes that one. Any other
writes the files into its cache, once, and all its workers map them from there. What one worker has compiled goes into
the cache of each machine whose adapter is such as its own.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import engine
from nss.errors import GpuUnavailableError, ImageError
from nss.interfaces import preprocessor_config
from nss.interfaces.interface import ModelConfig, read_config
from nss.models import compiled
from nss.models.local_models import ResolvedModel
from nss.models.weights import model_store
from nss.removal.adapters import hardware_adapters
from nss.removal.host_stages import HostStages
from nss.removal.model_reading import read_file
from nss.removal.remover import Remover
from nss.removal.run_options import RunOptions

Files = Mapping[str, Any]
"""References to the content of files, uint8, by their names below a folder."""

Facts = Mapping[str, Any]
"""Of an `engine.Place`."""


@dataclass(frozen=True)
class CarriedModel:
    """A model and how it is run. It pickles; the content of files stays in the cluster's object store.

    Attributes:
        model: where it lies on the machine that has resolved it.
        sha256: of its file.
        files: the file and what belongs to it, below a folder.
        name: of the file, below that folder.
        options: what :class:`nss.Remover` takes beside the model and the device.
        compiled: what was compiled, and for which `engine.Place`; None as long as there is nothing.
    """

    model: ResolvedModel
    sha256: str
    files: Files
    name: str
    options: Mapping[str, Any]
    compiled: tuple[Facts, Files] | None = None

    @classmethod
    def of(cls, model: ResolvedModel, options: Mapping[str, Any]) -> CarriedModel:
        """Put the files of a model into the object store. Raises ModelUnavailableError where one cannot be read."""
        import ray

        paths = _paths(model)
        root = Path(os.path.commonpath([path.parent for path in paths]))
        files = {path.relative_to(root).as_posix(): ray.put(_content(model, path)) for path in paths}
        plain = replace(model, path=paths[0], content=None)
        return cls(plain, model.sha256, files, paths[0].relative_to(root).as_posix(), dict(options))

    def open(self, *, gpu: bool) -> Remover:
        """The network on this machine; ``gpu``: on the one that Ray has given this process.

        Raises what :class:`nss.Remover` does, and GpuUnavailableError.
        """
        options, model = self.options_here(gpu=gpu), self._here()
        if self.compiled is not None and options["cache"]:
            self._keep_compiled(model, options)
        return Remover(model, quiet=True, notify=_nobody, **options)

    def options_here(self, *, gpu: bool) -> dict[str, Any]:
        """The options with the device of this process: its GPU, and otherwise none, as Ray says. Raises as `open`."""
        options = {**self.options, "device": None}
        if gpu:
            options.update(backend="webgpu", device=_adapter())
        elif options["backend"] == "auto":
            options["backend"] = "numpy"
        return options

    def with_compiled(self, facts: Facts, files: Files) -> CarriedModel:
        """The same with what was compiled for a place with these facts."""
        return replace(self, compiled=(facts, files))

    def _here(self) -> ResolvedModel:
        with suppress(OSError):
            if self.model.path.is_file() and model_store.sha256_of(self.model.path) == self.sha256:
                return self.model
        folder = model_store.adapter_folder() / "carried" / self.sha256
        _write_folder(self.files, folder)
        return replace(self.model, path=folder / self.name)

    def _keep_compiled(self, model: ResolvedModel, options: Mapping[str, Any]) -> None:
        assert self.compiled is not None
        facts, files = self.compiled
        cache, here = compiled.cache(), _key(model, options)
        if cache is None or here is None or here[1] != facts or cache.get(here[0]) is not None:
            return
        with tempfile.TemporaryDirectory(prefix="nss-compiled-") as folder, suppress(engine.EngineError, OSError):
            _write_folder(files, Path(folder) / "model")
            # of this cluster's own making, as its code is
            cache.put(here[0], engine.load_compiled(Path(folder) / "model", trust=True))


@dataclass(frozen=True)
class OpenedModel:
    """What opening a model on one machine has shown.

    Attributes:
        stages: what goes on around the network.
        compiled: what was compiled, as `CarriedModel` has it, with the files' content; None where nothing is kept.
    """

    stages: HostStages
    compiled: tuple[Facts, dict[str, np.ndarray]] | None


def open_once(carried: CarriedModel, *, gpu: bool) -> OpenedModel:
    """Open a model on a machine of the cluster, before all others do: to compile it, and for what is wrong with it.

    Raises what `CarriedModel.open` does.
    """
    with carried.open(gpu=gpu) as remover:
        stages = remover.host_stages
        if carried.options["cache"]:
            with suppress(ImageError):  # what is compiled is kept once it has run
                remover.remove(np.zeros((64, 64, 3), np.uint8))
    return OpenedModel(stages, _compiled_files(remover.model, carried.options_here(gpu=gpu)))


def _key(model: ResolvedModel, options: Mapping[str, Any]) -> tuple[str, Facts] | None:
    """The key of what is compiled here for these options of a Remover, and for which place; None where nothing is kept.

    The key says where the file lies, too, and so is another one on another machine.
    """
    with suppress(engine.EngineError, OSError):
        run = RunOptions(options["backend"], options["device"], options["precision"], options["require_gpu"])
        config: ModelConfig | None = options["model_config"]
        place = run.place()
        return compiled.key(model, read_config(config), shape=None, place=place), dict(place.facts)
    return None


def _compiled_files(model: ResolvedModel, options: Mapping[str, Any]) -> tuple[Facts, dict[str, np.ndarray]] | None:
    cache = compiled.cache() if options["cache"] else None
    here = _key(model, options)
    found = cache.get(here[0]) if cache is not None and here is not None else None
    if here is None or found is None:
        return None
    with tempfile.TemporaryDirectory(prefix="nss-compiled-") as folder:
        engine.save_compiled(found, Path(folder) / "model")
        files = sorted((Path(folder) / "model").iterdir())
        return here[1], {path.name: np.fromfile(path, np.uint8) for path in files}


def card_for(gpu: str, cards: Sequence[int]) -> int:
    """The adapter's number for the GPU that Ray calls ``gpu``, of the numbers of this machine's ``cards``.

    Ray counts the cards of a machine as their drivers do, and so do adapters: nothing in WebGPU says which is which.
    Where Ray has a name and no number for it, or shows more cards than there are adapters, only a single one is sure.

    Raises:
        GpuUnavailableError: it cannot be told.
    """
    if gpu.isdecimal() and int(gpu) < len(cards):
        return cards[int(gpu)]
    if len(cards) == 1:
        return cards[0]
    there = f"{len(cards)} hardware adapters" if cards else "no hardware adapter"
    raise GpuUnavailableError(
        f"Ray gives GPU {gpu}, and this machine shows {there} (nss-wgpu devices); check its driver"
    )


def _adapter() -> int:
    import ray

    kinds = {adapter.index: adapter.kind for adapter in engine.devices().adapters}
    cards = hardware_adapters()
    # a processor's own GPU is none of those that Ray counts
    discrete = [card for card in cards if kinds[card] == "discrete"]
    return card_for(str(ray.get_gpu_ids()[0]), discrete or cards)


def _paths(model: ResolvedModel) -> list[Path]:
    """The model's file, then what belongs to it. Raises ModelUnavailableError."""
    path = Path(os.path.abspath(model.path))  # noqa: PTH100 - resolve() would follow the link that has the name
    paths = [path]
    if model.content is None:
        paths += [path.parent / name for name in read_file(model).data_files]
        if (config := preprocessor_config.beside(path)) is not None:
            paths.append(config)
    return paths


def _content(model: ResolvedModel, path: Path) -> np.ndarray:
    return np.frombuffer(model.content, np.uint8) if model.content is not None else np.fromfile(path, np.uint8)


def _write_folder(files: Files, folder: Path) -> None:
    """Write files into a folder, which appears whole; one that is there is left as it is."""
    import ray

    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as beside:
        whole = Path(beside) / "whole"
        for name, content in files.items():
            path = whole / name
            path.parent.mkdir(parents=True, exist_ok=True)
            ray.get(content).tofile(path)
        with suppress(OSError):  # another worker was first
            whole.rename(folder)


def _nobody(_: str) -> None:
    """Notices of a worker: the command has shown those of the model."""
