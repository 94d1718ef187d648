"""A model's interface as people write it; tests/nss/cli/test_interface_options.py has what each key takes."""

from __future__ import annotations

import pytest

from nss.errors import UsageError
from nss.interfaces.interface import Description
from nss.interfaces.texts import TEXT_KEYS, parse_texts


def test_what_is_not_said_is_left_open() -> None:
    assert parse_texts({}) == parse_texts(dict.fromkeys(TEXT_KEYS), []) == {}
    assert {*TEXT_KEYS, "dtype", "inputs"} == set(Description.__annotations__)


def test_of_two_constants_with_one_name_the_last_one_stands() -> None:
    assert parse_texts({"mean": "0.5"}, ["a=1", "b=[2]", "a=3"]) == {"mean": (0.5,), "inputs": {"a": 3.0, "b": [2]}}


@pytest.mark.parametrize(
    ("key", "text"),
    [("channel", "1_0"), ("scale", "٣"), ("mean", "1 ٣"), ("size", "5_12"), ("range", "nan"), ("std", "1e999")],
)
def test_what_only_python_takes_for_a_number_is_none(key: str, text: str) -> None:
    with pytest.raises(UsageError, match=f"^'{key}' \"{text}\": .* is possible$"):
        parse_texts({key: text})


@pytest.mark.parametrize(
    "value", ["NaN", "[[0], [Infinity]]", f"[{'9' * 400}]", "[" * 100_000, "[" * 900 + "NaN" + "]" * 900]
)
def test_a_constant_is_made_of_numbers(value: str) -> None:
    with pytest.raises(UsageError, match=r"^'inputs' "):
        parse_texts({}, [f"a={value}"])
