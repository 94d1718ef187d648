"""What a name, a path or a repository stands for: the model's file, on this machine or fetched."""

from __future__ import annotations

import difflib
import os
import unicodedata
from pathlib import Path

from nss import pipes
from nss.errors import ModelUnavailableError, one_line
from nss.models import auto, references
from nss.models.catalogue import CATALOGUE, spec_by_name
from nss.models.local_models import ResolvedModel, accept, resolve_spec, spec_for_file
from nss.models.weights import repositories
from nss.notices import Notify, logged

MOST_LISTED = 6
"""How many files of a folder a message names."""


def resolve(
    model: str | os.PathLike[str],
    *,
    variant: str | None = None,
    backend: str = "auto",
    device: str | int | None = None,
    allow_fetch: bool,
    quiet: bool = False,
    notify: Notify | None = None,
) -> ResolvedModel:
    """Find the model that a name or a path stands for.

    model: a catalogue name in any case, with or without its vendor, "fast", "best", "auto", the path of an ONNX file,
    or a repository on the Hugging Face hub, ``owner/name[@revision][:file]``. A file that exists wins over a name.
    A ResolvedModel is given back.
    "auto" is what `nss.models.auto` chooses among the models already on this machine; it fetches nothing and ends at
    the built-in one.
    variant: which of a repository's files, a key of `nss.models.references.VARIANTS`.
    backend, device: where it is to run, as `engine.Session` takes them: what was slow there, "auto" leaves out.
    allow_fetch: whether a named model that is missing is downloaded.
    quiet: no progress display and no notices; the licence of a model is then shown at its first use without quiet.
    notify: gets each notice as one line; by default the log (`nss.notices`).
    Raises ModelUnavailableError: unknown name, missing file, wrong size or hash, or a refused or failed download;
    UsageError: a variant of what has none, or a repository with several files and no choice.
    """
    if isinstance(model, ResolvedModel):
        return model
    requested = os.fspath(model)
    if requested == "auto" and variant is None:
        return auto.resolve(backend=backend, device=device, quiet=quiet, notify=notify)
    if reference := references.parse(requested, variant):
        say = notify or logged
        repository_spec, path = repositories.resolve(reference, allow_fetch=allow_fetch, quiet=quiet, notify=say)
        return accept(repository_spec, "cache", path, requested=requested, quiet=quiet, notify=say)
    if is_path(requested):
        return _resolve_file(requested)
    if (spec := spec_by_name(requested)) is not None:
        return resolve_spec(spec, requested, allow_fetch=allow_fetch, quiet=quiet, notify=notify)
    return _resolve_file(requested)  # which says that there is none


def is_path(text: str) -> bool:
    """Whether a text is the path of a file rather than a name: it is written as one, or there is such a file.

    A name may have a file behind a colon, as a repository's has: ``owner/name:onnx/model.onnx``. "fast" and "best" are
    what ``--mode`` says, and no files.
    """
    is_file_name = text.lower().endswith(".onnx") and ":" not in text
    looks_like_path = is_file_name or text.startswith(("./", "../", "/", "~")) or text in (".", "..")
    if looks_like_path or (os.sep != "/" and (os.sep in text or Path(text).is_absolute())):
        return True
    if any(text.lower() == spec.mode for spec in CATALOGUE.values()):
        return False
    try:
        return Path(text).exists() and not Path(text).is_dir()
    except (OSError, ValueError):  # what can be no name of a file
        return False


def _resolve_file(requested: str) -> ResolvedModel:
    try:
        path = Path(requested).expanduser()
        is_directory, exists = path.is_dir(), path.exists()
    except (OSError, RuntimeError, ValueError) as error:  # no such user, a name that is too long, or with a NUL byte
        reason = error.strerror if isinstance(error, OSError) else one_line(error)
        raise ModelUnavailableError(
            f"no model file {requested}: {reason}; pass an ONNX file or one of {_names()}"
        ) from error
    if is_directory:
        if files := _models_in(path):
            raise ModelUnavailableError(f"{requested} is a directory: name the file in it, {' or '.join(files)}")
        raise ModelUnavailableError(f"{requested} is a directory: pass an ONNX file or one of {_names()}")
    if not exists:
        what = "model file" if is_path(requested) or path.name != requested else "model"
        raise ModelUnavailableError(
            f"no {what} {requested}: {_similar(requested)}pass an ONNX file or one of {_names()}"
        )
    content = None
    if pipes.is_pipe(path):
        try:
            content = pipes.read(path).content
        except OSError as error:
            raise ModelUnavailableError(f"cannot read {path}: {error.strerror or error}") from error
    elif not path.is_file():
        raise ModelUnavailableError(f"{requested} is no file: pass an ONNX file or one of {_names()}")
    return ResolvedModel(spec_for_file(path, content), path, "file", requested, content=content)


def _models_in(folder: Path) -> list[str]:
    """Some ONNX files of a folder, and of ``onnx/`` in it, where a clone of a repository of Hugging Face has them."""
    try:
        return [str(file) for place in (folder, folder / "onnx") for file in sorted(place.glob("*.onnx"))][:MOST_LISTED]
    except OSError:
        return []


def _similar(requested: str) -> str:
    """The names of the catalogue that a text nearly is, or begins, as a question; nothing where there is none."""
    text = unicodedata.normalize("NFKC", requested).lower().rpartition("/")[2]
    close = difflib.get_close_matches(text, CATALOGUE, n=1, cutoff=0.8)
    begun = [name for name in CATALOGUE if text and name.startswith(f"{text}-")][:2]
    return f"is {' or '.join(close or begun)} meant? else " if close or begun else ""


def _names() -> str:
    modes = [spec.mode for spec in CATALOGUE.values() if spec.mode]
    return ", ".join(["auto", *modes, *CATALOGUE]) + ", or owner/name on the Hugging Face hub"
