"""The secret that calls name: out of a file, or made new at each start."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nss.errors import UsageError, quoted

VARIABLE = "NSS_SERVE_TOKEN_FILE"
"""The environment's variable that names the file."""

LEAST = 16
MOST = 1024
"""How many characters a token that is given by hand has."""

_CHARACTERS = re.compile(r"[A-Za-z0-9._~+/=-]+")
"""What both a header and the fragment of a URL take as it is."""


@dataclass(frozen=True)
class Token:
    """A secret.

    Attributes:
        text: what callers send; not in what is printed of the object.
        is_given: whether it was given by hand, so that it is the same at the next start.
    """

    text: str = field(repr=False)
    is_given: bool = False

    def is_right(self, text: str) -> bool:
        """Whether a caller knows it, in a time that says nothing of how much was right."""
        return secrets.compare_digest(text.encode(), self.text.encode())


def read_token(environ: Mapping[str, str]) -> Token:
    """The token of the file that ``NSS_SERVE_TOKEN_FILE`` names, or without that a new one of 256 bits.

    Raises UsageError where the file cannot be read, or what stands in it is too short or cannot stand in a header.
    """
    name = environ.get(VARIABLE)
    if not name:
        return Token(secrets.token_urlsafe(32))
    try:
        with Path(name).open("rb") as file:
            content = file.read(MOST + 3)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{VARIABLE} {quoted(name)}: cannot be read ({reason}); write a token into it") from error
    text = content.decode("latin-1").strip()
    if not LEAST <= len(text) <= MOST or not _CHARACTERS.fullmatch(text):
        raise UsageError(
            f"{VARIABLE} {quoted(name)}: holds no token: {LEAST} to {MOST} letters, digits and . _ ~ + / = - are "
            "wanted, which `openssl rand -hex 32` gives"
        )
    return Token(text, is_given=True)
