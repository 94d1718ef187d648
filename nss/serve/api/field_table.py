"""The fields of a request, ``?name=value``: each option of ``nss-wgpu remove`` is one, or is refused for a reason.

What parses them (`nss.serve.api.fields`), the OpenAPI document and the page at ``/docs`` are made of this table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from nss.cutouts.compose import HIDDEN
from nss.files.formats import ALIASES, FORMATS
from nss.interfaces.interface import POSSIBLE, Activation, Channels, Layout
from nss.masks.refine import FARTHEST, LONGEST
from nss.models.catalogue import CATALOGUE

Kind = Literal["number", "integer", "boolean", "choice", "text", "file"]
Owner = Literal["request", "model", "interface", "refinement", "composition", "encoding"]
"""What a field is a part of: the order itself, which model runs, or the object of that name."""

LONGEST_TEXT = 256
"""Characters of a value; that is enough for any name or colour."""

MODES = {spec.mode: spec.name for spec in CATALOGUE.values() if spec.mode is not None}
"""The model that each mode stands for."""


@dataclass(frozen=True)
class Field:
    """One field.

    Attributes:
        name: that of the command's option, without dashes in front.
        owner: what it is a part of.
        kind: what its text is read as; a "file" is the id of one that was sent ahead.
        help: what it does, in a sentence.
        default: what stands where it is left out; None is nothing, or what ``help`` says.
        choices: all values that are possible; empty where more are.
        minimum, maximum: of a number, both possible; None without such a bound.
        longest: characters of its text.
        several: it may stand in a request several times.
    """

    name: str
    owner: Owner
    kind: Kind
    help: str
    default: Any = None
    choices: tuple[Any, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    longest: int = LONGEST_TEXT
    several: bool = False

    @property
    def parameter(self) -> str:
        """Its name in Python."""
        return self.name.replace("-", "_")

    @property
    def possible(self) -> str:
        """What its values are, in words that end a sentence."""
        if self.choices:
            return f"one of {', '.join(map(str, self.choices))}"
        if self.kind == "boolean":
            return "true or false"
        if self.kind == "file":
            return "the id of a file that was sent ahead"
        if self.kind == "text":
            return "a text"
        what = "a whole number" if self.kind == "integer" else "a number"
        if self.minimum is None:
            return what
        return f"{what} of {self.minimum:g} or more" if self.maximum is None else self._span(what)

    def _span(self, what: str) -> str:
        return f"{what} from {self.minimum:g} to {self.maximum:g}"

    def schema(self) -> dict[str, Any]:
        """Its JSON schema (2020-12), as OpenAPI has it."""
        one: dict[str, Any] = {
            "type": {"choice": "string", "text": "string", "file": "string"}.get(self.kind, self.kind)
        }
        if self.kind == "file":
            one["pattern"] = "^file-"
        if self.kind == "text":
            one |= {"minLength": 1, "maxLength": self.longest}
        if self.choices:
            one["enum"] = list(self.choices)
        one |= {key: value for key in ("minimum", "maximum") if (value := getattr(self, key)) is not None}
        schema = {"type": "array", "items": one} if self.several else one
        return schema if self.default is None else {**schema, "default": self.default}


def _key(key: str, text: str, choices: tuple[str, ...] = (), longest: int = LONGEST_TEXT) -> Field:
    """A field for a key of a model's interface."""
    what = f"{text} {POSSIBLE[key][0].upper()}{POSSIBLE[key][1:].rstrip(',')}." if not choices else text
    return Field(
        f"model-{key}",
        "interface",
        "choice" if choices else "text",
        what,
        choices=choices,
        longest=longest,
        several=key == "inputs",
    )


_TABLE = (
    Field("name", "request", "text", "What to call the photo in messages; of a path the last part.", "photo"),
    Field("keep-photo", "request", "boolean", "Keep the photo beside the job's result, for /photo.", False),
    Field("mask", "request", "file", "A file sent ahead, whose picture is the mask instead of a network's."),
    Field("fail-empty", "request", "boolean", "Let a photo in which nothing was found fail, with 422.", False),
    Field(
        "max-pixels",
        "request",
        "integer",
        "Refuse a photo of more pixels before it is decoded. The server's own limit is the most that is possible, and "
        "what stands without it.",
        minimum=1,
    ),
    Field("model", "model", "text", "One of the names that GET /api/v1/models lists; without it, its default one."),
    Field(
        "mode",
        "model",
        "choice",
        f"The model by what it is for, where the server has it: {', '.join(f'{m} is {n}' for m, n in MODES.items())}.",
        choices=tuple(MODES),
    ),
    Field(
        "guided",
        "refinement",
        "number",
        "Move the edge to the photo's, by a guided filter of this radius in pixels.",
        0.0,
        minimum=0,
        maximum=LONGEST,
    ),
    Field("black", "refinement", "number", "Mask values up to this become 0.", 0.0, minimum=0, maximum=1),
    Field("white", "refinement", "number", "Mask values from this on become 1.", 1.0, minimum=0, maximum=1),
    Field(
        "threshold",
        "refinement",
        "number",
        "Make the mask hard here: 'black' and 'white' in one.",
        minimum=0,
        maximum=1,
    ),
    Field("drop-islands", "refinement", "number", "Remove islands of fewer square pixels than this.", 0.0, minimum=0),
    Field("fill-holes", "refinement", "number", "Fill holes of fewer square pixels than this.", 0.0, minimum=0),
    Field(
        "smooth",
        "refinement",
        "number",
        "Smooth the contour at this scale in pixels, its edge as soft as it was.",
        0.0,
        minimum=0,
        maximum=LONGEST,
    ),
    Field(
        "expand",
        "refinement",
        "number",
        "Move the contour outwards by so many pixels; a negative number contracts.",
        0.0,
        minimum=-FARTHEST,
        maximum=FARTHEST,
    ),
    Field(
        "feather",
        "refinement",
        "number",
        "Soften the edge: a Gaussian of this standard deviation in pixels.",
        0.0,
        minimum=0,
        maximum=LONGEST,
    ),
    Field("invert", "composition", "boolean", "Keep the background and remove the subject.", False),
    Field(
        "background",
        "composition",
        "text",
        "A CSS colour (with alpha too), blur or blur:PX for the photo out of focus, or the id of an image sent ahead.",
        "none",
    ),
    Field("crop", "composition", "integer", "Crop to the subject and leave this many pixels around it.", minimum=0),
    Field(
        "decontaminate",
        "composition",
        "number",
        "Take the background's colour out of hair and other soft edges, by this amount.",
        0.0,
        minimum=0,
        maximum=1,
    ),
    Field("mask-only", "composition", "boolean", "Give the mask at the photo's size instead of the cut-out.", False),
    Field("mask-bits", "composition", "integer", "Bits of a mask of 'mask-only'.", 8, choices=(8, 16)),
    Field(
        "hidden",
        "composition",
        "choice",
        "Colour under full transparency: keep the photo's (which anyone can restore), bleed the edge's outwards, or "
        "zero.",
        "keep",
        choices=HIDDEN,
    ),
    Field(
        "keep-exif", "composition", "boolean", "Keep the photo's EXIF, without orientation, thumbnail and place.", False
    ),
    Field("keep-gps", "composition", "boolean", "With 'keep-exif': keep the place too.", False),
    Field(
        "format",
        "encoding",
        "choice",
        "The picture's format, whatever Accept says; without it the best that Accept allows, or png.",
        choices=(*FORMATS, *ALIASES),
    ),
    Field("quality", "encoding", "integer", "Of WebP (lossless without), AVIF and JPEG.", minimum=1, maximum=100),
    Field(
        "effort", "encoding", "integer", "More makes smaller files, slowly; a fast one without.", minimum=0, maximum=9
    ),
    _key("input", "The model's input that takes the photo."),
    _key("layout", "The order of its axes.", get_args(Layout)),
    _key("channels", "Its channels.", get_args(Channels)),
    _key("size", "The size of the network's input."),
    _key("scale", "What the photo's 0..255 are multiplied by, 1/255 say."),
    _key("mean", "What is then taken off."),
    _key("std", "What the rest is divided by."),
    _key("filter", "How the photo is resized."),
    _key("output", "The output that is the mask."),
    _key("channel", "Its channel that is the foreground; -1 is the last one."),
    _key("activation", "What makes a mask of the output.", get_args(Activation)),
    _key("range", "What full foreground is in the output."),
    _key("inputs", "NAME=VALUE: a constant for another input, as JSON; it may stand several times.", longest=4096),
)

FIELDS: dict[str, Field] = {field.name: field for field in _TABLE}
"""By name."""

OURS = ("name", "keep-photo")
"""Those that are no options of the command: there the photo's name is its file's, and the photo stays where it is."""

OF_NETWORK_MASK = frozenset(
    field.name
    for field in _TABLE
    if field.owner == "interface" or field.name in ("model", "max-pixels", "fail-empty", *OURS)
)
"""Those that mean something where the network's own mask is asked for, as nothing is done to it."""

_START = "whoever starts the server chooses it, as an option of `nss-wgpu serve`"
_MANY = "a request has one photo; send one for each"
_ANSWER = "the answer has the result, and whoever asked decides what becomes of it"

REFUSED = {
    "output": f"it names a file; {_ANSWER}",
    "model-config": "it names a file; send what it says as 'model-mean' and its kin",
    "model-variant": f"it names a download; {_START}",
    "backend": _START,
    "device": f"it names an adapter; {_START}",
    "require-gpu": _START,
    "precision": _START,
    "image-backend": _START,
    "no-cache": _START,
    "jobs": _START,
    "memory": _START,
    "on": f"it is about many photos on many machines; {_MANY}",
    "ray-address": f"it is about many photos on many machines; {_MANY}",
    "recursive": f"it is about folders; {_MANY}",
    "all-files": f"it is about folders; {_MANY}",
    "parents": f"it is about folders; {_ANSWER}",
    "exists": f"it is about files; {_ANSWER}",
    "overwrite": f"it is about files; {_ANSWER}",
    "skip-existing": f"it is about files; {_ANSWER}",
    "rename": f"it is about files; {_ANSWER}",
    "sidecar": "it is about files; the header Nss-Info of the answer says what a sidecar would",
    "unordered": f"it is about many photos; {_MANY}",
    "dry-run": f"it is about many photos; {_MANY}",
    "json": "the header Nss-Info of the answer, and a job, are JSON already",
    "verbose": "the header Nss-Info of the answer says what ran, where and how long",
    "quiet": "an answer says nothing but what it is asked for",
}
"""Options of the command that are no fields, each with the reason."""
