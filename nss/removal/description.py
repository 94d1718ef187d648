"""A model's whole interface, from all that speaks of it: options, catalogue, the file, what lies beside it, a trial.

`interface_of` asks in that order. What nothing says is guessed, and each guess is a line for the user.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import engine
from nss.errors import ModelUnavailableError
from nss.interfaces import model_metadata, preprocessor_config
from nss.interfaces.declarations import Declared, Photo, photo_input
from nss.interfaces.graph_signs import Family, Signs
from nss.interfaces.interface import (
    CHANNELS,
    USUAL,
    Description,
    FixedSize,
    Interface,
    as_json,
    completed,
    merged,
)
from nss.models.catalogue import CATALOGUE
from nss.models.local_models import ResolvedModel
from nss.removal import trial

OPTION, BY_HASH, BY_NAME = "option", "catalogue (hash)", "catalogue"
METADATA, BY_TENSORS, BY_GRAPH = "metadata", "catalogue (names)", "catalogue (graph)"
GRAPH, FILE, TRIAL, GUESS = "graph", "file", "trial", "guess"
"""Where a value comes from, besides the name of a file beside the model's."""

SIDE = 1024
"""Height and width, in pixels, for a file that leaves them open where nothing else says them."""

LARGEST_UNIT = 3.0
"""A mean or deviation above is one of 0..255, not of 0..1."""

FAMILIES: dict[Family, str] = {
    "IS-Net": "rmbg-1.4",
    "U²-Net": "u2netp",
    "U²-Netp": "u2netp",
    "BiRefNet": "rmbg-2.0",
}
"""Which model of the catalogue a network is prepared like: one whose entry has the names of its tensors, and resizes as
the network's own code does. So U²-Net is prepared like U²-Netp: the entry of u2net resizes as rembg does."""


@dataclass(frozen=True)
class Described:
    """A model's interface, and how it came to be known.

    Attributes:
        interface: all of it.
        origins: where each of its values comes from, by key.
        guesses: what the user has to be told, one line each: what was guessed or tried, and what was ignored.
    """

    interface: Interface
    origins: dict[str, str]
    guesses: tuple[str, ...] = ()

    @property
    def tried(self) -> bool:
        """Whether a trial had a say, so that a photo may contradict it."""
        return TRIAL in self.origins.values()

    @contextmanager
    def blaming_guesses(self) -> Iterator[None]:
        """Where the model cannot be opened at a size that was guessed, say so in its error."""
        try:
            yield
        except ModelUnavailableError as error:
            if self.origins["size"] != GUESS:
                raise
            raise ModelUnavailableError(
                f"{error}; {self.interface.size} is a guess: say by 'size' what the model was made for"
            ) from error

    def as_json(self) -> dict[str, Any]:
        """``values`` and their ``origins``, which `nss.interfaces.interface.described` reads."""
        return {"values": as_json(self.interface), "origins": self.origins}


def interface_of(file: engine.ModelFile, model: ResolvedModel, asked: Description | None = None) -> Described:
    """The interface of an opened model, from these, the first to speak of a key winning:

    what is asked for; the catalogue, for its own models; the file's metadata; a ``preprocessor_config.json``; what the
    graph does to the photo; the catalogue, for a network that its graph shows to be one of its models, under the same
    tensor names or others; shapes and types; a trial, where the output is not yet known; and what is usual.

    Args:
        file: the model.
        model: where it lies, and what the catalogue has of it.
        asked: what options or a program say; None for nothing.

    What is asked for stands, and what is left open has a value, its origin "guess": whether a model of that interface
    can be run shows when it is opened.

    Raises:
        ModelUnavailableError: no input takes a photo, or the output is a map of more than two classes: the line names
            the key.
    """
    return _Inquiry(file, model, asked or {}).answer()


class _Inquiry:
    """One file, and what is known of it so far."""

    def __init__(self, file: engine.ModelFile, model: ResolvedModel, asked: Description) -> None:
        self.file, self.model = file, model
        self.title = model.spec.title
        self.declared = Declared(file)
        self.signs = Signs(file)
        self.lines: list[str] = []
        self.trial_lines: list[str] = []
        self.sources: list[tuple[str, Description]] = [(OPTION, self._named(asked))]

    def answer(self) -> Described:
        catalogued = bool(self.model.spec.interface)
        self._add_catalogue() if catalogued else self._add_beside()
        photo = photo_input(self.declared, self.sources[0][1], self._known, self.signs, self.title)
        self.sources[1:] = [(origin, _fitting(said, photo)) for origin, said in self.sources[1:]]
        if not catalogued:
            self._add(GRAPH, self.signs.normalisation(photo.name))
            self._add_relatives(photo)
        self._add(FILE, self._facts(photo))
        self._add_guesses(photo)
        self._add_output(catalogued)
        known, origins = merged(self.sources)
        size = photo.size(known["size"])
        if origins["size"] != OPTION and size not in (None, known["size"]):
            known["size"], origins["size"] = size, FILE
        self._say_guesses(known, origins)
        order = list(Description.__annotations__)
        return Described(
            Interface(**known),
            {key: origins[key] for key in order},
            (*self.lines, *self.trial_lines),
        )

    @property
    def _known(self) -> Description:
        return merged(self.sources)[0]

    def _add(self, origin: str, said: Description) -> None:
        self.sources.append((origin, said))

    def _named(self, asked: Description) -> Description:
        """What is asked for, with the output by its name where the file has it."""
        said = _with_scale(asked)
        output = self._output_named(said["output"]) if "output" in said else None
        return said if output is None else {**said, "output": output}

    def _output_named(self, output: str | int) -> str | None:
        names = self.file.outputs
        if output in names:
            return str(output)
        try:
            index = int(output)
        except ValueError:
            return None
        return names[index] if -len(names) <= index < len(names) else None

    def _add_catalogue(self) -> None:
        """The catalogue knows its models wholly, but for names of tensors that it leaves to the file."""
        spec = self.model.spec
        self._add_other(BY_HASH if spec.digest else BY_NAME, spec.interface, self.title)

    def _add_beside(self) -> None:
        """What the file's metadata and a configuration beside it say."""
        props = {entry.key: entry.value for entry in self.file.proto.metadata_props}
        said, lines = model_metadata.parsed(props, self.title)
        self.lines += lines
        self._add_other(METADATA, said, f"{self.title}: metadata")
        if self.model.content is None and (path := preprocessor_config.beside(self.model.path)) is not None:
            said, lines = preprocessor_config.read(path)
            self.lines += lines
            self._add_other(preprocessor_config.NAME, said, str(path))

    def _add_other(self, origin: str, said: Description, where: str) -> None:
        """Add what another than the user says; tensors that the file does not have are said, and ignored."""
        kept: Description = {**_with_scale(said)}
        if "input" in said and said["input"] not in self.declared.inputs:
            del kept["input"]
            self.lines.append(f"{where}: names an input {said['input']}, which the file does not have; ignored")
        if "output" in said:
            if (output := self._output_named(said["output"])) is None:
                del kept["output"]
                self.lines.append(f"{where}: names an output {said['output']}, which the file does not have; ignored")
            else:
                kept["output"] = output
        if "inputs" in said:
            kept["inputs"] = {name: value for name, value in said["inputs"].items() if name in self.declared.types}
        self._add(origin, kept)

    def _add_relatives(self, photo: Photo) -> None:
        """What the catalogue says of a network that the graph is one of; tensor names tell whether it is that model.

        Names alone say nothing: half of all files call theirs "input" and "output".
        """
        family = self.signs.family()
        if family is None:
            return
        spec = CATALOGUE[FAMILIES[family]]
        by_names = spec.interface["input"] == photo.name and spec.interface["output"] in self.file.outputs
        keys = ("scale", "mean", "std", "filter", "size", "channels", *(("output",) if by_names else ()))
        said = cast("Description", {key: value for key, value in spec.interface.items() if key in keys})
        if not by_names and family != "BiRefNet":  # the first of U²-Net's outputs joins the others
            said["output"] = self.file.outputs[0]
        self._add(GRAPH, self._ending(str(said.get("output", self.file.outputs[0]))))
        said = _fitting(_with_scale(said), photo)
        taken = [key for key in ("mean", "std", "filter", "size") if key in said and key not in self._known]
        if photo.fixed is not None and "size" in taken:
            taken.remove("size")
        self._add(BY_TENSORS if by_names else BY_GRAPH, said)
        if taken and not by_names:
            self.lines.append(
                f"{self.title}: is {_article(family)} by its graph, and is given the {', '.join(taken)} of "
                f"{spec.title}; settle it with {_quoted(taken)}"
            )

    def _ending(self, output: str) -> Description:
        """What the last operator of an output of one mask says of it: whether it is logits."""
        logits = self.file.lacks_activation(output)
        return {"channel": 0, "activation": "sigmoid" if logits else "none", "range": 1.0}

    def _facts(self, photo: Photo) -> Description:
        """What shapes and types say."""
        facts: Description = {"input": photo.name, "dtype": photo.dtype}
        if not photo.layout_is_guessed:
            facts["layout"] = photo.layout
        if photo.count != 3:
            facts["channels"] = photo.channels
        if photo.fixed is not None:
            facts["size"] = photo.fixed
        if photo.dtype == "uint8":
            facts |= {"scale": 1.0, "mean": (0.0,), "std": (1.0,)}
        if len(self.file.outputs) == 1:
            facts["output"] = self.file.outputs[0]
        facts["inputs"] = {}
        return facts

    def _add_guesses(self, photo: Photo) -> None:
        mean, std = USUAL["mean"], USUAL["std"]
        if photo.count == 1:
            mean, std = (sum(mean) / 3,), (sum(std) / 3,)
        elif photo.count == 4:
            mean, std = (*mean, 0.0), (*std, 1.0)
        guesses: Description = {
            "layout": photo.layout,
            "channels": photo.channels,
            "size": photo.size(FixedSize(SIDE, SIDE)) or FixedSize(SIDE, SIDE),
            "scale": USUAL["scale"],
            "mean": mean,
            "std": std,
            "filter": USUAL["filter"],
        }
        self._add(GUESS, guesses)

    def _add_output(self, catalogued: bool) -> None:
        """Which output is the mask and how: by the graph where that says it, else by a trial."""
        if catalogued:
            self._add(FILE, {"output": self.file.outputs[0]})
            return
        if "output" in (known := self._known):
            output = str(known["output"])
            if self.declared.channels_of(output) == 1 and self.signs.votes(output) is None:
                self._add(FILE, {"channel": 0})
            self._add(GRAPH, self.signs.ending(output))
        known, origins = merged(self.sources)
        if known.get("activation") in ("sigmoid", "softmax"):  # which give 0..1
            self._add(origins["activation"], {"range": 1.0})
        known = self._known
        if {"output", "channel", "activation", "range"} <= set(known):
            return
        found = trial.findings(self.file, completed({"output": 0, **known}), self.model.sha256)
        said = trial.chosen(found, known)
        if said and "channel" not in {**said, **known} and trial.is_class_map(found, str(said["output"])):
            raise ModelUnavailableError(
                f"{self.title}: gives {said['output']}, a map of several classes; say which one is the foreground by "
                "'channel'"
            )
        self._add(TRIAL, said)
        if said:
            self._trial_line(said, set(known))
        output = str(known.get("output", said.get("output", self.file.outputs[0])))
        self._add(GUESS, {"output": output, **self._ending(output)})

    def _trial_line(self, said: Description, known: set[str]) -> None:
        """Say what the trial settled; that an output has but one channel needs no word."""
        words = {
            "output": f"output {said['output']}",
            "channel": f"channel {said['channel']}" if said.get("channel") else "",
            "activation": {"none": "no activation"}.get(said["activation"], said["activation"]),
            "range": f"0..{said['range']:g}" if said["range"] != 1 else "",
        }
        told = [key for key, word in words.items() if key not in known and word]
        if told:
            self.trial_lines = [
                f"{self.title}: nothing says what its mask is; a trial on two synthetic photos shows "
                f"{', '.join(words[key] for key in told)}; settle it with {_quoted(told)}"
            ]

    def _say_guesses(self, known: Description, origins: dict[str, str]) -> None:
        guessed = [key for key in known if origins[key] == GUESS]
        imagenet = [word for key, word in (("mean", "mean"), ("std", "deviation")) if key in guessed]
        words: list[tuple[tuple[str, ...], Callable[[], str]]] = [
            (("layout",), lambda: known["layout"]),
            (("channels",), lambda: known["channels"]),
            (("scale", "mean", "std"), lambda: f"ImageNet's {' and '.join(imagenet) or 'scale'}"),
            (("filter",), lambda: known["filter"]),
            (("size",), lambda: str(known["size"])),
            (("output",), lambda: f"output {known['output']}"),
            (("activation",), lambda: f"activation {known['activation']}"),
        ]
        told = [(keys, word()) for keys, word in words if any(key in guessed for key in keys)]
        if not told:
            return
        keys = [key for group, _ in told for key in group if key in guessed]
        what = "how it wants its photo" if "mean" in guessed else f"its {', '.join(keys)}"
        self.lines.append(
            f"{self.title}: nothing says {what}; guessed {', '.join(word for _, word in told)}; "
            f"settle it with {_quoted(keys)}"
        )


def _fitting(said: Description, photo: Photo) -> Description:
    """What of a description the file can have."""
    count = photo.count
    fits = {
        "layout": said.get("layout") == photo.layout,
        "dtype": said.get("dtype") == photo.dtype,
        "channels": CHANNELS[said.get("channels", "RGB")] == count,
        "mean": len(said.get("mean", ())) in (1, count),
        "std": len(said.get("std", ())) in (1, count),
    }
    return cast("Description", {key: value for key, value in said.items() if fits.get(key, True)})


def _with_scale(said: Description) -> Description:
    """The description with the scale that its mean and deviation imply: they are of 0..1, or of 0..255."""
    numbers = (*said.get("mean", ()), *said.get("std", ()))
    if not numbers or "scale" in said:
        return said
    return {**said, "scale": 1.0 if max(map(abs, numbers)) > LARGEST_UNIT else 1 / 255}


def _quoted(keys: Sequence[str]) -> str:
    return ", ".join(f"'{key}'" for key in keys)


def _article(family: Family) -> str:
    return f"{'an' if family[0] == 'I' else 'a'} {family}"
