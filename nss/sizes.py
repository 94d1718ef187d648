"""Sizes in bytes, as people write them."""

from __future__ import annotations

import re

MOST_BYTES = 1 << 62
"""More than any disk or memory has is as good as that, and infinity no integer."""

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def parse_size(text: str) -> int | None:
    """The bytes of "500M", "1.5 GiB", "2g" or "4096"; None where it is no size. K, M, G and T are powers of 1024."""
    number = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.ASCII | re.IGNORECASE)
    if number is None:
        return None
    return int(min(float(number[1]) * _UNITS[number[2].upper()], float(MOST_BYTES)))
