"""From a network's output, in whatever form, to one mask.

A mask is one channel of height and width behind a batch of one; the axes that hold one element may be left out. The
channel axis is the first or the last of three: where the output's shape does not settle that, the model's layout does.

An integer map without channels holds a mask (0 and 1, or 0 to ``range``), or the index of each pixel's class, as an
ArgMax gives it. Where ``range`` is 1 and ``channel`` is 1 or more, it is a map of classes, and the mask is 1 where that
class is. Otherwise, ``channel`` 0 and -1 included, its values are the mask's own; with two classes that is class 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nss.errors import ModelUnavailableError, quoted
from nss.interfaces.interface import FixedSize

if TYPE_CHECKING:
    from nss.interfaces.interface import Interface

SHAPE_RATIO = 2.0
"""How far the mask's height over width may be from the input's, as a factor: what is further off is no mask."""


@dataclass(frozen=True)
class Form:
    """How an output holds its channels, each of height x width.

    Attributes:
        count: how many there are.
        last: whether they are the last axis, else they come first.
        is_classes: whether its integers are numbers of classes, of which ``channel`` is the mask.
    """

    height: int
    width: int
    count: int
    last: bool
    is_classes: bool = False


def mask_of(array: np.ndarray, interface: Interface) -> np.ndarray:
    """The mask that an output holds, float32 HxW, at the network's own size and not clipped.

    Args:
        array: the output, of floating point, integers or bool: HxW, 1xHxW, HxWx1, CxHxW, HxWxC, or one of these behind
            a batch of one.
        interface: says which channel it is, what activation is applied, and the value of full foreground.

    Raises:
        ModelUnavailableError: the output holds no such mask; the error names the key that would settle it.
    """
    if why := fault(array.shape, array.dtype, interface):
        raise ModelUnavailableError(f"the model {why}")
    form = _form(array.shape, interface)
    assert not isinstance(form, str)
    if _is_class_map(array.dtype, form, interface):
        class_mask: np.ndarray = (array.reshape(form.height, form.width) == interface.channel).astype(np.float32)
        return class_mask
    shape = (form.height, form.width, form.count) if form.last else (form.count, form.height, form.width)
    with np.errstate(over="ignore", invalid="ignore"):
        channels = np.moveaxis(array.reshape(shape), -1, 0) if form.last else array.reshape(shape)
        if interface.activation == "softmax":
            mask = _softmax(channels.astype(np.float32, copy=False), interface.channel)
        else:
            mask = channels[interface.channel].astype(np.float32, copy=False)
        if interface.activation == "sigmoid":
            mask = sigmoid(mask)
        return mask if interface.range == 1 else mask / np.float32(interface.range)


def form_of(shape: Sequence[int], dtype: np.dtype[Any], interface: Interface) -> Form | None:
    """How an output of this shape and dtype holds its mask; None where it holds none."""
    form = _form(shape, interface)
    if isinstance(form, str) or fault(shape, dtype, interface):
        return None
    return replace(form, is_classes=_is_class_map(dtype, form, interface))


def missing(outputs: Sequence[str], interface: Interface) -> str | None:
    """Why the interface's output is none of the file's, as the rest of a sentence; None where it is one."""
    output = interface.output
    if output in outputs if isinstance(output, str) else 0 <= output < len(outputs):
        return None
    listing = ", ".join(f"{index} {name}" for index, name in enumerate(outputs))
    return f"has no output {quoted(output)}, it has {listing}: say which one is the mask by 'output'"


def output_name(outputs: Sequence[str], interface: Interface) -> str:
    """The interface's output, of those of the file, by its name."""
    return interface.output if isinstance(interface.output, str) else outputs[interface.output]


def fault(
    shape: Sequence[int],
    dtype: np.dtype[Any],
    interface: Interface,
    *,
    name: str | None = None,
    channel_is_known: bool = True,
) -> str | None:
    """Why an output of this shape and dtype holds no mask, as the rest of a sentence; None where it does.

    Args:
        shape: of the output.
        dtype: of its elements.
        interface: what is to be made of it.
        name: the output's, where the interface has its index.
        channel_is_known: whether ``channel`` is more than a value that had to stand there.
    """
    gives = f"gives {name or interface.output} of {np.dtype(dtype).name}{list(shape)}"
    if np.dtype(dtype).kind not in "fiub":
        return f"{gives}, which are no numbers; say by 'output' which output is the mask"
    form = _form(shape, interface)
    if isinstance(form, str):
        return f"{gives}, {form}; say by 'output' which output is the mask"
    if form.count == 1 and interface.activation == "softmax":
        return f"{gives}, and softmax over one channel is 1 everywhere; say by 'activation' none or sigmoid"
    if form.count > 1 and not channel_is_known:
        return f"{gives}, {form.count} channels: say which one is the foreground by 'channel'"
    if not -form.count <= interface.channel < form.count and not _is_class_map(dtype, form, interface):
        channels = "1 channel" if form.count == 1 else f"{form.count} channels, 0 to {form.count - 1}"
        return f"{gives}, {channels}: there is no {interface.channel}; say which one is the foreground by 'channel'"
    return None


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """The mask, float32 in 0..1, of a network that gives its logits; any finite number is one."""
    mask: np.ndarray = np.tanh(logits * np.float32(0.5)) * np.float32(0.5) + np.float32(0.5)
    return mask


def _softmax(logits: np.ndarray, channel: int) -> np.ndarray:
    """One channel's part, of CxHxW."""
    highest = logits.max(axis=0)
    exponentials = np.exp(logits - highest)
    part: np.ndarray = exponentials[channel] / exponentials.sum(axis=0)
    return part


def _is_class_map(dtype: np.dtype[Any], form: Form, interface: Interface) -> bool:
    return (
        np.dtype(dtype).kind in "iu"
        and form.count == 1
        and interface.range == 1
        and interface.activation == "none"
        and interface.channel > 0
    )


def _form(shape: Sequence[int], interface: Interface) -> Form | str:
    """How an output of this shape holds its channels, or why it holds none."""
    axes = list(shape)
    while len(axes) > 4 and axes[0] == 1:
        axes.pop(0)
    if len(axes) == 4:
        if axes[0] != 1:
            return f"{axes[0]} masks and not one"
        axes.pop(0)
    if len(axes) == 2:
        axes.insert(0, 1)
    if len(axes) != 3:
        return "not one mask of height and width"
    first, middle, last = axes
    forms = [Form(middle, last, first, last=False), Form(first, middle, last, last=True)]
    forms = [form for form in forms if min(form.height, form.width) > 1 and form.count and _has_shape(form, interface)]
    if not forms:
        return "not one mask of the photo's height and width"
    return min(forms, key=lambda form: _rank(form, interface))


def _rank(form: Form, interface: Interface) -> tuple[bool, ...]:
    """The lowest is what it is: one channel, the input's shape, fewer channels than pixels a side, the layout."""
    return (
        form.count != 1,
        not _has_shape(form, interface, 1.0),
        form.count >= min(form.height, form.width),
        form.last != (interface.layout == "NHWC"),
    )


def _has_shape(form: Form, interface: Interface, ratio: float = SHAPE_RATIO) -> bool:
    """Whether a mask of this height and width has the input's shape, to a factor and one pixel."""
    if not isinstance(interface.size, FixedSize):
        return True
    proportional_height = form.width * interface.size.height / interface.size.width
    return proportional_height / ratio - 1 <= form.height <= proportional_height * ratio + 1
