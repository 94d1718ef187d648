"""The fields of a request, as its query has them, to what is to be done: an `Order`.

Whatever stands there, nothing but `Problem` is raised, no file is looked for, and each message names the field.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from nss.cutouts import background as backgrounds
from nss.cutouts.compose import Composition
from nss.errors import UsageError, one_line, quoted
from nss.files.formats import Encoding
from nss.interfaces.interface import Description
from nss.interfaces.texts import parse_texts
from nss.masks.refine import Refinement
from nss.pipes import OneTimeFile
from nss.serve.field_table import FIELDS, MODES, OF_NETWORK_MASK, REFUSED, Field
from nss.serve.limits import Limits
from nss.serve.negotiation import NETWORK_MASK, negotiate, wants_network_mask
from nss.serve.problem import Problem
from nss.serve.words import in_fields

UNNAMED = "photo"
"""What a photo is called that got no name."""

LONGEST_DETAIL = 1000
"""Characters of a message: what it quotes may be as long as a request."""

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_FILE = re.compile(r"file-[A-Za-z0-9_-]+")
_TRUE, _FALSE = frozenset(("", "1", "true")), frozenset(("0", "false"))

FileOf = Callable[[str], OneTimeFile]
"""The file of an id. Raises Problem 400 for one that is not there."""


@dataclass(frozen=True)
class Order:
    """What a request asks for.

    Attributes:
        name: what to call the photo, one line of 255 characters at most, without a path.
        model: the name of the model; None is the default one.
        model_config: what is said of the model's interface; empty where nothing is.
        refinement, composition: what is done to the mask, and what is shown.
        encoding: of the picture; None where the network's mask is asked for.
        mask: the picture that is the mask instead of a network's.
        fail_empty: a photo in which nothing was found fails.
        max_pixels: of the photo.
        keep_photo: keep it beside the job's result.
    """

    name: str
    model: str | None
    model_config: Description
    refinement: Refinement
    composition: Composition
    encoding: Encoding | None
    mask: OneTimeFile | None
    fail_empty: bool
    max_pixels: int
    keep_photo: bool


def parse_order(query: Sequence[tuple[str, str]], accept: str | None, *, limits: Limits, file_of: FileOf) -> Order:
    """What a request's query and its ``Accept`` ask for.

    Args:
        query: names and values, decoded, in their order.
        accept: the header, several of them joined by commas; None without one.
        limits: those of the server.
        file_of: finds what was sent ahead.

    Raises:
        Problem: 400 for a field that is unknown, refused, there twice, no such value, or against another one; 406 where
            ``accept`` allows nothing that can be made.
    """
    texts, constants = _texts(query)
    is_network_mask = wants_network_mask(accept)
    given = [*texts, *(["model-inputs"] if constants else [])]
    if is_network_mask and (others := [name for name in given if name not in OF_NETWORK_MASK]):
        raise Problem(400, f"{_names(others)}: nothing is done to {NETWORK_MASK}; leave it out, or ask for a picture")
    values = {name: _value(FIELDS[name], text) for name, text in texts.items() if not _is_text(FIELDS[name])}
    model_config = _model_config(texts, constants)
    model = _model(texts, values)
    if "mask" in values:
        _check_mask(texts, bool(model_config))
    max_pixels = values.get("max-pixels", limits.pixels)
    if max_pixels > limits.pixels:
        raise Problem(400, f"'max-pixels' {max_pixels}: this server takes photos of {limits.pixels} at most")
    composition = _composition(texts, values, file_of)
    encoding = None if is_network_mask else _encoding(accept, texts, values, composition)
    return Order(
        name=_name(texts.get("name", "")),
        model=model,
        model_config=model_config,
        refinement=_refinement(values),
        composition=composition,
        encoding=encoding,
        mask=file_of(values["mask"]) if "mask" in values else None,
        fail_empty=values.get("fail-empty", False),
        max_pixels=max_pixels,
        keep_photo=values.get("keep-photo", False),
    )


def _texts(query: Sequence[tuple[str, str]]) -> tuple[dict[str, str], list[str]]:
    """The text of each field, and those of 'model-inputs', which may stand several times."""
    texts: dict[str, str] = {}
    constants: list[str] = []
    for name, raw in query:
        field = FIELDS.get(name)
        if field is None:
            raise Problem(400, _no_field(name))
        if len(raw) > field.longest:
            raise Problem(400, f"'{name}' {shown(raw)}: {field.longest} characters are the most")
        text = _encodable(raw)
        if field.several:
            constants.append(text)
        elif name in texts:
            raise Problem(400, f"'{name}' is there twice: send it once")
        else:
            texts[name] = text
    return texts, constants


def _no_field(name: str) -> str:
    if name in REFUSED:
        return f"'{name}' is no field: {REFUSED[name]}"
    close = difflib.get_close_matches(name[:64].lower().replace("_", "-"), FIELDS, n=1)
    return f"{shown(name)} is no field" + (f": is '{close[0]}' meant?" if close else "; /docs has a table of them")


def _is_text(field: Field) -> bool:
    """Whether what it is a part of reads its text."""
    return field.kind == "text" or field.owner == "interface"


def _value(field: Field, text: str) -> Any:
    """The value of a field that is no mere text. Raises Problem 400."""
    name = field.name
    if field.kind == "boolean":
        if text.lower() in _TRUE:
            return True
        if text.lower() in _FALSE:
            return False
    elif field.kind == "number":
        if _NUMBER.fullmatch(text) and math.isfinite(number := float(text)) and _is_within(field, number):
            return number
    elif field.kind == "integer":
        if _WHOLE.fullmatch(text) and _is_within(field, whole := int(text)):
            return whole
    elif field.kind == "file":
        if _FILE.fullmatch(text):
            return text
        raise Problem(400, f"'{name}' {shown(text)}: {_SEND_FIRST}")
    elif (choice := text.lower() if name == "format" else text) in field.choices:
        return choice
    raise Problem(400, f"'{name}' {shown(text)}: {field.possible} is possible")


def _is_within(field: Field, number: float) -> bool:
    if field.choices:
        return number in field.choices
    return (field.minimum is None or number >= field.minimum) and (field.maximum is None or number <= field.maximum)


_SEND_FIRST = "send the image first by POST /api/v1/files, and give the id that it gets here"


def _model(texts: Mapping[str, str], values: Mapping[str, Any]) -> str | None:
    model = texts.get("model")
    if model == "":
        raise Problem(400, "'model' is empty: give a name that GET /api/v1/models lists, or leave it out")
    if "mode" not in values:
        return model
    if model is not None:
        words = " and ".join(f"{mode} is {name}" for mode, name in MODES.items())
        raise Problem(400, f"'mode' and 'model' exclude each other: {words}")
    return MODES[values["mode"]]


def _model_config(texts: Mapping[str, str], constants: Sequence[str]) -> Description:
    with _as_problem():
        prefix = "model-"
        keys = {name.removeprefix(prefix): text for name, text in texts.items() if FIELDS[name].owner == "interface"}
        return parse_texts(keys, constants)


def _check_mask(texts: Mapping[str, str], is_described: bool) -> None:
    if named := [name for name in ("model", "mode") if name in texts]:
        raise Problem(400, f"'mask' takes the place of a network: leave {_names(named)} out")
    if is_described:
        raise Problem(400, "'mask' takes the place of a network: leave the fields of its model, 'model-...', out")


def _refinement(values: Mapping[str, Any]) -> Refinement:
    own = _of("refinement", values)
    with _as_problem(own):
        return Refinement.with_threshold(**own)


def _composition(texts: Mapping[str, str], values: Mapping[str, Any], file_of: FileOf) -> Composition:
    own = _of("composition", values)
    if "background" in texts:
        own["background"] = _background(texts["background"], file_of)
    with _as_problem(own):
        return Composition(**own)


def _background(text: str, file_of: FileOf) -> str | OneTimeFile:
    """A file that was sent ahead, or what is no file: a caller's text is never looked for among this computer's."""
    if _FILE.fullmatch(text):
        return file_of(text)
    blur, colon, radius = text.partition(":")
    if blur == backgrounds.BLUR and colon and not _NUMBER.fullmatch(radius):
        raise Problem(400, f"'background' {shown(text)}: the radius of the blur is a number of pixels, 1000 at most")
    is_file = not text.isascii()  # as no colour is
    if not is_file:
        try:
            is_file = backgrounds.file_of(text) is not None
        except UsageError as error:
            reason = one_line(error).removeprefix("background ")
            raise Problem(400, f"'background' {reason}"[:LONGEST_DETAIL]) from error
    if is_file:
        raise Problem(400, f"'background' {shown(text)} is no colour, blur or none: {_SEND_FIRST}")
    return text


def _encoding(
    accept: str | None, texts: Mapping[str, str], values: Mapping[str, Any], composition: Composition
) -> Encoding:
    named = {name: None for name in ("format", "quality", "effort", "mask-bits") if name in texts}
    with _as_problem(named):
        return negotiate(
            accept,
            format=values.get("format"),
            quality=values.get("quality"),
            effort=values.get("effort"),
            bits=composition.mask_bits,
        )


def _of(owner: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {FIELDS[name].parameter: value for name, value in values.items() if FIELDS[name].owner == owner}


@contextmanager
def _as_problem(parameters: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Make a `Problem` of the library's UsageError, in a request's words; ``parameters`` are what it may be about."""
    try:
        yield
    except UsageError as error:
        line = in_fields(one_line(error))
        if not line.startswith("'") and parameters:
            line = f"{_names([name.replace('_', '-') for name in parameters])}: {line}"
        raise Problem(400, line[:LONGEST_DETAIL]) from error


def _name(text: str) -> str:
    last = re.split(r"[/\\]", text)[-1].strip()
    line = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in last)
    return UNNAMED if line in ("", ".", "..") else line


def _names(names: Sequence[str]) -> str:
    return " and ".join(f"'{name}'" for name in names)


def _encodable(text: str) -> str:
    """The text with a mark for each half of a surrogate pair, which UTF-8 cannot hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def shown(text: str) -> str:
    """A caller's text in a message: in double quotes, one line of 60 characters at most."""
    text = _encodable(text)
    return one_line(quoted(text if len(text) <= 60 else text[:59] + "…"))
