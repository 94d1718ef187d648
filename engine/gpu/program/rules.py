"""The WGSL expression of each element-wise ONNX operator.

Arithmetic and comparison are those of engine/ops: NaN spreads, 8- and 16-bit integers wrap, and what ONNX leaves open
(an integer over 0, a float beyond the range of an integer) has the same result. 64-bit integers are computed in
32 bits. Compilers may assume that no float is NaN: where an extreme or a selection could lose one, its bits are tested.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from math import pi, sqrt

import numpy as np

from engine.gpu.program.expressions import conversion, kind_of, literal, wrap
from engine.graph.dtypes import is_four_bit
from engine.graph.ir import Node

Rule = Callable[[Node, list[str]], str]
"""The expression of a node's first output from the names of its inputs; "" is the name of an absent input."""


def expression(node: Node, args: Sequence[str]) -> str:
    """The WGSL expression of ``node``; ``args`` are names, "" for an absent input."""
    text = RULES[node.op](node, list(args))
    return text if node.op in CLOSED else wrap(text, node.output.dtype)


def _call(name: str) -> Rule:
    return lambda _, args: f"{name}({', '.join(args)})"


def _infix(symbol: str) -> Rule:
    return lambda _, args: "(" + f" {symbol} ".join(args) + ")"


def _text(template: str) -> Rule:
    """The expression ``template`` of the one input, ``x``."""
    return lambda _, args: template.format(x=args[0])


def _kind(node: Node) -> str:
    return kind_of(node.input(0).dtype)


def _number(node: Node, name: str, default: float) -> str:
    """A float attribute as a literal."""
    return literal(node.attr(name, default))


# --- arithmetic -----------------------------------------------------------------------------------------------------


def _divide(node: Node, args: list[str]) -> str:
    kind = _kind(node)
    if kind == "F":
        return f"divided({args[0]}, {args[1]})"
    return f"{'quotient' if kind == 'I' else 'quotient_unsigned'}({args[0]}, {args[1]})"


def _modulo(node: Node, args: list[str]) -> str:
    a, b = args
    kind = _kind(node)
    if kind == "U":
        return f"remainder_unsigned({a}, {b})"
    name = "remainder" if node.attr("fmod", 0) else "floor_remainder"
    return f"{name}({a}, {b})" if kind == "F" else f"integer_{name}({a}, {b})"


def _power(node: Node, args: list[str]) -> str:
    base, exponent = args
    kind, exponent_kind = _kind(node), kind_of(node.input(1).dtype)
    if kind != "F" and exponent_kind != "F":
        y = f"integer_power({_convert_kind('I', kind, base)}, {_convert_kind('I', exponent_kind, exponent)})"
        return _convert_kind(kind, "I", y)
    constant = node.constant(1)
    if kind == "F" and constant is not None and constant.size == 1 and float(constant.item()) in _POWERS:
        return _POWERS[float(constant.item())].format(x=base)
    y = f"power({_convert_kind('F', kind, base)}, {_convert_kind('F', exponent_kind, exponent)})"
    return y if kind == "F" else f"{'truncated' if kind == 'I' else 'truncated_unsigned'}({y})"


_POWERS = {
    1.0: "{x}",
    2.0: "({x} * {x})",
    3.0: "({x} * {x} * {x})",
    0.5: "select(sqrt({x}), infinity(), is_inf({x}))",  # infinity for -infinity too, which has no square root
    -1.0: "(F(1.0) / {x})",
}
"""Exponents with a faster expression than ``power``."""


def _convert_kind(kind: str, source: str, text: str) -> str:
    return text if kind == source else f"{kind}({text})"


def _extreme(function: str, spreading: str) -> Rule:
    """The extreme of all inputs, for floats by the function ``spreading``, in which NaN spreads."""

    def rule(node: Node, args: list[str]) -> str:
        name = spreading if _kind(node) == "F" else function
        return reduce(lambda a, b: f"{name}({a}, {b})", args)

    return rule


LARGER, SMALLER = _extreme("max", "larger"), _extreme("min", "smaller")


def _comparison(symbol: str) -> Rule:
    """A comparison, which is false for NaN."""

    def rule(node: Node, args: list[str]) -> str:
        text = f"({args[0]} {symbol} {args[1]})"
        return f"({text} & ordered({args[0]}, {args[1]}))" if _kind(node) == "F" else text

    return rule


def _mean(node: Node, args: list[str]) -> str:
    return f"(({' + '.join(args)}) / {literal(len(node.inputs))})"


def _sign(node: Node, args: list[str]) -> str:
    x, kind = args[0], _kind(node)
    if kind == "U":
        return f"min({x}, U(1u))"
    return f"select(sign({x}), {x}, is_nan({x}))" if kind == "F" else f"sign({x})"


def _absolute(node: Node, args: list[str]) -> str:
    return args[0] if _kind(node) == "U" else f"abs({args[0]})"


def _shift(node: Node, args: list[str]) -> str:
    x, kind, count = args[0], _kind(node), f"U({args[1]})"
    if node.attr("direction") == "RIGHT" and kind == "I":
        return f"({x} >> min({count}, U(31u)))"
    symbol = ">>" if node.attr("direction") == "RIGHT" else "<<"
    return f"select({x} {symbol} ({count} & U(31u)), {literal(0, kind)}, {count} > U(31u))"


# --- bounds, choice and conversion ----------------------------------------------------------------------------------


def _clip(node: Node, args: list[str]) -> str:
    minimum, maximum = [*args[1:], "", ""][:2]
    if node.version < 11:
        minimum, maximum = (literal(node.attr(name)) if name in node.attributes else "" for name in ("min", "max"))
    y = LARGER(node, [args[0], minimum]) if minimum else args[0]
    return SMALLER(node, [y, maximum]) if maximum else y


def _cast(node: Node, args: list[str]) -> str:
    x, source, target, whole = args[0], node.input(0).dtype, node.output.dtype, np.dtype(np.int32)
    if is_four_bit(target) and kind_of(source) == "F":  # which wraps, where others saturate
        x, source = conversion(x, source, whole), whole
    return conversion(x, source, target)


def _where(_: Node, args: list[str]) -> str:
    return f"select({args[2]}, {args[1]}, {args[0]})"


def _infinite(node: Node, args: list[str]) -> str:
    x, negative, positive = args[0], node.attr("detect_negative", 1), node.attr("detect_positive", 1)
    if negative and positive:
        return f"is_inf({x})"
    return f"(is_inf({x}) & ({x} {'<' if negative else '>'} F(0.0)))" if negative or positive else "B(false)"


# --- activations ----------------------------------------------------------------------------------------------------


def _relu(node: Node, args: list[str]) -> str:
    kind = _kind(node)
    return f"rectified({args[0]})" if kind == "F" else f"max({args[0]}, {literal(0, kind)})"


def _prelu(node: Node, args: list[str]) -> str:
    x, slope = args
    return f"select({x}, {x} * {slope}, {x} < {literal(0, _kind(node))})"


def _leaky_relu(node: Node, args: list[str]) -> str:
    return f"select({args[0]}, {_number(node, 'alpha', 0.01)} * {args[0]}, {args[0]} < F(0.0))"


def _elu(x: str, alpha: str) -> str:
    return f"select({x}, {alpha} * expm1({x}), {x} < F(0.0))"


def _selu(node: Node, args: list[str]) -> str:
    alpha, gamma = _number(node, "alpha", 1.67326319217681884765625), _number(node, "gamma", 1.05070102214813232421875)
    return f"({gamma} * {_elu(args[0], alpha)})"


def _celu(node: Node, args: list[str]) -> str:
    alpha = _number(node, "alpha", 1.0)
    negative, positive = f"smaller(F(0.0), {alpha} * expm1({args[0]} / {alpha}))", f"larger({args[0]}, F(0.0))"
    return f"({positive} + {negative})"


def _thresholded_relu(node: Node, args: list[str]) -> str:
    x = args[0]
    return f"select(F(0.0), {x}, ({x} > {_number(node, 'alpha', 1.0)}) & !is_nan({x}))"


def _hard_sigmoid(node: Node, args: list[str]) -> str:
    alpha, beta = _number(node, "alpha", 0.2), _number(node, "beta", 0.5)
    return _unit(f"({alpha} * {args[0]} + {beta})")


def _unit(y: str) -> str:
    return f"smaller(larger({y}, F(0.0)), F(1.0))"


def _swish(node: Node, args: list[str]) -> str:
    x, alpha = args[0], node.attr("alpha", 1.0)
    return f"({x} * sigmoid({x if alpha == 1.0 else f'{literal(alpha)} * {x}'}))"


def _swiglu(node: Node, args: list[str]) -> str:
    return f"({_swish(node, args)} * {args[1]})"


def _gelu(node: Node, args: list[str]) -> str:
    x = args[0]
    if node.attr("approximate", "none") == "tanh":
        cubic = f"({x} + {literal(0.044715)} * ({x} * {x} * {x}))"
        return f"(F(0.5) * {x} * (F(1.0) + hyperbolic_tangent({literal(sqrt(2 / pi))} * {cubic})))"
    return f"(F(0.5) * {x} * (F(1.0) + erf({x} * {literal(sqrt(0.5))})))"


def _shrink(node: Node, args: list[str]) -> str:
    kind = _kind(node)
    x = _convert_kind("F", kind, args[0])
    lambd, bias, minus = _number(node, "lambd", 0.5), _number(node, "bias", 0.0), literal(-node.attr("lambd", 0.5))
    outside = f"select(F(0.0), {x} - {bias}, {x} > {lambd})"
    y = f"select({outside}, {x} + {bias}, {x} < {minus})"
    y = f"select({y}, F(0.0), is_nan({x}))" if kind == "F" else y
    return y if kind == "F" else conversion(y, np.dtype(np.float32), node.output.dtype)


# --- quantisation ---------------------------------------------------------------------------------------------------


def _quantize(node: Node, args: list[str]) -> str:
    zero = f" + F({args[2]})" if len(args) > 2 and args[2] else ""
    units = f"round({_convert_kind('F', _kind(node), args[0])} / {args[1]})"
    return conversion(f"{units}{zero}", np.dtype(np.float32), node.output.dtype)


def _dequantize(_: Node, args: list[str]) -> str:
    if len(args) > 2 and args[2]:
        return f"(F(I({args[0]}) - I({args[2]})) * {args[1]})"
    return f"(F({args[0]}) * {args[1]})"


RULES: dict[str, Rule] = {
    "Add": _infix("+"),
    "Sub": _infix("-"),
    "Mul": _infix("*"),
    "Div": _divide,
    "Mod": _modulo,
    "Pow": _power,
    "Max": LARGER,
    "Min": SMALLER,
    "Sum": _infix("+"),
    "Mean": _mean,
    "Abs": _absolute,
    "Neg": _text("(-{x})"),
    "Sign": _sign,
    "Ceil": _call("ceil"),
    "Floor": _call("floor"),
    "Round": _call("round"),
    "Sqrt": _call("sqrt"),
    "Reciprocal": _text("(F(1.0) / {x})"),
    "Exp": _call("exponential"),
    "Log": _call("logarithm"),
    "Erf": _call("erf"),
    "Sin": _call("sine"),
    "Cos": _call("cosine"),
    "Tan": _call("tangent"),
    "Asin": _call("arcsine"),
    "Acos": _call("arccosine"),
    "Atan": _call("arctangent"),
    "Sinh": _call("hyperbolic_sine"),
    "Cosh": _call("hyperbolic_cosine"),
    "Tanh": _call("hyperbolic_tangent"),
    "Asinh": _call("arsinh"),
    "Acosh": _call("arcosh"),
    "Atanh": _call("artanh"),
    "IsNaN": _call("is_nan"),
    "IsInf": _infinite,
    "Not": _text("(!{x})"),
    "BitwiseNot": _text("(~{x})"),
    "BitwiseAnd": _infix("&"),
    "BitwiseOr": _infix("|"),
    "BitwiseXor": _infix("^"),
    "BitShift": _shift,
    "Equal": _comparison("=="),
    "Greater": _comparison(">"),
    "Less": _comparison("<"),
    "GreaterOrEqual": _comparison(">="),
    "LessOrEqual": _comparison("<="),
    "And": _infix("&"),
    "Or": _infix("|"),
    "Xor": _infix("!="),
    "Where": _where,
    "Clip": _clip,
    "Cast": _cast,
    "CastLike": _cast,
    "Relu": _relu,
    "LeakyRelu": _leaky_relu,
    "PRelu": _prelu,
    "Elu": lambda node, args: _elu(args[0], _number(node, "alpha", 1.0)),
    "Selu": _selu,
    "Celu": _celu,
    "ThresholdedRelu": _thresholded_relu,
    "Sigmoid": _call("sigmoid"),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda _, args: f"({args[0]} * {_unit(f'({literal(1 / 6)} * {args[0]} + F(0.5))')})",
    "Softplus": _call("softplus"),
    "Softsign": _text("({x} / (F(1.0) + abs({x})))"),
    "Swish": _swish,
    "SwiGLU": _swiglu,
    "Mish": _call("mish"),
    "Gelu": _gelu,
    "Shrink": _shrink,
    "QuantizeLinear": _quantize,
    "DequantizeLinear": _dequantize,
}
"""The rules by operator of the default domain. Those of quantisation are for one scale for all of a tensor."""

CLOSED = {"Max", "Min", "Sign", "Where", "Clip", "Cast", "CastLike", "Relu", "QuantizeLinear"}
"""Operators whose results are always in the range of their dtype, so that none is wrapped."""
