"""Parts of WGSL expressions: types, constants, conversions, and the functions that they call.

In the kernels that evaluate them ``F``, ``I``, ``U`` and ``B`` are f32, i32, u32 and bool, or vectors of four of them.
Literals are written ``F(0.5)``, which is both. An operand that is used twice is a name, so that nothing is computed
twice. Functions that WGSL lacks, or has with another meaning, are in shaders/functions, one a file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import isinf, isnan
from typing import Any

import numpy as np

from engine.graph.dtypes import byte_dtype, is_four_bit, limits

KINDS = {"f": "F", "i": "I", "u": "U", "b": "B"}


def kind_of(dtype: np.dtype[Any]) -> str:
    """The alias of the WGSL type that holds elements of ``dtype``."""
    return KINDS[byte_dtype(dtype).kind]


def literal(value: float, kind: str = "F") -> str:
    """A constant of that kind."""
    if kind == "B":
        return "B(true)" if value else "B(false)"
    if kind != "F":
        low, high = limits(np.dtype(np.int32 if kind == "I" else np.uint32))
        integer = min(max(int(value), low), high)
        # WGSL parses -2147483648 as the negation of a number that i32 does not hold
        return "I(-2147483647 - 1)" if integer == -(1 << 31) else f"{kind}({integer}{'u' if kind == 'U' else ''})"
    single = float(np.float32(value))
    if isnan(single):
        return "quiet_nan()"
    if isinf(single):
        return "infinity()" if single > 0 else "(-infinity())"
    return f"F({single!r})"


def conversion(x: str, source: np.dtype[Any], target: np.dtype[Any]) -> str:
    """The conversion of ``x`` from ``source`` to ``target``, as in engine/ops/cast.py.

    Floats truncate and saturate, integers wrap. 64-bit integers saturate at 32 bits, in which they are stored. What a
    float becomes at four bits is what quantising needs: a Cast wraps there.
    """
    source_kind, target_kind = kind_of(source), kind_of(target)
    if target_kind == "B":
        # not !=, which naga evaluates to false for NaN
        return x if source_kind == "B" else f"!({x} == {literal(0, source_kind)})"
    if source_kind == "B":
        return f"select({literal(0, target_kind)}, {literal(1, target_kind)}, {x})"
    if target_kind == "F":
        y = x if source_kind == "F" else f"F({x})"
        return f"rounded_half({y})" if target == np.float16 and source != np.float16 else y
    if source_kind != "F":
        return wrap(x if source_kind == target_kind else f"{target_kind}({x})", target)
    y = f"truncated({x})" if target_kind == "I" else f"truncated_unsigned({x})"
    if target.itemsize >= 4:
        return y
    low, high = limits(target)
    return f"clamp({y}, {literal(low, target_kind)}, {literal(high, target_kind)})"


def wrap(text: str, dtype: np.dtype[Any]) -> str:
    """``text`` wrapped to the width of ``dtype``, where that is an integer type of 4, 8 or 16 bits."""
    if byte_dtype(dtype).kind not in "iu" or dtype.itemsize >= 4:
        return text
    bits = 28 if is_four_bit(dtype) else 32 - 8 * dtype.itemsize
    return f"(({text} << U({bits}u)) >> U({bits}u))"


def functions_in(texts: Sequence[str]) -> list[str]:
    """The names of the files of shaders/functions that the expressions call, callees before callers."""
    names: list[str] = []

    def visit(text: str) -> None:
        for name in re.findall(r"\b([a-z][a-z0-9_]*)\(", text):
            if name in _library() and name not in names:
                visit(_library()[name])
                if name not in names:
                    names.append(name)

    for text in texts:
        visit(text)
    return names


def _library() -> dict[str, str]:
    global _functions
    if _functions is None:
        from importlib.resources import files

        folder = files("shaders").joinpath("functions")
        _functions = {
            entry.name.removesuffix(".wgsl"): entry.read_text(encoding="utf-8").split("{", 1)[1]
            for entry in folder.iterdir()
            if entry.name.endswith(".wgsl")
        }
    return _functions


_functions: dict[str, str] | None = None
