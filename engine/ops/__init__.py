"""What every operator means: one file for each operator or tight family, with ``infer`` and ``reference``."""

from engine.ops.registry import Operator, evaluate, infer, lookup, operator, operators

__all__ = ["Operator", "evaluate", "infer", "lookup", "operator", "operators"]
