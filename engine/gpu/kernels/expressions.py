"""Parts of WGSL expressions: types, constants, conversions, and the functions that they call.

In the kernels that evaluate them ``F``, ``I``, ``U`` and ``B`` are f32, i32, u32 and bool, or vectors of four of them.
Literals are written ``F(0.5)``, which serves both. An operand that is used twice is a name, so that nothing is computed
twice. Functions that WGSL lacks, or has with another meaning, lie in shaders/functions, one a file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import isinf, isnan
from typing import Any

import numpy as np

KINDS = {"f": "F", "i": "I", "u": "U", "b": "B"}


def kind_of(dtype: np.dtype[Any]) -> str:
    """The alias of the WGSL type that holds elements of ``dtype``."""
    return KINDS[dtype.kind]


def literal(value: float, kind: str = "F") -> str:
    """A constant of that kind."""
    if kind == "B":
        return "B(true)" if value else "B(false)"
    if kind != "F":
        limits = np.iinfo(np.int32 if kind == "I" else np.uint32)
        clamped = min(max(int(value), int(limits.min)), int(limits.max))
        # WGSL reads -2147483648 as the negation of a number that no i32 holds
        return "I(-2147483647 - 1)" if clamped == -(1 << 31) else f"{kind}({clamped}{'u' if kind == 'U' else ''})"
    single = float(np.float32(value))
    if isnan(single):
        return "quiet_nan()"
    if isinf(single):
        return "infinity()" if single > 0 else "(-infinity())"
    return f"F({single!r})"


def converted(x: str, source: np.dtype[Any], target: np.dtype[Any]) -> str:
    """``x`` of ``source`` as ``target``, as engine/ops/cast.py has it: floats truncate and saturate, integers wrap.

    64-bit integers saturate at 32 bits, which is what they are stored in.
    """
    one, other = kind_of(source), kind_of(target)
    if other == "B":
        # not !=, which naga makes false of NaN
        return x if one == "B" else f"!({x} == {literal(0, one)})"
    if one == "B":
        return f"select({literal(0, other)}, {literal(1, other)}, {x})"
    if other == "F":
        y = x if one == "F" else f"F({x})"
        return f"rounded_half({y})" if target == np.float16 and source != np.float16 else y
    if one != "F":
        return wrapped(x if one == other else f"{other}({x})", target)
    y = f"truncated({x})" if other == "I" else f"truncated_unsigned({x})"
    if target.itemsize >= 4:
        return y
    limits = np.iinfo(target)
    return f"clamp({y}, {literal(int(limits.min), other)}, {literal(int(limits.max), other)})"


def wrapped(text: str, dtype: np.dtype[Any]) -> str:
    """``text`` reduced to the width of an 8- or 16-bit integer type, as its arithmetic wraps."""
    if dtype.kind not in "iu" or dtype.itemsize >= 4:
        return text
    bits = 32 - 8 * dtype.itemsize
    return f"(({text} << U({bits}u)) >> U({bits}u))"


def functions_in(texts: Sequence[str]) -> list[str]:
    """The files of shaders/functions that the expressions call, those that these call before them."""
    found: list[str] = []

    def visit(text: str) -> None:
        for name in re.findall(r"\b([a-z][a-z0-9_]*)\(", text):
            if name in _library() and name not in found:
                visit(_library()[name])
                if name not in found:
                    found.append(name)

    for text in texts:
        visit(text)
    return found


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
