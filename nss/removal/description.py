"""A model's whole interface, merged from its sources: options, catalogue, the file, what lies beside it, a trial.

`interface_of` asks them in that order. What no source says is guessed, and each guess is a line for the user.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import engine
from nss.errors import ModelUnavailableError
from nss.interfaces import model_metadata, preprocessor_config
from nss.interfaces.declarations import Declarations, PhotoInput, photo_input
from nss.interfaces.graph_signs import Family, Signs
from nss.interfaces.interface import (
    CHANNELS,
    USUAL,
    Description,
    FixedSize,
    Interface,
    complete,
    merge,
)
from nss.models.catalogue import CATALOGUE
from nss.models.local_models import ResolvedModel
from nss.removal import trial
from nss.removal.resolved_interface import (
    BY_GRAPH,
    BY_HASH,
    BY_NAME,
    BY_TENSORS,
    FILE,
    GRAPH,
    GUESS,
    METADATA,
    OPTION,
    TRIAL,
    ResolvedInterface,
)

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


def interface_of(
    file: engine.ModelFile, model: ResolvedModel, user_description: Description | None = None
) -> ResolvedInterface:
    """The interface of an opened model, from these sources, of which the first with a key wins:

    - the user's description;
    - the catalogue, for its own models;
    - the file's metadata;
    - a ``preprocessor_config.json``;
    - what the graph does to the photo;
    - the catalogue, for a network that its graph shows to be one of its models, under the same tensor names or others;
    - shapes and types;
    - a trial, where the output is not yet known;
    - what is usual.

    Args:
        file: the model.
        model: where it lies, and what the catalogue has of it.
        user_description: what options or a program say; None for nothing.

    The user's description stands, and what all leave open has a value of the origin "guess": whether a model of that
    interface can be run shows when it is opened.

    Raises:
        ModelUnavailableError: no input takes a photo, or the output is a map of more than two classes: the line names
            the key.
    """
    return _Inquiry(file, model, user_description or {}).answer()


class _Inquiry:
    """One file, and the descriptions of its interface so far, from the source that wins down."""

    def __init__(self, file: engine.ModelFile, model: ResolvedModel, user_description: Description) -> None:
        self.file, self.model = file, model
        self.title = model.spec.title
        self.declarations = Declarations(file)
        self.signs = Signs(file)
        self.lines: list[str] = []
        self.trial_lines: list[str] = []
        self.sources: list[tuple[str, Description]] = [(OPTION, self._with_output_name(user_description))]

    def answer(self) -> ResolvedInterface:
        in_catalogue = bool(self.model.spec.interface)
        self._add_catalogue() if in_catalogue else self._add_beside()
        photo = photo_input(
            self.declarations,
            user_description=self.sources[0][1],
            description=self._description,
            signs=self.signs,
            title=self.title,
        )
        self.sources[1:] = [(origin, _fitting(description, photo)) for origin, description in self.sources[1:]]
        if not in_catalogue:
            self._add(GRAPH, self.signs.normalisation(photo.name))
            self._add_relatives(photo)
        self._add(FILE, self._facts(photo))
        self._add_guesses(photo)
        self._add_output(in_catalogue)
        values, origins = merge(self.sources)
        size = photo.size(values["size"])
        if origins["size"] != OPTION and size not in (None, values["size"]):
            values["size"], origins["size"] = size, FILE
        self._say_guesses(values, origins)
        order = list(Description.__annotations__)
        return ResolvedInterface(
            Interface(**values),
            {key: origins[key] for key in order},
            (*self.lines, *self.trial_lines),
        )

    @property
    def _description(self) -> Description:
        return merge(self.sources)[0]

    def _add(self, origin: str, description: Description) -> None:
        self.sources.append((origin, description))

    def _with_output_name(self, user_description: Description) -> Description:
        """The user's description, with the output by its name where the file has it."""
        description = _with_scale(user_description)
        output = self._output_by_name(description["output"]) if "output" in description else None
        return description if output is None else {**description, "output": output}

    def _output_by_name(self, output: str | int) -> str | None:
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
        description, lines = model_metadata.parse(props, self.title)
        self.lines += lines
        self._add_other(METADATA, description, f"{self.title}: metadata")
        if self.model.content is None and (path := preprocessor_config.beside(self.model.path)) is not None:
            description, lines = preprocessor_config.read(path)
            self.lines += lines
            self._add_other(preprocessor_config.NAME, description, str(path))

    def _add_other(self, origin: str, description: Description, where: str) -> None:
        """Add a source other than the user; tensors that the file does not have are ignored, with a line."""
        usable: Description = {**_with_scale(description)}
        if "input" in description and description["input"] not in self.declarations.inputs:
            del usable["input"]
            self.lines.append(f"{where}: names an input {description['input']}, which the file does not have; ignored")
        if "output" in description:
            if (output := self._output_by_name(description["output"])) is None:
                del usable["output"]
                self.lines.append(
                    f"{where}: names an output {description['output']}, which the file does not have; ignored"
                )
            else:
                usable["output"] = output
        if "inputs" in description:
            usable["inputs"] = {
                name: value for name, value in description["inputs"].items() if name in self.declarations.types
            }
        self._add(origin, usable)

    def _add_relatives(self, photo: PhotoInput) -> None:
        """Add the entry of the catalogue for the network of this graph; tensor names show whether it is that model.

        Names alone say nothing: half of all files call theirs "input" and "output".
        """
        family = self.signs.family()
        if family is None:
            return
        spec = CATALOGUE[FAMILIES[family]]
        by_names = spec.interface["input"] == photo.name and spec.interface["output"] in self.file.outputs
        keys = ("scale", "mean", "std", "filter", "size", "channels", *(("output",) if by_names else ()))
        description = cast("Description", {key: value for key, value in spec.interface.items() if key in keys})
        if not by_names and family != "BiRefNet":  # the first of U²-Net's outputs joins the others
            description["output"] = self.file.outputs[0]
        self._add(GRAPH, self._ending(str(description.get("output", self.file.outputs[0]))))
        description = _fitting(_with_scale(description), photo)
        keys_taken = [
            key for key in ("mean", "std", "filter", "size") if key in description and key not in self._description
        ]
        if photo.fixed is not None and "size" in keys_taken:
            keys_taken.remove("size")
        self._add(BY_TENSORS if by_names else BY_GRAPH, description)
        if keys_taken and not by_names:
            self.lines.append(
                f"{self.title}: is {_article(family)} by its graph, and is given the {', '.join(keys_taken)} of "
                f"{spec.title}; settle it with {_quote_keys(keys_taken)}"
            )

    def _ending(self, output: str) -> Description:
        """What the last operator of an output of one mask says of it: whether it is logits."""
        logits = self.file.lacks_activation(output)
        return {"channel": 0, "activation": "sigmoid" if logits else "none", "range": 1.0}

    def _facts(self, photo: PhotoInput) -> Description:
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

    def _add_guesses(self, photo: PhotoInput) -> None:
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

    def _add_output(self, in_catalogue: bool) -> None:
        """Which output is the mask and how: by the graph where that says it, else by a trial."""
        if in_catalogue:
            self._add(FILE, {"output": self.file.outputs[0]})
            return
        if "output" in (values := self._description):
            output = str(values["output"])
            if self.declarations.channels_of(output) == 1 and self.signs.votes(output) is None:
                self._add(FILE, {"channel": 0})
            self._add(GRAPH, self.signs.ending(output))
        values, origins = merge(self.sources)
        if values.get("activation") in ("sigmoid", "softmax"):  # which give 0..1
            self._add(origins["activation"], {"range": 1.0})
        values = self._description
        if {"output", "channel", "activation", "range"} <= set(values):
            return
        findings = trial.findings(self.file, complete({"output": 0, **values}), self.model.sha256)
        description = trial.choose(findings, values)
        if (
            description
            and "channel" not in {**description, **values}
            and trial.is_class_map(findings, str(description["output"]))
        ):
            raise ModelUnavailableError(
                f"{self.title}: gives {description['output']}, a map of several classes; say which one is the "
                "foreground by 'channel'"
            )
        self._add(TRIAL, description)
        if description:
            self._trial_line(description, set(values))
        output = str(values.get("output", description.get("output", self.file.outputs[0])))
        self._add(GUESS, {"output": output, **self._ending(output)})

    def _trial_line(self, description: Description, known_keys: set[str]) -> None:
        """Say what the trial settled; that an output has but one channel needs no word."""
        words = {
            "output": f"output {description['output']}",
            "channel": f"channel {description['channel']}" if description.get("channel") else "",
            "activation": {"none": "no activation"}.get(description["activation"], description["activation"]),
            "range": f"0..{description['range']:g}" if description["range"] != 1 else "",
        }
        keys = [key for key, word in words.items() if key not in known_keys and word]
        if keys:
            self.trial_lines = [
                f"{self.title}: nothing says what its mask is; a trial on two synthetic photos shows "
                f"{', '.join(words[key] for key in keys)}; settle it with {_quote_keys(keys)}"
            ]

    def _say_guesses(self, values: Description, origins: dict[str, str]) -> None:
        guesses = [key for key in values if origins[key] == GUESS]
        imagenet = [word for key, word in (("mean", "mean"), ("std", "deviation")) if key in guesses]
        words: list[tuple[tuple[str, ...], Callable[[], str]]] = [
            (("layout",), lambda: values["layout"]),
            (("channels",), lambda: values["channels"]),
            (("scale", "mean", "std"), lambda: f"ImageNet's {' and '.join(imagenet) or 'scale'}"),
            (("filter",), lambda: values["filter"]),
            (("size",), lambda: str(values["size"])),
            (("output",), lambda: f"output {values['output']}"),
            (("activation",), lambda: f"activation {values['activation']}"),
        ]
        phrases = [(keys, word()) for keys, word in words if any(key in guesses for key in keys)]
        if not phrases:
            return
        keys = [key for group, _ in phrases for key in group if key in guesses]
        what = "how it wants its photo" if "mean" in guesses else f"its {', '.join(keys)}"
        self.lines.append(
            f"{self.title}: nothing says {what}; guessed {', '.join(word for _, word in phrases)}; "
            f"settle it with {_quote_keys(keys)}"
        )


def _fitting(description: Description, photo: PhotoInput) -> Description:
    """What of a description the file can have."""
    count = photo.count
    fits = {
        "layout": description.get("layout") == photo.layout,
        "dtype": description.get("dtype") == photo.dtype,
        "channels": CHANNELS[description.get("channels", "RGB")] == count,
        "mean": len(description.get("mean", ())) in (1, count),
        "std": len(description.get("std", ())) in (1, count),
    }
    return cast("Description", {key: value for key, value in description.items() if fits.get(key, True)})


def _with_scale(description: Description) -> Description:
    """The description with the scale that its mean and deviation imply: they are of 0..1, or of 0..255."""
    numbers = (*description.get("mean", ()), *description.get("std", ()))
    if not numbers or "scale" in description:
        return description
    return {**description, "scale": 1.0 if max(map(abs, numbers)) > LARGEST_UNIT else 1 / 255}


def _quote_keys(keys: Sequence[str]) -> str:
    return ", ".join(f"'{key}'" for key in keys)


def _article(family: Family) -> str:
    return f"{'an' if family[0] == 'I' else 'a'} {family}"
