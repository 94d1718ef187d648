"""From image to cut-out: the model is found and opened once, then any number of images go through it."""

from __future__ import annotations

import os
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from nss import image_io, models, preprocess
from nss.compose import Cutout, RunInfo
from nss.errors import ImageError, ModelUnavailableError, UsageError
from nss.network import Network, RunOptions
from nss.timing import stage

if TYPE_CHECKING:
    from nss.image_io import Photo, Source


MASK_SLACK = 0.01
"""How far the network's output may leave 0..1, by rounding, before it is said to be no mask."""


class Remover:
    """A loaded model that cuts the foreground out of images, one after the other.

    A context manager; ``close`` frees what it holds.

    Attributes:
        model: which model it is and where it lies.
        load_milliseconds: the time that finding and opening it took.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = "auto",
        *,
        backend: str = "auto",
        device: str | None = None,
        precision: str = "f32",
        require_gpu: bool = False,
        allow_fetch: bool = True,
        stretch: bool = False,
        quiet: bool = False,
        notify: models.Notify | None = None,
    ) -> None:
        """Find and open the model.

        Args:
            model: a name of the catalogue, the path of an ONNX file, or ``"auto"``: the best model already here.
            backend: ``"auto"`` (the GPU where there is one, else the processor), ``"webgpu"``, ``"numpy"``, or
                ``"reference"`` (the slow oracle).
            device: the adapter for ``"webgpu"``: an index, an implementation, or part of a name (``nss-wgpu devices``).
            precision: ``"f32"``, or on the GPU ``"f16"``.
            require_gpu: fail where no hardware adapter would run the network.
            allow_fetch: a model asked for by name may be downloaded; ``"auto"`` never downloads.
            stretch: widen each mask to 0..1 (see ``nss.preprocess.stretch``).
            quiet: no progress display while downloading, and no notices but that of a GPU that was lost.
            notify: receives each notice (a licence, for instance) as one line; standard error by default.

        Raises:
            ModelUnavailableError: the model is missing, damaged, refused, or not one that the engine can run.
            UsageError: the backend, device or precision does not exist or cannot run here.
            GpuUnavailableError: ``require_gpu``, and there is no hardware adapter; or the GPU was lost meanwhile.
        """
        options = RunOptions(backend, device, precision, require_gpu)
        options.check()
        say = notify or models.to_stderr
        timing: dict[str, float] = {}
        with stage(timing, "load_model"):
            if os.fspath(model) == "auto":
                self.model, self._network = _open_auto(options, quiet=quiet, notify=say)
            else:
                self.model = models.resolve(model, allow_fetch=allow_fetch, quiet=quiet, notify=say)
                self._network = Network(self.model, options, say)
        self.load_milliseconds = timing["load_model"]
        self._load_reported = False
        self._stretch = stretch
        self._closed = False

    def remove(self, image: Source | Photo) -> Cutout:
        """Cut the foreground out of a path, image bytes, PIL image, uint8 array (HxW, HxWx3, HxWx4) or loaded photo.

        Raises:
            ImageError: the image cannot be read, or the network gave no usable mask for it.
            UsageError: the remover is closed.
        """
        if self._closed:
            raise UsageError("this Remover is closed; make a new one")
        times: dict[str, float] = {}
        with stage(times, "decode"):
            photo = image if isinstance(image, image_io.Photo) else image_io.load(image)
        times["load_model"] = 0.0 if self._load_reported else self.load_milliseconds
        self._load_reported = True
        with stage(times, "preprocess"):
            network_input = preprocess.prepare(photo.rgb, self._network.spec)
        with stage(times, "infer"):
            raw, happened = self._infer(network_input, photo.name)
        with stage(times, "postprocess"):
            notes = (*photo.notes, *happened)
            if raw.min() < -MASK_SLACK or raw.max() > 1 + MASK_SLACK:
                notes = (*notes, "the model's output is no mask in 0..1; clipped")
            mask = preprocess.mask_to_photo(raw, photo.size)
            if self._stretch:
                mask = preprocess.stretch(mask)
        info = RunInfo(
            model=self._network.spec.name,
            model_sha256=self.model.sha256,
            backend=self._network.session.info.backend,
            device=self._network.session.info.device,
            backend_reason=self._network.reason,
            precision=self._network.session.info.precision,
            milliseconds=times,
        )
        return Cutout(mask, photo.rgb, photo.alpha, photo.icc, photo.path, notes, info)

    def close(self) -> None:
        """Free the model and the engine's threads; nothing can be removed afterwards."""
        self._closed = True
        self._network.close()

    def __enter__(self) -> Remover:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _infer(self, network_input: np.ndarray, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
        """The network's mask, float32 HxW at the network's own size, finite; and notes."""
        output, notes = self._network.run(network_input, name)
        mask: np.ndarray = output.reshape(output.shape[-2:]).astype(np.float32, copy=False)
        if not np.isfinite(mask).all():
            model = self._network.spec.name
            raise ImageError(f"{name}: {model} gave NaN or infinite values; the model cannot be used so")
        return mask, notes


def _open_auto(options: RunOptions, *, quiet: bool, notify: models.Notify) -> tuple[models.ResolvedModel, Network]:
    """Open the finest model that is here and can be opened; a failure of the built-in one is raised."""
    for candidate in models.auto_candidates(quiet=quiet, notify=notify):
        try:
            return candidate, Network(candidate, options, notify)
        except ModelUnavailableError as error:
            if candidate.source == "builtin":
                raise
            models.say_passed_over(candidate.spec, error, quiet=quiet, notify=notify)
    raise AssertionError("auto_candidates ends with an error")
