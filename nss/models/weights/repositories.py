"""Models from any repository of the Hugging Face hub that has ONNX files: ``owner/name[@revision][:file]``.

The hub is asked once for a repository's files, licence and commit. The model that a reference stands for is kept in
the state folder under the model's whole name, ``owner/name[@revision]:file``: the commit as for models of the catalogue
(`nss.models.weights.model_store.Pin`), the rest as a note. From then on no request is made,
until ``nss-wgpu models remove``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from nss.errors import ModelUnavailableError, UsageError, one_line
from nss.interfaces import preprocessor_config
from nss.interfaces.interface import Description
from nss.models.catalogue import CATALOGUE, Companion, ModelSpec
from nss.models.references import VARIANTS, Reference, base_and_suffix, choose, from_text, is_inside
from nss.models.weights import hub, model_store, transfer

COMMERCIAL = {"apache-2.0", "mit", "bsd", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "isc", "unlicense"}
"""Licences of the hub's list that allow commercial use as they stand."""

MOST_LISTED = 20
"""Files that an error names."""


@dataclass(frozen=True)
class Listing:
    """What the hub says of a repository at a revision; ``files`` are all of its files by path."""

    commit: str
    files: dict[str, Companion]
    licence: str
    licence_url: str
    gated: bool


def resolve(
    reference: Reference, *, allow_fetch: bool, quiet: bool, notify: Callable[[str], None]
) -> tuple[ModelSpec, Path]:
    """The model that a reference stands for, and its file, fetched where it is not here.

    allow_fetch: whether the hub may be asked, and files downloaded.
    quiet: no progress display and no notices; before a download its size and licence are one.
    Raises UsageError where the repository has several ONNX files and none is chosen, or not the one that is;
    ModelUnavailableError where it cannot be had.
    """
    spec = pinned_spec(reference)
    listing = None
    if spec is None:
        if not allow_fetch:
            raise _not_here(reference)
        spec, listing = _look_up(reference)
    if listing is None and (path := hub.find_cached(spec)) is not None:
        return spec, path
    if not allow_fetch:
        raise _not_here(reference)
    spec, path = _fetch(spec, listing, quiet=quiet, notify=notify)
    return replace(spec, revision=reference.revision or "main"), path


def pinned_spec(reference: Reference) -> ModelSpec | None:
    """The model that a reference stood for when it was fetched; None where it never was. Makes no request."""
    if reference.file is None:
        file = model_store.read_note(reference.key).get("file")
        reference = replace(reference, file=file if isinstance(file, str) else None, variant=None)
    name = str(reference)
    note = model_store.read_note(name)
    if not reference.file or model_store.read_pin(name) is None:
        return None
    try:
        companions = tuple(Companion(str(c["filename"]), int(c["size"]), str(c["sha256"])) for c in note["companions"])
        return _spec(
            reference,
            Companion(reference.file, int(note["size"]), str(note["sha256"])),
            licence=(str(note["licence"]), str(note["licence_url"])),
            gated=bool(note["gated"]),
            companions=companions,
        )
    except (LookupError, TypeError, ValueError):
        return None


def spec_of(reference: Reference) -> ModelSpec:
    """What is known of the model that a reference stands for; the hub is asked where it was never fetched.

    Raises as `resolve`.
    """
    return pinned_spec(reference) or _look_up(reference)[0]


def placeholder(reference: Reference) -> ModelSpec:
    """`pinned_spec`, or where it was never fetched a model without a file. Makes no request."""
    unknown = _spec(reference, Companion("", 0), licence=("unknown", hub.page(reference.repo)), gated=False)
    return pinned_spec(reference) or replace(unknown, filename=None)


def pinned_specs() -> list[ModelSpec]:
    """The models that are here or were, by name."""
    references = (from_text(name) for name in model_store.note_names() if ":" in name)
    specs = (pinned_spec(reference) for reference in references if reference)
    return [spec for spec in specs if spec]


def _look_up(reference: Reference) -> tuple[ModelSpec, Listing | None]:
    """The model and its listing on the hub; None in its place for a model that is pinned under its whole name."""
    listing = _ask(reference)
    files = sorted(file for file in listing.files if file.lower().endswith(".onnx"))
    file = choose(files, reference)
    if file is None:
        raise _no_choice(reference, [listing.files[file] for file in files])
    exact = replace(reference, file=file, variant=None)
    if reference.key != str(exact):
        with _storing(exact):
            model_store.write_note(reference.key, {"file": file})
    if (spec := pinned_spec(exact)) is not None:
        return spec, None
    with _storing(exact):
        model_store.forget_pin(str(exact))  # one without its note, as an end between the two leaves
    spec = _spec(
        exact,
        listing.files[file],
        licence=(listing.licence, listing.licence_url),
        gated=listing.gated,
        companions=_companions(file, listing),
    )
    return replace(spec, revision=listing.commit), listing


def _fetch(
    spec: ModelSpec, listing: Listing | None, *, quiet: bool, notify: Callable[[str], None]
) -> tuple[ModelSpec, Path]:
    """Download a model; ``listing`` is None where its companions are known."""

    def say(size: int, what: str) -> None:
        if not quiet:
            notify(f"{spec.name}: {transfer.format_size(size)}{what}")

    def complete(path: Path) -> ModelSpec:
        nonlocal spec
        if listing is not None:
            companions = _companions(str(spec.filename), listing, _data_files(spec, path))
            if more := [c for c in companions if c not in spec.companions]:
                say(sum(c.size for c in more), f" more, in {', '.join(c.filename for c in more)}")
            spec = replace(spec, companions=companions)
        return spec

    use = (
        "" if spec.commercial == "yes" or spec.licence == "unknown" else ", commercial use by agreement with its owner"
    )
    say(spec.whole_size or 0, f", licence {spec.licence}{use}; see {spec.licence_url}")
    path = hub.fetch(spec, quiet=quiet, complete=complete)
    with _storing(spec):
        digests = [model_store.sha256_of(hub.companion_path(spec, path, c)) for c in spec.companions]
        companions = [replace(c, sha256=digest) for c, digest in zip(spec.companions, digests, strict=True)]
        spec = replace(spec, sha256=model_store.sha256_of(path), companions=tuple(companions))
        note = {
            "size": spec.size,
            "sha256": spec.sha256,
            "licence": spec.licence,
            "licence_url": spec.licence_url,
            "gated": spec.gated,
            "companions": [asdict(c) for c in companions],
        }
        model_store.write_note(spec.name, note)
    if not quiet:
        model_store.mark_licence_shown(spec.name)
    return spec, path


def _spec(
    reference: Reference,
    file: Companion,
    *,
    licence: tuple[str, str],
    gated: bool,
    companions: tuple[Companion, ...] = (),
) -> ModelSpec:
    """``file`` as a model; of a file or a repository that the catalogue has, the network is known."""
    nothing: Description = {}
    spec = ModelSpec(
        name=str(reference),
        title=reference.repo,
        summary="from a repository of the Hugging Face hub",
        speed="unknown",
        licence=licence[0],
        licence_url=licence[1],
        commercial="yes" if licence[0] in COMMERCIAL else "ask",
        size=file.size,
        sha256=file.sha256,
        interface=next((s.interface for s in CATALOGUE.values() if s.sha256 and s.sha256 == file.sha256), nothing),
        filename=file.filename,
        repo=reference.repo,
        revision=reference.revision or "main",
        gated=gated,
        companions=companions,
    )
    repo = reference.repo.casefold()
    entry = next((s for s in CATALOGUE.values() if s.repo and s.repo.casefold() == repo), None)
    if entry is None:
        return spec
    variant = file.filename and base_and_suffix(file.filename)[0] == base_and_suffix(str(entry.filename))[0]
    return replace(
        spec,
        title=entry.title,
        speed=entry.speed,
        licence=entry.licence,
        licence_url=entry.licence_url,
        commercial=entry.commercial,
        gated=gated or entry.gated,
        interface=entry.interface if variant else spec.interface,
    )


def _ask(reference: Reference) -> Listing:
    """What the hub says of the repository. Raises ModelUnavailableError, also where no hub says such a thing."""
    info = hub.repository_info(placeholder(reference))
    files: dict[str, Companion] = {}
    try:
        commit, gated, card = str(info["sha"]), bool(info.get("gated")), info.get("cardData")
        for sibling in info["siblings"]:
            path, size, lfs = sibling["rfilename"], sibling.get("size"), sibling.get("lfs")
            sha256 = lfs["sha256"] if lfs else None
            if not is_inside(path):
                continue  # a name that could not be one here
            if type(size) is not int or size < 0 or not (sha256 is None or re.fullmatch("[0-9a-f]{64}", sha256)):
                raise hub.not_a_hub()
            files[path] = Companion(path, size, sha256)
    except (AttributeError, TypeError, LookupError) as error:
        raise hub.not_a_hub() from error
    if not re.fullmatch("[0-9a-f]{40}", commit):
        raise hub.not_a_hub()
    return Listing(commit, files, *_licence(card if isinstance(card, dict) else {}, reference, commit), gated)


def _licence(card: dict[str, Any], reference: Reference, commit: str) -> tuple[str, str]:
    """The licence that a repository's card names, or "unknown", and where it stands."""
    names = card.get("license")
    names = names if isinstance(names, list) else [names]
    if card.get("license_name") and names in ([None], ["other"]):
        names = [card["license_name"]]
    text = ", ".join(name for name in names if isinstance(name, str) and name)
    licence = "".join(char for char in one_line(text) if char.isprintable())[:100] or "unknown"
    page, link = hub.page(reference.repo), card.get("license_link")
    if isinstance(link, str) and re.fullmatch(r"https://[!-~]{1,300}", link):
        return licence, link
    if isinstance(link, str) and re.fullmatch(r"[\w./-]{1,100}", link, re.ASCII) and is_inside(link):
        return licence, f"{page}/blob/{commit}/{link}"
    return licence, page


def _companions(file: str, listing: Listing, data: Iterable[PurePosixPath] | None = None) -> tuple[Companion, ...]:
    """What a model's file needs beside it: its external data, and the configuration of the pre-processing.

    ``data`` are the paths of the former, relative to the file's folder; None: what is named as exporters name it.
    Raises ModelUnavailableError where the repository has no such file.
    """
    folder = PurePosixPath(file).parent
    if data is None:
        names = [name for name in listing.files if re.fullmatch(rf"{re.escape(file)}(_data(_\d+)?|\.data)", name)]
    else:
        names = [str(folder / location) for location in data]
    if missing := [name for name in names if name not in listing.files]:
        raise ModelUnavailableError(f"{file} keeps weights in {', '.join(missing)}, which its repository does not have")
    names += [path for path in map(str, preprocessor_config.places(PurePosixPath(file))) if path in listing.files][:1]
    return tuple(listing.files[name] for name in names)


def _data_files(spec: ModelSpec, path: Path) -> list[PurePosixPath]:
    """The files of the model's external data, relative to its folder."""
    import engine

    try:
        return engine.ModelFile.read(path).data_files
    except engine.EngineError as error:
        raise ModelUnavailableError(f"{spec.name}: {error}") from error


def _no_choice(reference: Reference, files: list[Companion]) -> ModelUnavailableError | UsageError:
    if not files:
        return ModelUnavailableError(f"{hub.page(reference.repo)} has no ONNX file at {reference.revision or 'main'}")
    names = ", ".join(f"{file.filename} ({transfer.format_size(file.size)})" for file in files[:MOST_LISTED])
    more = f" and {len(files) - MOST_LISTED} more" if len(files) > MOST_LISTED else ""
    whole = replace(reference, file=None, variant=None)
    if reference.file:
        what = f"{whole} has no file {reference.file}; it has"
    elif reference.variant:
        what = f"{whole} has no variant {reference.variant}, or several; name a file as {whole}:FILE:"
    else:
        suffixes = {base_and_suffix(file.filename)[1] for file in files}
        variants = ", ".join(name for name, suffix in VARIANTS.items() if suffix and suffix in suffixes)
        by_variant = f", or say 'model_variant' ({variants})" if variants else ""
        what = f"{whole} has {len(files)} ONNX files; name one as {whole}:FILE{by_variant}:"
    return UsageError(f"{what} {names}{more}")


def _not_here(reference: Reference) -> ModelUnavailableError:
    return ModelUnavailableError(
        f"{reference} is neither a file nor a model on this machine: 'allow_fetch' would fetch it"
    )


@contextmanager
def _storing(model: ModelSpec | Reference) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        name = model.name if isinstance(model, ModelSpec) else model
        raise ModelUnavailableError(f"cannot store {name}: {error.strerror or error}") from error
