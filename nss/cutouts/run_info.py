"""What made a cut-out, and in which time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nss.timing import Milliseconds


@dataclass(frozen=True)
class RunInfo:
    """What made a cut-out.

    Attributes:
        model: the model's name; None where the mask was given.
        model_sha256: SHA-256 of the model file, 64 hexadecimal digits, or None.
        backend: the engine's backend that ran, ``"numpy"`` for instance, or None.
        device: the adapter or processor it ran on, or None.
        backend_reason: why that backend ran.
        precision: ``"f32"``, ``"f32-split"`` where a GPU's matrix units multiplied, or ``"f16"``; None where no
            network ran.
        mask: the file of the mask that was given, or None.
        mask_sha256: SHA-256 of that file where it cannot be read again, as a pipe cannot; else None.
        milliseconds: wall time by stage: decode, load_model, preprocess, infer, postprocess; then one for each step of
            a refinement, and compose and encode once saved. Only the first image of a :class:`nss.Remover` carries the
            time that its model took to load.
        stages: where the stages around the network ran, ``"webgpu"`` or ``"numpy"``: preprocess, postprocess, and those
            of a refinement; empty where no network ran.
        model_config: the model's interface: ``values``, and their ``origins`` by key; None where the mask was given.
    """

    model: str | None
    model_sha256: str | None
    backend: str | None
    device: str | None
    backend_reason: str = ""
    precision: str | None = "f32"
    mask: Path | None = None
    milliseconds: Mapping[str, float] = field(default_factory=Milliseconds)
    mask_sha256: str | None = None
    model_config: dict[str, Any] | None = None
    stages: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "milliseconds", Milliseconds(self.milliseconds))

    def timed(self, times: Mapping[str, float], stages: Mapping[str, str] | None = None) -> RunInfo:
        """The same, with the times of further stages, and where they ran."""
        return replace(self, milliseconds={**self.milliseconds, **times}, stages={**self.stages, **(stages or {})})
