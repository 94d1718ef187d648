"""The library's words in those of the API: it speaks of parameters, requests of fields (`nss.cli.option_words`)."""

from __future__ import annotations

import re

from nss.interfaces.interface import Description

_OTHERS = {"encoding": "format"}
"""Parameters whose field has another name."""

_QUOTED = re.compile(r"'([a-z_]+)'")


def in_fields(text: str) -> str:
    """A library's line with the names of fields for those of parameters, and of the keys of a model's interface."""

    def field(match: re.Match[str]) -> str:
        name = _OTHERS.get(match[1], match[1])
        return f"'model-{name}'" if name in Description.__annotations__ else f"'{name.replace('_', '-')}'"

    return _QUOTED.sub(field, text)
