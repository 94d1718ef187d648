"""From image to cut-out: the model is found and opened once, then any number of images go through it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Generator, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from types import TracebackType

import numpy as np

import engine
from nss.cutouts.compose import Composition, Cutout
from nss.cutouts.run_info import RunInfo
from nss.errors import ImageError, ModelUnavailableError, NssError, UsageError, check_kind, check_number
from nss.interfaces.interface import ModelConfig, read_config
from nss.masks import sanity
from nss.masks.refine import Refinement
from nss.models import resolve, run_times
from nss.models.adapter_memory import remember_adapters
from nss.notices import Notices, Notify
from nss.photos.image_io import Photo
from nss.photos.image_size import MAX_PIXELS
from nss.photos.source import Source
from nss.pipeline.lanes import Pending
from nss.removal import adapters, photo_input
from nss.removal.adapters import Device
from nss.removal.given_mask import check_settings, with_settings
from nss.removal.host_stages import HostStages, InferredMask, PreparedPhoto
from nss.removal.lanes import Begin, NetworkLane
from nss.removal.mapping import AnySource, map_photos
from nss.removal.mask_output import mask_of
from nss.removal.network import Network, Output
from nss.removal.networks import Networks, first_that_opens, going_on_without, open_auto
from nss.removal.photo_input import PhotoInput
from nss.timing import stage


class Remover:
    """A loaded model that cuts the foreground out of images; any number of threads may share one.

    A context manager; ``close`` frees what it holds. A forked child may go on with a Remover of its parent where that
    runs on NumPy; on the GPU it gets an ImageError: make the Remover after the fork, or start processes by spawn.

    Attributes:
        model: which model it is and where it lies.
        notes: what there was to say so far that is not about one image, one line each: the model's licence, where it
            was not shown on this machine before, models that "auto" passed over, the loss of a GPU.
        load_milliseconds: the time that finding and opening it took.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = "auto",
        *,
        model_variant: str | None = None,
        backend: str = "auto",
        device: Device = None,
        precision: str = "f32",
        require_gpu: bool = False,
        allow_fetch: bool = True,
        stretch: bool = False,
        max_pixels: int = MAX_PIXELS,
        quiet: bool = False,
        notify: Notify | None = None,
        model_config: ModelConfig | None = None,
        cache: bool = True,
        image_backend: str = "auto",
    ) -> None:
        """Find and open the model.

        Args:
            model: a name of the catalogue, the path of an ONNX file, a repository on the Hugging Face hub
                (``"owner/name[@revision][:file]"``), or ``"auto"``: the best model already here.
            model_variant: which of a repository's files: ``"fp32"``, ``"fp16"``, ``"int8"``, ``"uint8"``, ``"q8"``,
                ``"q4"``, ``"q4f16"`` or ``"bnb4"``.
            backend: ``"auto"`` (the GPU where there is one, else the processor), ``"webgpu"``, ``"numpy"``, or
                ``"reference"`` (the slow oracle).
            device: the adapter for ``"webgpu"``: its number, an implementation, or part of a name (see
                `engine.devices`). Several, as ``"0,1"`` or a sequence, or ``"all"`` (each card once), have the model
                opened on each, and take photos in turn.
            precision: ``"f32"``; ``"f32-strict"``, which keeps off matrix units; or on the GPU ``"f16"``.
            require_gpu: fail where no hardware adapter would run the network.
            allow_fetch: a model asked for by name may be downloaded; ``"auto"`` never downloads.
            stretch: widen each mask to 0..1 (see `nss.masks.photo_mask.PhotoMask.enlarged`).
            max_pixels: how many pixels a photo may have; 300 megapixels by default.
            quiet: no notices but that of a GPU that was lost.
            notify: receives each notice (a licence, for instance) as one line, from whichever thread has it. Without,
                nothing is printed: notices go to the logger "nss", and stay in ``notes``.
            model_config: how the model takes a photo and where its mask is, as far as the model does not say so itself
                or says it wrong: a mapping with keys of `nss.interfaces.interface.Interface`, or the path of a JSON
                file.
            cache: take the model as it was compiled before for this machine, and keep it as it is compiled now, once
                there is a result (`nss.models.compiled`).
            image_backend: where photos become the network's input and masks get the photo's size: ``"auto"`` on the GPU
                that the network runs on, for photos of 2 megapixels and more, within a level of 255 of what NumPy
                gives; ``"numpy"`` never; ``"webgpu"`` for all, also where that GPU is a program. What the GPU does not
                do, NumPy does (`nss.removal.photo_input`).

        Raises:
            ModelUnavailableError: the model is missing, damaged, refused, or not one that the engine can run.
            UsageError: the backend, device or precision does not exist or cannot run here; a repository has several
                models, and none is chosen; or ``model_config`` says what cannot be.
            GpuUnavailableError: ``require_gpu``, and there is no hardware adapter; or the GPU was lost meanwhile.
        """
        check_kind("model", model, (str, os.PathLike), "a name or a path")
        check_number("max_pixels", max_pixels)
        self._image_backend = photo_input.image_backend(image_backend)
        user_description = read_config(model_config)
        remember_adapters()
        every = adapters.run_options(backend, device, precision, require_gpu=require_gpu)
        options, *others = every
        for other in others:
            other.open_ahead()
        self._notices = say = Notices(notify)
        leave_out = going_on_without(say) if device == adapters.ALL and others else None
        timing: dict[str, float] = {}
        with stage(timing, "load_model"):
            if os.fspath(model) == "auto" and model_variant is None:
                self.model, self._network = open_auto(
                    options, user_description, use_cache=cache, quiet=quiet, notify=say
                )
            else:
                self.model = resolve.resolve(
                    model, variant=model_variant, allow_fetch=allow_fetch, quiet=quiet, notify=say
                )
                tried = every if leave_out else every[:1]
                opens = [partial(Network, self.model, each, say, user_description, use_cache=cache) for each in tried]
                self._network, index = first_that_opens(opens, leave_out)
                others = every[index + 1 :]
            another = partial(Network, notify=say, user_description=user_description, use_cache=cache)
            self._networks = Networks.with_others(
                self._network,
                [partial(another, self.model, each, sibling=self._network) for each in others],
                leave_out=leave_out,
            )
        for network in self._networks.living:
            photo_input.make_ready(network.session, network.interface, self._image_backend)
        if not quiet:
            for line in self._network.resolved_interface.guesses:
                say(line)
        self.load_milliseconds = timing["load_model"]
        self._unreported = [self.load_milliseconds]
        self._run_times = run_times.Recorder(self.model)
        self._has_run = False
        self._storing: threading.Thread | None = None
        self._host_stages = HostStages(self._network.interface, max_pixels, stretch)
        self._gate = engine.Gate(_closed_error)

    @property
    def notes(self) -> tuple[str, ...]:
        """See the class."""
        return self._notices.lines

    def remove(
        self,
        image: Source | Photo,
        *,
        refinement: Refinement | None = None,
        composition: Composition | None = None,
    ) -> Cutout:
        """Cut the foreground out of one image.

        Args:
            image: as :func:`nss.remove` takes it, or a loaded photo.
            refinement: what is done to the mask; nothing by default.
            composition: what the cut-out shows; the photo with straight alpha by default.

        Raises:
            ImageError: the image cannot be read, or the network gave no usable mask for it.
            UsageError: the remover is closed.
        """
        check_settings(refinement, composition)
        with self._gate.entered():
            bits = (composition or Composition()).level_bits
            prepared = self.prepare(image, refinement=refinement, mask_bits=bits)
            cutout = self.finish(self.infer(prepared))
        self._begin_storing()
        return with_settings(cutout, refinement, composition)

    def map(
        self,
        sources: Iterable[AnySource],
        *,
        refinement: Refinement | None = None,
        composition: Composition | None = None,
        jobs: int | None = None,
        ordered: bool = True,
        memory: int | None = None,
    ) -> Generator[tuple[AnySource, Cutout | NssError], None, None]:
        """Cut the foreground out of many images: each with its cut-out, or the error of that image.

        Images are decoded, put through the network and finished in threads, while the caller has those before. They
        are taken from ``sources``, in another thread, as there is room for them. What iterating over them raises comes
        behind the images before. Closing the iterator, as the end of a program does, or leaving a ``for`` over
        ``contextlib.closing``, ends the work.

        Args:
            sources: images as ``remove`` takes them.
            refinement: what is done to each mask; nothing by default.
            composition: what the cut-outs show; the photo with straight alpha by default.
            jobs: how many images are worked on at a time, before the network and behind it; one a core by default.
                With 1 everything is done in the calling thread, one image after the other.
            ordered: give them in the order of the sources; or else as they are ready.
            memory: bytes that images in work may take; half of what is free by default. A larger image waits until it
                is alone. A cut-out counts until the next is asked for.

        Raises:
            UsageError: the arguments are wrong.
        """
        check_settings(refinement, composition)
        bits = (composition or Composition()).level_bits
        prepare = partial(self.prepare, refinement=refinement, mask_bits=bits)

        def finish(_: AnySource, inferred: InferredMask) -> Cutout:
            cutout = with_settings(self.finish(inferred), refinement, composition)
            self._begin_storing()
            return cutout

        return map_photos(
            sources,
            prepare,
            self.lanes,
            finish,
            jobs=jobs,
            ordered=ordered,
            memory=memory,
            max_pixels=self._host_stages.max_pixels,
        )

    def _begin_storing(self) -> None:
        """Keep the compiled model, in a thread, where there is something to keep."""
        if self._network.has_unsaved and (self._storing is None or not self._storing.is_alive()):
            # a daemon: whoever leaves by a signal does not wait for a file
            self._storing = threading.Thread(target=self.store, name="nss-store", daemon=True)
            self._storing.start()

    def prepare(
        self,
        image: Source | Photo,
        name: str | None = None,
        *,
        refinement: Refinement | None = None,
        mask_bits: int | None = None,
    ) -> PreparedPhoto:
        """The first third of ``remove``: decode, and make the network's input, unless the GPU will.

        Args:
            image: as ``remove`` takes it.
            name: what to call it in an error, where it has no path.
            refinement: what will be done to the mask, by `Cutout.refined`: the GPU then has done it already.
            mask_bits: the depth in which only the mask's levels will be asked for, 8 or 16; None where more is.
        """
        with self._gate.entered():
            return self.host_stages.prepare(image, name, refinement=refinement, mask_bits=mask_bits)

    def infer(self, prepared: PreparedPhoto) -> InferredMask:
        """The second third: the network. Runs of several threads take turns.

        The time of "infer" is that since the photo was submitted, or since the output before it came, if that is later:
        what the photo took, without its wait for others.
        """
        return self.submit(prepared).result()

    def submit(self, prepared: PreparedPhoto) -> Pending[InferredMask]:
        """Begin with `infer`; the result is to be asked for. Results are there also once the Remover is closed.

        On a GPU up to three are in flight, and a thread that submits another waits. On the processor it is computed at
        once. Of several adapters, each gets the next photo. What fails is raised by the result.
        """
        return self._submit(prepared, self._networks.submit)

    def lanes(self) -> list[NetworkLane]:
        """A lane for each adapter, for one run of a `nss.pipeline.pipeline.Pipeline`."""
        return [NetworkLane(network, self._submit, _is_prepared) for network in self._networks.living]

    def _submit(self, prepared: PreparedPhoto, begin: Begin) -> _PendingMask:
        with self._gate.entered():
            return _PendingMask(self, prepared, begin(self._network_input(prepared), prepared.photo.name))

    def _network_input(self, prepared: PreparedPhoto) -> np.ndarray | PhotoInput:
        array = prepared.network_input
        if array is not None and prepared.mask_bits is None:
            return array
        return PhotoInput(
            prepared.photo,
            self._network.interface,
            self._image_backend,
            refinement=prepared.refinement,
            bits=prepared.mask_bits,
            array=array,
        )

    def _inferred(self, prepared: PreparedPhoto, output: Output) -> InferredMask:
        times, name = dict(prepared.times), prepared.photo.name
        with suppress(IndexError):  # the first image alone bears the time of loading
            times["load_model"] = self._unreported.pop()
        start = time.perf_counter()
        sanity.check_numbers(output.array, name)
        raw = self._mask(output.array, name)
        sanity.check_structure(raw, name)
        seconds = output.seconds + time.perf_counter() - start
        times["infer"] = round(seconds * 1000, 3)
        self._has_run = True
        self._run_times.add(output.info.backend, output.info.device, seconds)
        info = RunInfo(
            model=self._network.spec.name,
            model_sha256=self.model.sha256,
            backend=output.info.backend,
            device=output.info.device,
            backend_reason=output.reason,
            precision=output.info.precision,
            milliseconds=times,
            model_config=self._network.resolved_interface.as_json(),
            stages=output.places,
        )
        notes = (*output.notes, *self._range_notes(raw))
        return InferredMask(prepared.photo, raw, notes, info, output.levels, prepared.refinement)

    def finish(self, inferred: InferredMask) -> Cutout:
        """The last third: the mask at the photo's size, which is made when it is asked for."""
        return self._host_stages.finish(inferred)

    @property
    def host_stages(self) -> HostStages:
        """What ``prepare`` and ``finish`` do, for another process to do it."""
        fewest = photo_input.fewest_pixels(self._network.session, self._image_backend)
        return replace(self._host_stages, fewest_gpu_pixels=fewest)

    def _range_notes(self, raw: np.ndarray) -> tuple[str, ...]:
        """What there is to say where a mask is none by its values; the trial that promised one is forgotten."""
        if raw.min() < -sanity.SLACK or raw.max() > 1 + sanity.SLACK:
            return (f"the model's output is no mask in 0..1; clipped{self._forget_trial()}",)
        return ()

    def _forget_trial(self) -> str:
        """Forget the trial that showed a mask in 0..1; the words on that, "" where there was none."""
        if not self._network.resolved_interface.used_trial:
            return ""
        from nss.removal import trial  # which reads model files

        self._network.forget()
        if trial.forget(self.model.sha256):
            return "; a trial had shown one, and is forgotten: settle it with 'activation', 'range'"
        return ""

    def store(self) -> str | None:
        """Keep the model as it was compiled, for the next Remover of this machine, once there was a result.

        `remove` begins with it in a thread, and `close` waits for that. Returns why it could not be kept, in one line,
        or None.
        """
        return self._network.store() if self._has_run else None

    def close(self) -> None:
        """Wait for what other threads have begun, and free the model; nothing can be removed afterwards."""
        if self._gate.close():
            self.store()
            self._networks.close()

    def __enter__(self) -> Remover:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None or issubclass(kind, Exception):
            self.close()
        elif self._gate.close():  # a signal: whoever leaves does not wait for a file
            self._networks.close()

    def _mask(self, output: np.ndarray, name: str) -> np.ndarray:
        """The network's mask, float32 HxW at the network's own size."""
        try:
            return mask_of(output, self._network.interface)
        except ModelUnavailableError as error:  # of this photo's shape: of others it gives masks
            raise ImageError(f"{name}: {error}") from error


class _PendingMask:
    """A photo in the network."""

    def __init__(self, remover: Remover, prepared: PreparedPhoto, output: Pending[Output]) -> None:
        self._remover, self._prepared, self._output = remover, prepared, output

    def result(self) -> InferredMask:
        """Wait for the mask. Raises what `Remover.infer` does."""
        return self._remover._inferred(self._prepared, self._output.result())


def _is_prepared(loaded: object) -> bool:
    return isinstance(loaded, PreparedPhoto)


def _closed_error() -> UsageError:
    return UsageError("this Remover is closed; make a new one")
