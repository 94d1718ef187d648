"""What an ONNX file declares of its inputs and outputs, and which input takes the photo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx

import engine
from nss.errors import ModelUnavailableError
from nss.interfaces.interface import CHANNELS, Channels, Description, DType, EdgeSize, FixedSize, Layout, Size

if TYPE_CHECKING:
    from nss.interfaces.graph_signs import Signs

Dims = tuple[int | str, ...]
"""Declared dimensions; one that is open is a str."""

_DTYPES: dict[int, DType] = {
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.FLOAT16: "float16",
    onnx.TensorProto.UINT8: "uint8",
}
_BY_COUNT: dict[int, Channels] = {3: "RGB", 4: "RGBA", 1: "grey"}


class Declarations:
    """The inputs and outputs of a file as it declares them.

    Attributes:
        inputs: dimensions by name, of the inputs that a run must be given.
        types: ONNX's number of the element type by name, of all inputs, those with a default in the file too.
    """

    def __init__(self, file: engine.ModelFile) -> None:
        graph = file.proto.graph
        self.inputs: dict[str, Dims] = {
            name: tuple(dim if isinstance(dim, str) or dim > 0 else "?" for dim in dims)
            for name, dims in file.inputs.items()
        }
        self.types = {info.name: info.type.tensor_type.elem_type for info in graph.input}
        self._outputs = {info.name: info.type.tensor_type.shape.dim for info in graph.output}

    def dtype(self, name: str) -> DType | None:
        """The type of an input's elements, None for one that no photo comes in."""
        return _DTYPES.get(self.types.get(name, 0))

    def describe(self, name: str) -> str:
        """An input in words: "trimap of float[1, 1, h, w]"."""
        kind = self.types.get(name, 0)
        is_known = kind in onnx.TensorProto.DataType.values()
        word = onnx.TensorProto.DataType.Name(kind).lower() if is_known else "?"
        return f"{name} of {word}[{', '.join(map(str, self.inputs[name]))}]"

    def channels_of(self, output: str) -> int | None:
        """How many channels an output is declared with; None where its shape does not say."""
        dims = [dim.dim_value or None for dim in self._outputs.get(output, ())]
        if len(dims) == 4:
            dims = dims[1:]
        elif len(dims) == 3 and dims[0] is None:
            return None  # a batch of masks, or channels
        if len(dims) == 2:
            return 1
        if len(dims) != 3:
            return None
        ends = [dim for dim in (dims[0], dims[2]) if dim is not None]
        return min(ends) if 1 in ends or len(ends) == 2 else ends[0] if ends and ends[0] <= 4 else None


@dataclass(frozen=True)
class PhotoInput:
    """The input that takes the photo.

    Attributes:
        name: of the input.
        dtype: of its elements.
        layout: of its axes.
        layout_is_guessed: whether neither shape nor graph says which one.
        count: how many channels it has.
        channels: which they are, as far as that is known.
        height: in pixels, or None where the file leaves it open.
        width: likewise.
    """

    name: str
    dtype: DType
    layout: Layout
    layout_is_guessed: bool
    count: int
    channels: Channels
    height: int | None
    width: int | None

    @property
    def fixed(self) -> FixedSize | None:
        """The size that the file fixes; None where a side is open."""
        return FixedSize(self.height, self.width) if self.height and self.width else None

    def size(self, preference: Size) -> Size | None:
        """The size that the file allows, its open sides as ``preference`` has them; None where both are open."""
        if self.fixed is not None:
            return self.fixed
        if not (self.height or self.width):
            return None
        side = self.height or self.width or 1
        if isinstance(preference, EdgeSize):
            return FixedSize(self.height or side, self.width or side)
        return FixedSize(self.height or preference.height, self.width or preference.width)


def photo_input(
    declarations: Declarations, *, user_description: Description, description: Description, signs: Signs, title: str
) -> PhotoInput:
    """The input that takes the photo: the one that is named, else the first that is most like one.

    Args:
        declarations: what the file declares.
        user_description: what the user says, which must fit.
        description: what all say, which counts where it fits.
        signs: what stands in the graph.
        title: the model's name in an error.

    Where the user's description contradicts the file, it wins here, as does an input that is none: opening the model
    refuses it.

    Raises ModelUnavailableError where no input takes a photo.
    """
    if not declarations.inputs:
        raise ModelUnavailableError(f"{title}: has no input, and so takes no photo; export it with the photo as one")
    names = [description["input"]] if "input" in description else list(declarations.inputs)
    forms = {
        name: _axes(declarations.inputs[name], user_description.get("layout"))
        for name in names
        if declarations.dtype(name)
    }
    candidates = [name for name in names if forms.get(name)]
    if not candidates and "input" not in description and len(names) != 1:
        inputs = ", ".join(map(declarations.describe, names))
        raise ModelUnavailableError(f"{title}: takes {inputs}, none of them a photo; say which one by 'input'")
    if not candidates:
        return _unlike(declarations, names[0], description)
    name = min(
        candidates, key=lambda name: _CHANNEL_PREFERENCE.index(_count(declarations.inputs[name], forms[name][0]))
    )
    dims, axes = declarations.inputs[name], forms[name]
    # both ends may hold the channels only where both are open
    is_open = len(axes) > 1 and _count(dims, axes[0]) is None and _count(dims, axes[1]) is None
    axis = axes[0]
    certain = not is_open or "layout" in description
    if is_open and "layout" in description:
        axis = -1 if description["layout"] == "NHWC" else -3
    elif is_open and signs.transposes(name):
        axis, certain = -1, True
    rows, columns = (dims[-3], dims[-2]) if axis == -1 else (dims[-2], dims[-1])
    channel_count = CHANNELS[description["channels"]] if "channels" in description else None
    count = _count(dims, axis) or channel_count or signs.channels(name)
    count = count if count in _BY_COUNT else 3
    return PhotoInput(
        name=name,
        dtype=declarations.dtype(name) or "float32",
        layout="NHWC" if axis == -1 else "NCHW",
        layout_is_guessed=not certain,
        count=count,
        channels=description["channels"] if "channels" in description and channel_count == count else _BY_COUNT[count],
        height=rows if isinstance(rows, int) else None,
        width=columns if isinstance(columns, int) else None,
    )


def _unlike(declarations: Declarations, name: str, description: Description) -> PhotoInput:
    """An input that takes no photo, as one that does."""
    channels = description.get("channels", "RGB")
    return PhotoInput(
        name=name,
        dtype=description.get("dtype", declarations.dtype(name) or "float32"),
        layout=description.get("layout", "NCHW"),
        layout_is_guessed=True,
        count=CHANNELS[channels],
        channels=channels,
        height=None,
        width=None,
    )


_CHANNEL_PREFERENCE = (3, None, 4, 1)
"""Numbers of channels, from the one that is most like a photo; None is an open one."""


def _count(dims: Dims, axis: int) -> int | None:
    dim = dims[axis]
    return dim if isinstance(dim, int) else None


def _axes(dims: Dims, layout: Layout | None) -> list[int]:
    """Where an input may have its channels, -3 or -1, the likelier first; ``layout`` is the user's."""
    if len(dims) not in (3, 4) or (len(dims) == 4 and dims[0] != 1 and isinstance(dims[0], int)):
        return []
    axes = [-3, -1] if layout is None else [-1 if layout == "NHWC" else -3]
    candidates = [axis for axis in axes if _count(dims, axis) in (None, *_BY_COUNT)]
    return sorted(candidates, key=lambda axis: (3, 4, 1, None).index(_count(dims, axis)))
