"""The library's words in those of the command: it speaks of parameters, the command of options.

The rule for what a library error or note says: the name of a parameter, or of a key of a model's interface, stands in
single quotes (``raise 'max_pixels'``), and a value never does (`nss.errors.quoted`); a call stands in backticks. What
another package said, the engine for instance, may quote names of its own, and is left as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from nss.errors import NssError, one_line

PARAMETERS = (
    *("backend", "device", "precision", "require_gpu", "max_pixels", "model", "model_config", "model_variant", "mask"),
    "image_backend",
    *("guided", "black", "white", "threshold", "drop_islands", "fill_holes", "smooth", "expand", "feather"),
    *("background", "hidden", "decontaminate", "invert", "mask_only", "mask_bits", "crop", "keep_exif", "keep_gps"),
    *("format", "quality", "effort", "jobs", "memory"),
)
"""Parameters that the options of the same name set."""

OF_A_SERVER = {
    **{name: "--" + name.replace("_", "-") for name in ("host", "port", "allow_remote", "queue", "watch", "exists")},
    "public_urls": "--public-url",
    "allowed_origins": "--allow-origin",
    "body_bytes": "--max-bytes",
    "pixels": "--max-pixels",
    "keep_seconds": "--keep",
}
"""Fields of `nss.serve.settings.ServeSettings` and `nss.serve.limits.Limits`, and the options that set them."""

CALLS = {"`engine.devices()`": "`nss-wgpu devices`"}
"""What a program calls, and the command that does the same."""

_QUOTED = re.compile(r"'([a-z_]+)'")


@cache
def option_names() -> dict[str, str]:
    """The option for each parameter, and for each key of a model's interface."""
    from nss.interfaces.interface import Description

    keys = dict.fromkeys(Description.__annotations__)
    return {
        **{name: "--" + name.replace("_", "-") for name in PARAMETERS},
        **{key: f"--model-{key}" for key in keys},
        **OF_A_SERVER,
        "overwrite": "--exists overwrite",
        "ordered": "--unordered",
        "dtype": "--model-config",  # the one key without an option of its own
        "encoding": "--format",
        "allow_fetch": "`nss-wgpu models pull`",
    }


def in_options(text: str, verbatim: Iterable[str] = ()) -> str:
    """A library's line with options for parameters; the passages of ``verbatim`` keep their quotes."""
    for call, command in CALLS.items():
        text = text.replace(call, command)
    passages = [re.escape(passage) for passage in verbatim if "'" in passage]
    if not passages:
        return _QUOTED.sub(lambda match: option_names().get(match[1], match[0]), text)
    parts = re.split(f"({'|'.join(passages)})", text)
    return "".join(part if i % 2 else in_options(part) for i, part in enumerate(parts))


def error_in_options(error: NssError) -> str:
    """The error's line, with what other packages said within it as they said it."""
    foreign: list[str] = []
    cause: BaseException | None = error
    while cause is not None:
        if not isinstance(cause, NssError):
            foreign.append(one_line(cause))
        cause = cause.__cause__
    return in_options(one_line(error), foreign)
