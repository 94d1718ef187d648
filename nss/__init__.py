"""Photos to cut-outs: the background-removal tool on top of the engine.

``nss.remove("photo.jpg").save("photo.png")`` is the whole of it; ``nss.Remover`` keeps the network loaded for more.
Importing the package imports neither NumPy nor Pillow nor ONNX: what a name needs is loaded when it is first used.
"""

from __future__ import annotations

import os
import sys

import nss  # annotations use the public names, which are loaded at first use
from nss.errors import GpuUnavailableError, ImageError, ModelUnavailableError, NssError, UsageError

TYPE_CHECKING = False  # typing takes longer to import than all of this, and until the command's own code runs
if TYPE_CHECKING:
    from engine.version import __version__ as __version__
    from nss.cutouts.compose import Composition as Composition
    from nss.cutouts.compose import Cutout as Cutout
    from nss.cutouts.run_info import RunInfo as RunInfo
    from nss.files.formats import Encoding as Encoding
    from nss.interfaces.interface import ModelConfig as ModelConfig
    from nss.masks.refine import Refinement as Refinement
    from nss.notices import Notify as Notify
    from nss.photos.source import Source as Source
    from nss.removal.given_mask import apply_mask as apply_mask
    from nss.removal.remover import Remover as Remover
    from nss.web.export import ExportedSite as ExportedSite
    from nss.web.export import export_web as export_web

__all__ = [
    "Composition",
    "Cutout",
    "Encoding",
    "ExportedSite",
    "GpuUnavailableError",
    "ImageError",
    "ModelConfig",
    "ModelUnavailableError",
    "Notify",
    "NssError",
    "Refinement",
    "Remover",
    "RunInfo",
    "Source",
    "UsageError",
    "apply_mask",
    "export_web",
    "remove",
]


def _check_engine() -> None:
    """Raise ImportError where ``engine`` would be another package than the one beside this; it is not imported yet.

    The command, of which nothing else has begun, ends with status 2 and the same sentence.
    """
    from importlib.machinery import PathFinder

    module = sys.modules.get("engine")
    spec = module.__spec__ if module else PathFinder.find_spec("engine")
    origin = spec.origin if spec else None
    folder = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))  # noqa: PTH120 - pathlib takes long to load
    if origin and os.path.dirname(os.path.realpath(origin)) != os.path.join(folder, "engine"):  # noqa: PTH118, PTH120
        sentence = (
            f"nss needs the package 'engine' that comes with it in {folder}, and Python finds another one first, "
            f"{origin}: uninstall that, or use an environment of its own for nss-wgpu"
        )
        # "-m" as long as Python looks for the module that it is to run: this one
        program = os.path.basename(sys.argv[0]) if sys.argv else ""  # noqa: PTH119
        if program == "-m" or os.path.splitext(program)[0] == "nss-wgpu":  # noqa: PTH122
            sys.stderr.write(f"nss-wgpu: {sentence}\n")
            raise SystemExit(2)
        raise ImportError(sentence)


_check_engine()

_MODULES = {
    "Composition": "cutouts.compose",
    "Cutout": "cutouts.compose",
    "Encoding": "files.formats",
    "ExportedSite": "web.export",
    "ModelConfig": "interfaces.interface",
    "Notify": "notices",
    "Refinement": "masks.refine",
    "Remover": "removal.remover",
    "RunInfo": "cutouts.run_info",
    "Source": "photos.source",
    "apply_mask": "removal.given_mask",
    "export_web": "web.export",
}
"""The modules of the names that are loaded at first use."""


def remove(
    image: nss.Source,
    *,
    model: str | os.PathLike[str] = "auto",
    model_variant: str | None = None,
    model_config: nss.ModelConfig | None = None,
    backend: str = "auto",
    device: str | int | None = None,
    precision: str = "f32",
    require_gpu: bool = False,
    allow_fetch: bool = True,
    refinement: nss.Refinement | None = None,
    composition: nss.Composition | None = None,
    max_pixels: int = 300_000_000,
    notify: nss.Notify | None = None,
    cache: bool = True,
    image_backend: str = "auto",
) -> nss.Cutout:
    """Cut the foreground out of one image.

    The network is loaded for this one call; keep a :class:`nss.Remover` to process many images.

    Args:
        image: a path, the bytes of an image file, a binary file object, a PIL image, or an array: HxW, HxWx1, HxWx3 or
            HxWx4 of uint8, uint16, or floating point in 0..1.
        model: a name of the catalogue, the path of an ONNX file, a repository on the Hugging Face hub
            (``"owner/name[@revision][:file]"``), or ``"auto"``: the best model already on this machine.
        model_variant: which of a repository's files, as :class:`nss.Remover` takes it.
        model_config: how the model takes a photo and where its mask is, as :class:`nss.Remover` takes it.
        backend: ``"auto"`` (the GPU where there is one, else the processor), ``"webgpu"``, ``"numpy"`` or
            ``"reference"``.
        device: the adapter for ``"webgpu"``: its number, an implementation, or part of a name (see `engine.devices`).
        precision: ``"f32"``; ``"f32-strict"``, which keeps off matrix units; or on the GPU ``"f16"``.
        require_gpu: fail where no hardware adapter would run the network.
        allow_fetch: a model that is asked for by name may be downloaded; ``"auto"`` never downloads.
        refinement: what is done to the mask; nothing by default.
        composition: what the cut-out shows, as a picture, as an array and in files; the photo with straight alpha by
            default.
        max_pixels: how many pixels the image may have. One of 300 megapixels takes up to 2.5 GB as PNG or JPEG.
        notify: receives each notice, such as the licence of a model at its first use, as one line. Without, nothing is
            printed: notices go to the logger "nss", and those on the model stay in the cut-out's ``notes``.
        cache: as :class:`nss.Remover` takes it.
        image_backend: where the photo is resized and its mask enlarged, as :class:`nss.Remover` takes it.

    Raises:
        ImageError: the image cannot be read, or has more pixels.
        ModelUnavailableError: the model is missing, damaged, or cannot be run.
        UsageError: the backend, device or precision does not exist or cannot run here, or ``model_config`` says what
            cannot be.
        GpuUnavailableError: ``require_gpu``, and there is no hardware adapter; or the GPU was lost meanwhile.
    """
    import dataclasses

    from nss.removal.remover import Remover

    with Remover(
        model,
        model_variant=model_variant,
        model_config=model_config,
        backend=backend,
        device=device,
        precision=precision,
        require_gpu=require_gpu,
        allow_fetch=allow_fetch,
        max_pixels=max_pixels,
        notify=notify,
        cache=cache,
        image_backend=image_backend,
    ) as remover:
        on_the_model = remover.notes
        cutout = remover.remove(image, refinement=refinement, composition=composition)
    return dataclasses.replace(cutout, notes=(*on_the_model, *cutout.notes))


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> object:
    if name == "__version__":
        from engine.version import __version__

        return __version__
    if name in _MODULES:
        import importlib

        return getattr(importlib.import_module(f"nss.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'nss' has no attribute '{name}'")
