"""A form: how to build its network, its interface, and what of that no file can tell."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import onnx

from nss.interfaces.interface import IMAGENET_MEAN, IMAGENET_STD
from tools.forms.net import Net

Outcome = Literal["right", "said", "refused"]
"""What becomes of a photo: the right mask; a wrong one, with a line that names what was guessed; or none, likewise."""

DEFAULTS: dict[str, Any] = {
    "input": "image",
    "layout": "NCHW",
    "dtype": "float32",
    "channels": "RGB",
    "size": [48, 64],
    "scale": 1 / 255,
    "mean": list(IMAGENET_MEAN),
    "std": list(IMAGENET_STD),
    "filter": "bilinear-antialias",
    "output": "result",
    "channel": 0,
    "activation": "none",
    "range": 1,
    "inputs": {},
}
"""The interface of a form that says nothing else."""

BYTES: dict[str, Any] = {"layout": "NHWC", "dtype": "uint8", "scale": 1, "mean": [0.0], "std": [1.0], "range": 255}
"""What differs from that where photo and mask are what an image file holds: uint8, 0..255, channels last."""


@dataclass(frozen=True)
class Form:
    """A small network in one of the forms that people have.

    Attributes:
        name: in a word or two.
        what: in half a sentence.
        build: writes it.
        interface: the whole of it, as ``model_config`` takes it.
        alone: the least that must come of it where nobody says anything.
        untold: keys of the interface that nothing in the files says, so that a guess may be wrong.
        metadata: the file's ``metadata_props``.
        path: of the model file in a folder of its own.
        files: what else lies in that folder, JSON by path.
        channel_axis: of the output, where it has several channels.
    """

    name: str
    what: str
    build: Callable[[Net], None]
    interface: Mapping[str, Any]
    alone: Outcome = "right"
    untold: frozenset[str] = frozenset()
    metadata: Mapping[str, str] = field(default_factory=dict)
    path: str = "model.onnx"
    files: Mapping[str, Any] = field(default_factory=dict)
    channel_axis: int | None = None

    def model(self) -> onnx.ModelProto:
        """The network."""
        net = Net(self.interface)
        self.build(net)
        return net.file(self.metadata)

    def write(self, folder: Path) -> Path:
        """The network's file, with those beside it, in a folder; its path."""
        contents = {path: json.dumps(content).encode() for path, content in self.files.items()}
        for path, content in {**contents, self.path: self.model().SerializeToString()}.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        return folder / self.path


class Forms(dict[str, Form]):
    """Forms by name, with a decorator for the functions that build them."""

    def form(
        self,
        name: str,
        what: str,
        *,
        alone: Outcome = "right",
        untold: str = "",
        metadata: Mapping[str, str] | None = None,
        path: str = "model.onnx",
        files: Mapping[str, Any] | None = None,
        channel_axis: int | None = None,
        **interface: Any,
    ) -> Callable[[Callable[[Net], None]], Callable[[Net], None]]:
        """A decorator that adds a form; keys of the interface that are left out are those of ``DEFAULTS``."""

        def add(build: Callable[[Net], None]) -> Callable[[Net], None]:
            assert name not in self
            self[name] = Form(
                name=name,
                what=what,
                build=build,
                interface={**DEFAULTS, **interface},
                alone=alone,
                untold=frozenset(untold.split()),
                metadata=metadata or {},
                path=path,
                files=files or {},
                channel_axis=channel_axis,
            )
            return build

        return add
