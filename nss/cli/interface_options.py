"""Options that say what a model wants of a photo and where its mask is: ``--model-mean`` and its kin.

Each is a key of `nss.interfaces.interface.Interface`, under ``--model-`` and its name; ``--model-config`` is a file of
them all.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from nss.cli.help_sections import INTERFACE
from nss.errors import UsageError
from nss.interfaces.interface import Description, merge, read_config
from nss.interfaces.texts import parse_texts

PREFIX = "--model-"
CONFIG = "--model-config"


def _option(key: str, metavar: str, help: str) -> Any:  # noqa: A002 - typer's word
    return typer.Option(f"{PREFIX}{key}", rich_help_panel=INTERFACE, metavar=metavar, help=help, show_default=False)


ConfigOption = Annotated[
    str | None,
    _option(
        "config",
        "FILE",
        "JSON of what the next options say, under mean, size and so on; they win over it.",
    ),
]
InputOption = Annotated[str | None, _option("input", "NAME", "The model's input that takes the photo.")]
LayoutOption = Annotated[str | None, _option("layout", "NCHW|NHWC", "The order of its axes.")]
ChannelsOption = Annotated[str | None, _option("channels", "RGB|BGR|RGBA|grey", "Its channels.")]
SizeOption = Annotated[
    str | None,
    _option(
        "size",
        "SIZE",
        "512, 384x512 (height x width), or shortest:512/32, longest:1024/32: that edge, both multiples of 32.",
    ),
]
ScaleOption = Annotated[str | None, _option("scale", "X", "What the photo's 0..255 are multiplied by, 1/255 say.")]
MeanOption = Annotated[
    str | None, _option("mean", "A,B,C", "What is then taken off, one number a channel or one for all.")
]
StdOption = Annotated[str | None, _option("std", "A,B,C", "What the rest is divided by.")]
FilterOption = Annotated[
    str | None,
    _option("filter", "NAME", "How it is resized: nearest, bilinear, or bilinear-, bicubic- or lanczos-antialias."),
]
OutputOption = Annotated[str | None, _option("output", "NAME|INDEX", "The output that is the mask.")]
ChannelOption = Annotated[
    str | None, _option("channel", "N", "Its channel that is the foreground; -1 is the last one.")
]
ActivationOption = Annotated[
    str | None, _option("activation", "none|sigmoid|softmax", "What makes a mask of the output.")
]
RangeOption = Annotated[str | None, _option("range", "1|255", "What full foreground is in the output.")]
InputsOption = Annotated[
    list[str] | None,
    _option("inputs", "NAME=VALUE", "A constant for another input, a number or JSON; may be given several times."),
]


def interface(
    model_config: ConfigOption = None,
    model_input: InputOption = None,
    model_layout: LayoutOption = None,
    model_channels: ChannelsOption = None,
    model_size: SizeOption = None,
    model_scale: ScaleOption = None,
    model_mean: MeanOption = None,
    model_std: StdOption = None,
    model_filter: FilterOption = None,
    model_output: OutputOption = None,
    model_channel: ChannelOption = None,
    model_activation: ActivationOption = None,
    model_range: RangeOption = None,
    model_inputs: InputsOption = None,
) -> Description:
    """What they say of the model's interface; those of the file stand where no option does.

    Raises UsageError, which names the key (`nss.cli.option_words`), for a value that is none.
    """
    texts = {
        "input": model_input,
        "layout": model_layout,
        "channels": model_channels,
        "size": model_size,
        "scale": model_scale,
        "mean": model_mean,
        "std": model_std,
        "filter": model_filter,
        "output": model_output,
        "channel": model_channel,
        "activation": model_activation,
        "range": model_range,
    }
    options, file = parse_texts(texts, model_inputs), _from_file(model_config)
    return merge([("option", options), ("file", file)])[0]


def _from_file(path: str | None) -> Description:
    if path is None:
        return {}
    try:
        return read_config(path)
    except UsageError as error:
        raise UsageError(f"{CONFIG} {error}") from error
