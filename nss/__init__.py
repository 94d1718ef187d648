"""Photos to cut-outs: the background-removal tool on top of the engine.

``nss.remove("photo.jpg").save("photo.png")`` is the whole of it; ``nss.Remover`` keeps the network loaded for more.
Importing the package imports neither NumPy nor Pillow nor ONNX: what a name needs is loaded when it is first used.
"""

from __future__ import annotations

from nss.errors import GpuUnavailableError, ImageError, ModelUnavailableError, NssError, UsageError

TYPE_CHECKING = False  # typing takes longer to import than all of this, and until the command's own code runs
if TYPE_CHECKING:
    import os

    from nss.compose import Composition as Composition
    from nss.compose import Cutout as Cutout
    from nss.formats import Encoding as Encoding
    from nss.image_io import Source
    from nss.refine import Refinement as Refinement
    from nss.remover import Remover as Remover
    from nss.remover import apply_mask as apply_mask

__version__ = "0.1.0"

__all__ = [
    "Composition",
    "Cutout",
    "Encoding",
    "GpuUnavailableError",
    "ImageError",
    "ModelUnavailableError",
    "NssError",
    "Refinement",
    "Remover",
    "UsageError",
    "apply_mask",
    "remove",
]

_MODULES = {
    "Composition": "compose",
    "Cutout": "compose",
    "Encoding": "formats",
    "Refinement": "refine",
    "Remover": "remover",
    "apply_mask": "remover",
}
"""Where the names are that are loaded when they are asked for."""


def remove(
    image: Source,
    *,
    model: str | os.PathLike[str] = "auto",
    model_variant: str | None = None,
    backend: str = "auto",
    device: str | int | None = None,
    precision: str = "f32",
    require_gpu: bool = False,
    allow_fetch: bool = True,
    refinement: Refinement | None = None,
    max_pixels: int = 300_000_000,
) -> Cutout:
    """Cut the foreground out of one image.

    The network is loaded for this one call; keep a :class:`nss.Remover` to process many images.

    Args:
        image: a path, the bytes of an image file, a PIL image, or a uint8 array (HxW, HxWx3 or HxWx4).
        model: a name of the catalogue, the path of an ONNX file, a repository on the Hugging Face hub
            (``"owner/name[@revision][:file]"``), or ``"auto"``: the best model already on this machine.
        model_variant: which of a repository's files, as :class:`nss.Remover` takes it.
        backend: ``"auto"`` (the GPU where there is one, else the processor), ``"webgpu"``, ``"numpy"`` or
            ``"reference"``.
        device: the adapter for ``"webgpu"``: its number, an implementation, or part of a name (``nss-wgpu devices``).
        precision: ``"f32"``, or on the GPU ``"f16"``.
        require_gpu: fail where no hardware adapter would run the network.
        allow_fetch: a model that is asked for by name may be downloaded; ``"auto"`` never downloads.
        refinement: what is done to the mask; nothing by default.
        max_pixels: how many pixels the image may have. One of 300 megapixels takes up to 2.5 GB as PNG or JPEG.

    Raises:
        ImageError: the image cannot be read, or has more pixels.
        ModelUnavailableError: the model is missing, damaged, or cannot be run.
        UsageError: the backend, device or precision does not exist or cannot run here.
        GpuUnavailableError: ``require_gpu``, and there is no hardware adapter; or the GPU was lost meanwhile.
    """
    from nss.remover import Remover

    with Remover(
        model,
        model_variant=model_variant,
        backend=backend,
        device=device,
        precision=precision,
        require_gpu=require_gpu,
        allow_fetch=allow_fetch,
        max_pixels=max_pixels,
    ) as remover:
        return remover.remove(image, refinement=refinement)


def __getattr__(name: str) -> object:
    if name in _MODULES:
        import importlib

        return getattr(importlib.import_module(f"nss.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'nss' has no attribute '{name}'")
