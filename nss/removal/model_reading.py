"""A model's file, read: what is in it, its interface, and what a session binds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import engine
from nss.errors import ModelUnavailableError
from nss.interfaces.interface import Description, Interface
from nss.models import local_models
from nss.removal import mask_output, model_inputs, preprocess
from nss.removal.description import interface_of
from nss.removal.model_inputs import image_shape
from nss.removal.resolved_interface import ResolvedInterface


def read(
    model: local_models.ResolvedModel, user_description: Description | None = None
) -> tuple[engine.ModelFile, ResolvedInterface]:
    """The model file and its interface, checked against the file's inputs and outputs.

    Raises ModelUnavailableError where they contradict each other or something is left open, UsageError where
    ``user_description`` contradicts itself, and what reading the file raises (see `nss.removal.opening`).
    """
    file = read_file(model)
    resolved_interface = interface_of(file, model, user_description)
    model_inputs.constants(file, resolved_interface.interface)
    why = model_inputs.fault(file, resolved_interface.interface) or mask_output.missing(
        file.outputs, resolved_interface.interface
    )
    if why:
        raise ModelUnavailableError(f"{model.path}: {why}")
    preprocess.normalisation(resolved_interface.interface)
    return file, resolved_interface


def bindings(file: engine.ModelFile, interface: Interface, shape: Sequence[int] | None = None) -> dict[str, Any]:
    """What `engine.Session` and `engine.compare` bind for an input of this shape: by default, of a square photo."""
    shape = shape or image_shape(interface)
    rank = len(file.inputs[interface.input]) or len(shape)
    return {
        "input_shapes": {interface.input: shape[len(shape) - rank :]},
        "input_values": model_inputs.constants(file, interface),
        "outputs": [mask_output.output_name(file.outputs, interface)],
    }


def read_file(model: local_models.ResolvedModel) -> engine.ModelFile:
    """The model file. Raises what `engine.ModelFile.read` does."""
    return engine.ModelFile.read(model.path if model.content is None else model.content)
