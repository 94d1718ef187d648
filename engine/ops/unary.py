"""Functions of one element.

Abs-6/13, Neg-6/13, Sign-9/13, Ceil-6/13, Floor-6/13, Round-11/22 (half to even), Sqrt-6/13, Reciprocal-6/13, Exp-6/13,
Log-6/13, Erf-9/13, Sin, Cos, Tan, Asin, Acos, Atan-7/22, Sinh, Cosh-9/22, Tanh-6/13, Asinh, Acosh, Atanh-9/22,
IsNaN-9/13/20, IsInf-10/20, Not-1, BitwiseNot-18. The versions differ in the dtypes they allow alone.
"""

from __future__ import annotations

import numpy as np

from engine.ops.elementwise import BOOLEAN, FLOAT, INTEGER, NUMBER, SIGNED, elementwise
from engine.ops.erf import erf


def is_inf(x: np.ndarray, *, detect_negative: int = 1, detect_positive: int = 1) -> np.ndarray:
    """True at the infinities of the signs asked for; bool."""
    y: np.ndarray = np.isinf(x) & np.where(x < 0, bool(detect_negative), bool(detect_positive))
    return y


for _name, _since, _kinds, _function in (
    ("Abs", 1, NUMBER, np.abs),
    ("Neg", 1, SIGNED, np.negative),
    ("Sign", 9, NUMBER, np.sign),
    ("Ceil", 1, FLOAT, np.ceil),
    ("Floor", 1, FLOAT, np.floor),
    ("Round", 11, FLOAT, np.rint),
    ("Sqrt", 1, FLOAT, np.sqrt),
    ("Reciprocal", 1, FLOAT, np.reciprocal),
    ("Exp", 1, FLOAT, np.exp),
    ("Log", 1, FLOAT, np.log),
    ("Erf", 9, FLOAT, erf),
    ("Sin", 7, FLOAT, np.sin),
    ("Cos", 7, FLOAT, np.cos),
    ("Tan", 7, FLOAT, np.tan),
    ("Asin", 7, FLOAT, np.arcsin),
    ("Acos", 7, FLOAT, np.arccos),
    ("Atan", 7, FLOAT, np.arctan),
    ("Sinh", 9, FLOAT, np.sinh),
    ("Cosh", 9, FLOAT, np.cosh),
    ("Tanh", 1, FLOAT, np.tanh),
    ("Asinh", 9, FLOAT, np.arcsinh),
    ("Acosh", 9, FLOAT, np.arccosh),
    ("Atanh", 9, FLOAT, np.arctanh),
    ("Not", 1, BOOLEAN, np.logical_not),
    ("BitwiseNot", 18, INTEGER, np.bitwise_not),
):
    elementwise(_name, _function, since=_since, kinds=_kinds)

elementwise("IsNaN", np.isnan, since=9, result=np.bool_)
elementwise("IsInf", is_inf, since=10, result=np.bool_, attributes=("detect_negative", "detect_positive"))
