"""Which type an answer has: what ``format`` says, else the best that ``Accept`` allows (RFC 9110, section 12.5.1)."""

from __future__ import annotations

import re
from pathlib import Path

from nss.errors import UsageError, quoted
from nss.files import formats
from nss.files.formats import FORMATS, Encoding
from nss.serve.problem import Problem

MEDIA_TYPES = {name: f"image/{name}" for name in ("png", "webp", "avif", "jpeg", "tiff")}
"""Of each format, in the order in which they are preferred where a request likes them as well."""

NETWORK_MASK = "application/x-nss-mask"
"""The network's mask at its own size: float32, little-endian, row by row."""

LONGEST_ACCEPT = 4096
"""Characters of the header: browsers send some 100."""

# a quoted string that no one ends goes to the end, so that each character is looked at once
_STRING = r'"(?:[^"\\]|\\[\s\S])*\\?(?:"|\Z)'
_ELEMENT = re.compile(rf'(?:[^",]|{_STRING})+')
_PARAMETER = re.compile(rf';((?:[^";]|{_STRING})*)')
_RANGE = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+/[!#$%&'*+.^_`|~0-9a-z-]+")
_WEIGHT = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")


def media_type(encoding: Encoding | None) -> str:
    """The type of an answer in this encoding; None is the network's mask."""
    return NETWORK_MASK if encoding is None else MEDIA_TYPES[encoding.format]


def wants_network_mask(accept: str | None) -> bool:
    """Whether the network's mask is wanted: it is named, and no picture is liked more. Wildcards do not mean it.

    Raises Problem 400 where the header is too long.
    """
    ranges = _ranges(accept)
    liking = ranges.get(NETWORK_MASK, 0.0)
    return liking > 0 and liking >= max(_liking(type_, ranges) for type_ in MEDIA_TYPES.values())


def negotiate(
    accept: str | None,
    *,
    format: str | None = None,  # noqa: A002 - the field's name
    quality: int | None = None,
    effort: int | None = None,
    bits: int = 8,
) -> Encoding:
    """The encoding of a picture.

    Args:
        accept: the header's value, several of them joined by commas; None or blank takes anything.
        format: wins over the header.
        quality, effort: as `nss.files.formats.Encoding` has them.
        bits: of a mask; a format that cannot hold them gives way to the next that is acceptable.

    Raises:
        UsageError: the format is unknown or cannot hold so many bits, has no such quality, or this build of Pillow
            lacks it.
        Problem: 400 where the header is too long, 406 where it allows no type that can be made.
    """
    name = format if format is not None else _best(accept, bits)
    encoding = formats.choose(Path("x"), name, quality, effort)
    formats.check_bits(encoding, bits)
    return encoding


def _best(accept: str | None, bits: int) -> str:
    ranges = _ranges(accept)
    likings = {name: _liking(type_, ranges) for name, type_ in MEDIA_TYPES.items()}
    acceptable = sorted((name for name in likings if likings[name] > 0), key=lambda name: -likings[name])
    for name in acceptable:
        if bits in FORMATS[name].bits and _can_be_written(name):
            return name
    possible = [type_ for name, type_ in MEDIA_TYPES.items() if bits in FORMATS[name].bits and _can_be_written(name)]
    what = f"a mask of {bits} bits" if bits != 8 else "the picture"
    raise Problem(
        406,
        f"'Accept' {quoted(_cut(accept or ''))}: {what} can be {', '.join(possible)}, and the network's mask "
        f"{NETWORK_MASK}",
    )


def _can_be_written(name: str) -> bool:
    try:
        formats.choose(Path("x"), name)
    except UsageError:  # this build of Pillow lacks it
        return False
    return True


def _ranges(accept: str | None) -> dict[str, float]:
    """The weight of each media range; what is written wrong, or has parameters other than a weight, is passed over.

    No format of ours has parameters, and a range with some takes only what has them too.
    """
    if accept is None or not accept.strip():
        return {"*/*": 1.0}
    if len(accept) > LONGEST_ACCEPT:
        raise Problem(400, f"'Accept' is longer than {LONGEST_ACCEPT} characters: name the types that you can use")
    ranges: dict[str, float] = {}
    for element in _ELEMENT.findall(accept):
        name, _, _ = element.partition(";")
        name = name.strip(" \t").lower()
        weight: float | None = 1.0
        for parameter in _PARAMETER.findall(element):
            key, _, value = parameter.partition("=")
            if key.strip(" \t").lower() == "q":
                value = value.strip(" \t")
                weight = float(value) if _WEIGHT.fullmatch(value) else None
                break  # what follows it are extensions, which RFC 9110 has given up
            if parameter.strip(" \t"):
                weight = None
                break
        if weight is not None and _RANGE.fullmatch(name):
            ranges[name] = max(weight, ranges.get(name, 0.0))
    return ranges


def _liking(type_: str, ranges: dict[str, float]) -> float:
    """The weight of a type, 0 to 1: that of the most specific range that has it; 0 where none does."""
    for name in (type_, type_.partition("/")[0] + "/*", "*/*"):
        if name in ranges:
            return ranges[name]
    return 0.0


def _cut(text: str) -> str:
    return text if len(text) <= 100 else text[:99] + "…"
