"""The kernels around a network as data, for a page that runs compiled models and has this package's tables of weights.

They are those that ``engine.gpu.images`` runs, rendered for RGBA pixels, a word each, and for planes of float32 up to
the composed picture. A kernel knows nothing of a photo's size: that is uniforms and tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from engine.caps import PORTABLE_LIMITS
from engine.compiled.model import TensorPlace
from engine.gpu.images.composition import SURVEYED, Backdrop, compose_dispatch, survey_dispatch
from engine.gpu.images.mask_output import plane_dispatches
from engine.gpu.images.network_input import TILE, input_dispatch, pixel_words
from engine.gpu.plan.limits import Limits
from engine.gpu.program.dispatch import INVOCATIONS, Dispatch
from engine.gpu.program.program import Program
from engine.gpu.program.tensor import new_tensor
from engine.images import Dilation, LineWeights, MaskOutput, PixelInput, Smoothing
from engine.version import __version__

FORMAT = 1
RGBA_BYTES = 4


def image_kernels() -> dict[str, Any]:
    """The kernels as one object of plain JSON; the same in every process.

    ``format`` is 1, ``engine`` the version that wrote it, and ``kernels`` a list. Of each:

    - ``kernel`` and ``constants``: its template in shaders/, and what that was rendered with; both are its name.
    - ``wgsl``: the source, with the entry point ``main``, within the limits that every device of WebGPU has.
    - ``uniforms``: the names of the i32 in binding 0, in their order. ``first`` and ``count`` are the rows that are
      computed of the result, ``base_<name>`` is where element 0 of an operand lies in its binding, in items; those that
      hold a float32 hold its bits.
    - ``bindings``: those from 1 on, each with its ``name``, the WGSL type of an ``item`` and its ``access``.
    - ``covers``: what one workgroup does: so many ``[items]`` of the rows one behind the other, workgroups being
      counted along x and then along y; or ``[columns, rows]``.
    """
    limits = Limits(PORTABLE_LIMITS)
    programs: dict[Program, Dispatch] = {}
    for dispatch in _variants():
        program = Program.of(dispatch)
        if program not in programs:
            limits.check_dispatch(dispatch)
            limits.check_source(dispatch, program.source)
            programs[program] = dispatch
    return {
        "format": FORMAT,
        "engine": __version__,
        "kernels": [_as_json(program, dispatch) for program, dispatch in programs.items()],
    }


def _as_json(program: Program, dispatch: Dispatch) -> dict[str, Any]:
    named = [f"base_{parameter.name}" for parameter in program.parameters]
    covers = [TILE, TILE] if program.kernel == "images/network_input" else [INVOCATIONS]
    if program.kernel == "images/survey":
        covers = [SURVEYED]
    assert isinstance(dispatch.grid(1), tuple) == (len(covers) == 2)
    return {
        "kernel": program.kernel,
        "constants": dict(program.constants),
        "wgsl": program.source,
        "uniforms": ["first", "count", *named, *program.uniforms],
        "bindings": [
            {"name": parameter.name, "item": parameter.item, "access": parameter.access}
            for parameter in program.parameters
        ],
        "covers": covers,
    }


def _variants() -> Iterator[Dispatch]:
    """A dispatch of each kernel, over a picture of four pixels."""
    yield from _inputs()
    yield from _masks()
    plane, pixels = new_tensor((4,), "f32", "plane"), new_tensor((4,), "u32", "pixels")
    for background in (None, Backdrop((0.0, 0.0, 0.0), 1.0)):
        yield compose_dispatch(plane, pixels, (2, 2), background=background)
    yield survey_dispatch(plane, new_tensor((3,), "u32", "survey"))


def _inputs() -> Iterator[Dispatch]:
    for channels in (1, 3, 4):
        for dtype, storage in (("float32", "f32"), ("float16", "f32"), ("uint8", "u32")):
            for backdrop in (None, (0, 0, 0)):
                if channels == 4 and backdrop is not None:
                    continue  # a network that is shown a photo's own alpha: the host prepares that
                place = TensorPlace("x", dtype, (1, channels, 2, 2), storage, 0, 0)
                matrix = ((0.0, 0.0, 0.0),) * channels
                source = PixelInput(np.zeros((2, 2, 3), np.uint8), _lines(), _lines(), matrix, offset=(0.0,) * channels)
                yield input_dispatch(
                    source,
                    pixel_words(2, 2, RGBA_BYTES),
                    new_tensor(place.shape, place.storage, "x"),
                    place,
                    pixel_bytes=RGBA_BYTES,
                    backdrop=backdrop,
                )


def _masks() -> Iterator[Dispatch]:
    mask = MaskOutput(_lines(), _lines())
    for settings, storages in _activations():
        for storage in storages:
            yield from _planes(replace(mask, **settings), storage)
    steps: Iterable[dict[str, Any]] = (
        {"levels": (0.0, 0.5)},
        {"smoothing": Smoothing((1.0,), (1.0,), 0.5)},
        {"dilation": Dilation(())},
        {"dilation": Dilation((), complement=True)},
        {"blur": (1.0,)},
    )
    for step in steps:
        yield from _planes(replace(mask, **step), "f32")


def _activations() -> Iterator[tuple[dict[str, Any], tuple[str, ...]]]:
    yield {"activation": "none"}, ("f32", "i32", "u32")
    yield {"activation": "sigmoid"}, ("f32",)
    yield {"activation": "softmax", "channels": 2}, ("f32",)
    yield {"activation": "equal"}, ("i32", "u32")


def _planes(mask: MaskOutput, storage: Any) -> list[Dispatch]:
    place = TensorPlace("y", "float32", (1, mask.channels, 2, 2), storage, 0, 0)
    return plane_dispatches(mask, new_tensor(place.shape, storage, "y"), place)[0]


def _lines() -> LineWeights:
    return LineWeights(2, np.zeros(2, np.int32), np.ones(2, np.int32), np.ones((2, 1), np.float32))
