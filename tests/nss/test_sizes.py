"""Sizes as people write them."""

from __future__ import annotations

import pytest

from nss.sizes import MOST_BYTES, parse_size


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [
        ("0", 0),
        ("4096", 4096),
        ("10B", 10),
        ("1k", 1024),
        ("500M", 500 << 20),
        (" 2 GiB ", 2 << 30),
        ("1.5gb", 3 << 29),
        ("1T", 1 << 40),
        ("9" * 400, MOST_BYTES),
    ],
)
def test_sizes(text: str, nbytes: int) -> None:
    assert parse_size(text) == nbytes


@pytest.mark.parametrize("text", ["", "G", "-1", "1,5G", "1 P", "half", "1e9", "٣", "nan", "1G 2"])
def test_no_sizes(text: str) -> None:
    assert parse_size(text) is None
