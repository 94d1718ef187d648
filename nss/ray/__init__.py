"""Many machines: photos of any storage, handed to Ray.

``nss.ray.remove("s3://bucket/photos", "s3://bucket/cutouts")`` is the whole of it. Importing the package loads nothing
of Ray.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nss.errors import check_kind

if TYPE_CHECKING:
    import ray.data

    from nss.cutouts.compose import Composition
    from nss.files.formats import Encoding
    from nss.interfaces.interface import ModelConfig
    from nss.masks.refine import Refinement
    from nss.notices import Notify
    from nss.ray.manifest import Exists

__all__ = ["remove"]


def remove(
    photos: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | ray.data.Dataset,
    output: str | os.PathLike[str],
    *,
    address: str | None = None,
    recursive: bool = False,
    exists: Exists = "fail",
    fail_empty: bool = False,
    encoding: Encoding | None = None,
    model: str | os.PathLike[str] = "auto",
    model_variant: str | None = None,
    model_config: ModelConfig | None = None,
    backend: str = "auto",
    precision: str = "f32",
    require_gpu: bool = False,
    allow_fetch: bool = True,
    refinement: Refinement | None = None,
    composition: Composition | None = None,
    max_pixels: int = 300_000_000,
    notify: Notify | None = None,
    cache: bool = True,
    image_backend: str = "auto",
) -> ray.data.Dataset:
    """Cut the foreground out of many photos on a cluster of Ray, or on a Ray that is started here.

    The outputs, and which photos are done, are those of ``nss-wgpu remove --on ray``: what runs before have done, by
    the manifest below ``output``, is not done again.

    Args:
        photos: files, folders, patterns, and addresses of S3, GCS and HTTP, one or several; or a dataset with such in
            a column ``path``.
        output: the folder of the outputs, a path or an address.
        address: of the cluster: ``"auto"``, ``"host:port"`` or ``"ray://host:port"``; by default the one that the
            process is connected to, or that ``RAY_ADDRESS`` names, or else one that is started here.
        recursive: search sub-folders too.
        exists: what becomes of an output that is not of an earlier run: ``"fail"``, ``"skip"`` or ``"overwrite"``.
        fail_empty: a photo in which nothing was found fails.
        encoding: of the outputs; PNG by default.
        model, model_variant, model_config, precision, allow_fetch, max_pixels, notify, cache, image_backend: as
            :class:`nss.Remover` takes them. The model is looked for here, and taken to the machines of the cluster.
        backend: ``"auto"`` (the GPUs that Ray has, else the processors), ``"webgpu"`` or ``"numpy"``.
        require_gpu: fail where Ray has no GPU.
        refinement: what is done to each mask; nothing by default.
        composition: what the cut-outs show; the photo with straight alpha by default.

    Returns:
        A dataset with a row for each photo that was to be done: ``input``, ``output`` (below the folder), ``sha256`` of
        the output, ``milliseconds`` by stage, ``backend``, ``node``, and ``error``, which is "" where there is none.

    Raises:
        UsageError: Ray is missing, or not there; the arguments contradict each other, or there is no photo.
        ModelUnavailableError, GpuUnavailableError: as :class:`nss.Remover`.
        ImageError: a storage cannot be listed.
    """
    from nss.ray import connection
    from nss.ray.cutouts import CutoutRuns, photos_of

    check_kind("output", output, (str, os.PathLike), "a path or an address")
    connection.connect(address)
    runs = CutoutRuns.of(
        model,
        model_variant=model_variant,
        model_config=model_config,
        options={
            "backend": backend,
            "precision": precision,
            "require_gpu": require_gpu,
            "max_pixels": max_pixels,
            "cache": cache,
            "image_backend": image_backend,
        },
        refinement=refinement,
        composition=composition,
        encoding=encoding,
        fail_empty=fail_empty,
        exists=exists,
        allow_fetch=allow_fetch,
        notify=notify,
    )
    plan = runs.plan(photos_of(photos), os.fspath(output), recursive=recursive, notify=notify)
    return runs.dataset(plan)
