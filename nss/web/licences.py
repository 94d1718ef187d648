"""Where a model is from and what its licence allows, in words: for the page, the file beside the model, and hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nss.web.page_files import licence_text

if TYPE_CHECKING:
    from nss.models.local_models import ResolvedModel

_COMMERCIAL = {"yes": "yes", "no": "no", "ask": "by agreement with its owner"}
_BUILTIN = "the U²-Net project, https://github.com/xuebinqin/U-2-Net, as it comes with nss-wgpu"
APACHE = "Apache-2.0"


def origin(model: ResolvedModel) -> str:
    """Where its file is from, without what this machine calls its folders."""
    spec = model.spec
    if spec.builtin:
        return _BUILTIN
    if spec.release:
        return f"{spec.licence_url}, as {spec.release} of rembg's releases"
    if spec.repo:
        return f"https://huggingface.co/{spec.repo}" + (f", {spec.filename}" if spec.filename else "")
    return f"the file {model.path.name}"


def warning(model: ResolvedModel) -> str | None:
    """What whoever hosts the model must know of its licence, in one line; None where it allows everybody everything."""
    spec = model.spec
    if spec.licence == "unknown":
        return f"{spec.name}: its licence is not known, and a site passes the model on: make sure that you may"
    if spec.commercial == "yes":
        return None
    use = {"no": "allows no commercial use", "ask": "allows commercial use only by agreement with its owner"}
    where = f"; see {spec.licence_url}" if spec.licence_url else ""
    return f"{spec.name}: its licence, {spec.licence}, {use[spec.commercial]}, and a site passes the model on{where}"


def text(model: ResolvedModel, change: str) -> str:
    """The file that stands beside a compiled model.

    ``change``: what was done to it, as a sentence. The licence itself stands at the end where it asks for that and is
    at hand. Raises ModelUnavailableError where the model's file cannot be read.
    """
    spec = model.spec
    head = [
        spec.title if spec.title == spec.name else f"{spec.title} ({spec.name})",
        "",
        f"Licence: {spec.licence}" + (f", {spec.licence_url}" if spec.licence_url else ""),
        f"Commercial use: {'not known' if spec.licence == 'unknown' else _COMMERCIAL[spec.commercial]}",
        f"Origin: {origin(model)}",
        f"SHA-256 of the ONNX file: {model.sha256}",
        f"Changed: {change}",
    ]
    lines = "\n".join(head) + "\n"
    return f"{lines}\n{licence_text()}" if spec.licence == APACHE else lines


def of_the_page(version: str) -> str:
    """The file that stands beside the page."""
    return (
        f"nss-wgpu {version}, Copyright 2026 the nss-wgpu developers\n\n"
        "This licence is that of the page and its modules. Each model has its own, in LICENCE.txt beside it.\n\n"
        f"{licence_text()}"
    )
