"""From image to cut-out: the model is found and opened once, then any number of images go through it."""

from __future__ import annotations

import os
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

import engine
from nss import image_io, models, preprocess
from nss.compose import Cutout, RunInfo
from nss.errors import ImageError, ModelUnavailableError, UsageError
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
        allow_fetch: bool = True,
        stretch: bool = False,
        quiet: bool = False,
        notify: models.Notify | None = None,
    ) -> None:
        """Find and open the model.

        Args:
            model: a name of the catalogue, the path of an ONNX file, or ``"auto"``: the best model already here.
            backend: ``"auto"``, ``"numpy"`` or ``"reference"`` (the slow oracle).
            allow_fetch: a model asked for by name may be downloaded; ``"auto"`` never downloads.
            stretch: widen each mask to 0..1 (see ``nss.preprocess.stretch``).
            quiet: no progress display while downloading, and no notices.
            notify: receives each notice (a licence, for instance) as one line; standard error by default.

        Raises:
            ModelUnavailableError: the model is missing, damaged, refused, or not one that the engine can run.
            UsageError: the backend does not exist or cannot run here.
        """
        timing: dict[str, float] = {}
        with stage(timing, "load_model"):
            if os.fspath(model) == "auto":
                self.model, self._session, self._spec = _open_auto(backend, quiet=quiet, notify=notify)
            else:
                self.model = models.resolve(model, allow_fetch=allow_fetch, quiet=quiet, notify=notify)
                self._session, self._spec = _open(self.model, backend)
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
            network_input = preprocess.prepare(photo.rgb, self._spec)
        with stage(times, "infer"):
            raw = self._infer(network_input, photo.name)
        with stage(times, "postprocess"):
            notes = photo.notes
            if raw.min() < -MASK_SLACK or raw.max() > 1 + MASK_SLACK:
                notes = (*notes, "the model's output is no mask in 0..1; clipped")
            mask = preprocess.mask_to_photo(raw, photo.size)
            if self._stretch:
                mask = preprocess.stretch(mask)
        info = RunInfo(
            model=self._spec.name,
            model_sha256=self.model.sha256,
            backend=self._session.info.backend,
            device=self._session.info.device,
            milliseconds=times,
        )
        return Cutout(mask, photo.rgb, photo.alpha, photo.icc, photo.path, notes, info)

    def close(self) -> None:
        """Free the model and the engine's threads; nothing can be removed afterwards."""
        self._closed = True
        self._session.close()

    def __enter__(self) -> Remover:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _infer(self, network_input: np.ndarray, name: str) -> np.ndarray:
        """The network's mask, float32 HxW at the network's own size, finite."""
        session = self._session
        try:
            outputs = session.run({session.inputs[0].name: network_input.astype(session.inputs[0].dtype, copy=False)})
        except engine.EngineError as error:
            raise ImageError(f"{name}: {error}") from error
        output = next(iter(outputs.values()))
        mask: np.ndarray = output.reshape(output.shape[-2:]).astype(np.float32, copy=False)
        if not np.isfinite(mask).all():
            raise ImageError(f"{name}: {self._spec.name} gave NaN or infinite values; the model cannot be used so")
        return mask


def _open(model: models.ResolvedModel, backend: str) -> tuple[engine.Session, models.ModelSpec]:
    """Open the model file, and complete what is known about it with what stands in the file."""
    spec = model.spec
    try:
        file = engine.ModelFile.read(model.path)
        if spec.input_hw is None and file.inputs:
            # a user's own file: its names and sizes tell which network it is
            name, dims = next(iter(file.inputs.items()))
            spec = models.complete_spec(spec, name, dims, tuple(file.outputs))
        session = _session(file, spec, backend)
    except engine.BackendError as error:
        raise UsageError(str(error)) from error
    except engine.EngineError as error:
        raise ModelUnavailableError(f"{model.path}: {error}") from error
    except MemoryError as error:
        raise ModelUnavailableError(f"{model.path}: not enough memory to open this model") from error
    if fault := _no_mask_model(session):
        session.close()
        raise ModelUnavailableError(f"{model.path}: {fault}")
    return session, spec


def _open_auto(
    backend: str, *, quiet: bool, notify: models.Notify | None
) -> tuple[models.ResolvedModel, engine.Session, models.ModelSpec]:
    """Open the finest model that is here and can be opened; a failure of the built-in one is raised."""
    for candidate in models.auto_candidates(quiet=quiet, notify=notify):
        try:
            return candidate, *_open(candidate, backend)
        except ModelUnavailableError as error:
            if candidate.source == "builtin":
                raise
            models.say_passed_over(candidate.spec, error, quiet=quiet, notify=notify)
    raise AssertionError("auto_candidates ends with an error")


def _no_mask_model(session: engine.Session) -> str | None:
    """Why the model does not map one RGB image to one mask; None where it does."""
    if len(session.inputs) != 1:
        return f"takes {len(session.inputs)} inputs, not one image"
    image, mask = session.inputs[0], session.outputs[0]
    if image.dtype.kind != "f" or len(image.shape) != 4 or image.shape[:2] != (1, 3):
        return (
            f"takes {image.name} of {image.dtype.name}{list(image.shape)}, "
            "not one image as floating point [1, 3, height, width]"
        )
    channels, sides = mask.shape[:-2], mask.shape[-2:]
    if mask.dtype.kind != "f" or channels not in ((1,), (1, 1)) or min(sides) <= 1:
        return (
            f"gives {mask.name} of {mask.dtype.name}{list(mask.shape)}, "
            "not one mask as floating point [1, 1, height, width]"
        )
    return None


def _session(file: engine.ModelFile, spec: models.ModelSpec, backend: str) -> engine.Session:
    shapes = {spec.input_name: (1, 3, *spec.input_hw)} if spec.input_name and spec.input_hw else None
    outputs = [spec.output_name] if spec.output_name else None
    return engine.Session(file, backend=backend, input_shapes=shapes, outputs=outputs)
