"""Refuse at load, naming everything that is missing: one error lists each operator the engine cannot run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import onnx

from engine.errors import UnsupportedError
from engine.graph.ir import INTERNAL_DOMAIN
from engine.ops import lookup
from engine.ops.matmul_nbits import MICROSOFT

CONTROL_FLOW = {"Loop", "Scan"}
"""Operators whose bodies run a number of times that the data decides: they have no static plan."""


ONNX_TWINS = {(MICROSOFT, "QuantizeLinear"): 21, (MICROSOFT, "DequantizeLinear"): 21}
"""Operators of ONNX Runtime's domain that are ONNX's own at that operator-set version.

ONNX Runtime's quantisers write them in files of older operator sets, which have no integers of 4 and 16 bits there.
"""


def check(nodes: Iterable[onnx.NodeProto], versions: dict[str, int]) -> None:
    """Raise UnsupportedError listing every operator among ``nodes`` that nothing implements.

    ``versions`` maps each imported domain to its operator-set version. The list gives, for each operator, its domain,
    the version that defines it, and how many nodes use it. An If passes: its branch is checked once it is chosen.
    """
    missing: Counter[tuple[str, str]] = Counter()
    for node in nodes:
        domain = normalize_domain(node.domain)
        if node.op_type == "If" and not domain and domain in versions:
            continue
        # what passes make has passed their checks, and a file's own would pass none
        if domain not in versions or domain == INTERNAL_DOMAIN or lookup(*meaning(node, versions)) is None:
            missing[domain, node.op_type] += 1
    if missing:
        entries = "; ".join(
            f"{domain or 'ai.onnx'}.{op} version {_since(domain, op, versions)} ({count} node{'s' * (count > 1)}"
            f"{', control flow has no static plan' if op in CONTROL_FLOW and not domain else ''})"
            for (domain, op), count in sorted(missing.items())
        )
        raise UnsupportedError(f"the model needs operators that the engine does not have: {entries}")


def meaning(node: onnx.NodeProto, versions: dict[str, int]) -> tuple[str, str, int]:
    """Domain, operator and operator-set version that give the node its meaning; ``versions`` has its domain."""
    version = ONNX_TWINS.get((node.domain, node.op_type)) or versions[normalize_domain(node.domain)]
    return domain_of(node), node.op_type, version


def domain_of(node: onnx.NodeProto) -> str:
    """The domain that gives the node its meaning: that of ONNX is ""."""
    return "" if (node.domain, node.op_type) in ONNX_TWINS else normalize_domain(node.domain)


def normalize_domain(domain: str) -> str:
    """The default domain has two spellings; the empty one is used throughout."""
    return "" if domain == "ai.onnx" else domain


def _since(domain: str, op: str, versions: dict[str, int]) -> str:
    """The operator's own version: that of the schema in force, or what the model imports where onnx has no schema."""
    version = versions.get(domain)
    if version is None:
        return "unknown (domain not imported)"
    try:
        return str(onnx.defs.get_schema(op, version, domain).since_version)
    except onnx.defs.SchemaError:
        return str(version)
