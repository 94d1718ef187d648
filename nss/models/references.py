"""What names a model in a repository of the Hugging Face hub: ``owner/name[@revision][:file]``, and a variant."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from nss.errors import UsageError, check_kind
from nss.models.catalogue import spec_by_name

VARIANTS = {
    "fp32": "",
    "fp16": "_fp16",
    "int8": "_int8",
    "uint8": "_uint8",
    "q8": "_quantized",
    "quantized": "_quantized",
    "q4": "_q4",
    "q4f16": "_q4f16",
    "bnb4": "_bnb4",
}
"""What ends the name of a variant's file, before ``.onnx``; transformers.js has the same dtypes and suffixes."""

_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?"
_REFERENCE = re.compile(rf"(?P<repo>{_PART}/{_PART})(?:@(?P<revision>[^:]+))?(?::(?P<file>.+))?", re.DOTALL)
_REVISION = re.compile(r"(?!/)(?!.*(?:\.\.|//|@\{))[^\s\x00-\x1f\x7f~^:?*\[\\]+(?<!/)")


@dataclass(frozen=True)
class Reference:
    """Which model of which repository.

    Attributes:
        repo: ``owner/name``.
        revision: a branch, tag or commit; None for ``main``.
        file: the ONNX file's path in the repository; None where it is to be chosen.
        variant: the key of ``VARIANTS`` that the file is chosen by.
    """

    repo: str
    revision: str | None = None
    file: str | None = None
    variant: str | None = None

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"{self.repo}{revision}{f':{self.file}' if self.file else ''}"

    @property
    def key(self) -> str:
        """The name that its choice of a file is remembered by."""
        return f"{self}?{self.variant}" if self.variant else str(self)


def from_text(text: str) -> Reference | None:
    """The reference in ``text``; None for what is a path, or nothing.

    Whatever ends in ``.onnx`` without a colon, or begins with a dot, ``/`` or ``~``, is a path.
    Raises UsageError where the file that it names is no ONNX file.
    """
    match = _REFERENCE.fullmatch(text)
    if match is None:
        return None
    repo, revision, file = match["repo"], match["revision"], match["file"]
    if "--" in repo or ".." in repo or repo.endswith(".git") or (file is None and text.lower().endswith(".onnx")):
        return None
    if revision is not None and not _REVISION.fullmatch(revision):
        return None
    if file is not None and not (file.lower().endswith(".onnx") and is_inside(file)):
        raise UsageError(f"{text}: what follows the colon is the path of an ONNX file in the repository")
    return Reference(repo, revision, file)


def parse(model: str, variant: str | None = None) -> Reference | None:
    """The reference that ``model`` and ``variant`` mean; None where ``model`` is a path or a name of the catalogue.

    A path that exists wins, and so does a name of the catalogue without a variant.
    Raises UsageError for a variant that there is not, or of what can have none.
    """
    check_kind("model_variant", variant, (str, type(None)), "a variant's name")
    if variant is not None and variant not in VARIANTS:
        raise UsageError(f"'model_variant' {variant} is none: there are {', '.join(VARIANTS)}")
    spec = None if (exists := _exists(model)) else spec_by_name(model)
    if spec is not None:
        if variant is None:
            return None
        if spec.repo is None:
            raise UsageError(f"{spec.name} is a single file: leave 'model_variant' out")
        return Reference(spec.repo, variant=variant)
    reference = None if exists else from_text(model)
    if variant is not None and (reference is None or reference.file):
        what = "names one of them" if reference else "is no repository"
        raise UsageError(f"'model_variant' chooses among a repository's files, and {model} {what}")
    return replace(reference, variant=variant) if reference else None


def choose(files: list[str], reference: Reference) -> str | None:
    """Which of a repository's ONNX files a reference means; None where it leaves that open, or there is none such.

    Named outright, or by its variant; else the only one, or that of several variants whose name has no suffix. As
    transformers.js has it, ``onnx/model<suffix>.onnx`` goes before ``model<suffix>.onnx``; other names serve where
    there is one of the variant.
    """
    if reference.file:
        return reference.file if reference.file in files else None
    if reference.variant is None and len(files) == 1:
        return files[0]
    suffix = VARIANTS[reference.variant or "fp32"]
    for usual in (f"onnx/model{suffix}.onnx", f"model{suffix}.onnx"):
        if usual in files:
            return usual
    candidates = [file for file in files if base_and_suffix(file)[1] == suffix]
    if reference.variant is None and len({base_and_suffix(file)[0] for file in files}) != 1:
        return None
    return candidates[0] if len(candidates) == 1 else None


def is_inside(path: str) -> bool:
    """Whether a path of a repository stays in it: relative, with slashes, and without ``..``."""
    parts = path.split("/")
    return not ({"", ".", ".."} & set(parts) or "\\" in path or ":" in path or not path.isprintable())


def base_and_suffix(file: str) -> tuple[str, str]:
    """The path without ``.onnx``, taken apart: ``onnx/model`` and ``_fp16``."""
    stem = file[: -len(".onnx")]
    suffix = next((suffix for suffix in VARIANTS.values() if suffix and stem.endswith(suffix)), "")
    return stem.removesuffix(suffix), suffix


def _exists(name: str) -> bool:
    try:
        return Path(name).expanduser().exists()
    except (OSError, RuntimeError, ValueError):
        return False
