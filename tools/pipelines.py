"""The shader programs of a network's plan: how many of each kernel, and in which numbers they differ.

    python tools/pipelines.py isnet_f32.onnx
    python tools/pipelines.py --shape pixel_values=1,3,1024,1024 --differences elementwise birefnet.onnx

Plans are made without an adapter, for the limits that every implementation of WebGPU guarantees. A kernel's sources
are grouped by their text without its numbers: ``forms`` counts these groups, and ``--differences`` prints, for each
form of several programs, the lines in which these differ.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import chain, zip_longest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import engine  # noqa: E402 (the path comes first)
from engine.compiled.model import GpuPlan  # noqa: E402

NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?:e[+-]?\d+)?")
"""A number of a source that is not a part of a name."""


def plan_of(path: Path, input_shapes: dict[str, list[int]]) -> GpuPlan:
    """The plan of a model file for the portable limits."""
    plan = engine.compile(path, input_shapes=input_shapes or None).plan
    assert isinstance(plan, GpuPlan)
    return plan


def sources_by_kernel(plan: GpuPlan) -> dict[str, Counter[str]]:
    """For each kernel its sources, each with the number of commands that run it."""
    sources: dict[str, Counter[str]] = defaultdict(Counter)
    for command in plan.commands:
        program = plan.programs[command.program]
        sources[program.kernel][program.wgsl] += 1
    return sources


def forms(sources: Iterable[str]) -> list[list[str]]:
    """The sources in groups of one text but for its numbers, the largest group first."""
    groups: dict[str, list[str]] = defaultdict(list)
    for source in sources:
        groups[NUMBER.sub("#", source)].append(source)
    return sorted(groups.values(), key=len, reverse=True)


def differing_lines(sources: list[str]) -> list[str]:
    """The lines in which sources of one form differ, with the numbers of all sources in place of theirs."""
    lines = []
    for versions in zip(*(source.splitlines() for source in sources), strict=True):
        if len(set(versions)) == 1:
            continue
        numbers = zip(*(NUMBER.findall(line) for line in versions), strict=True)
        texts = [
            alternatives[0] if len(set(alternatives)) == 1 else "{" + "|".join(dict.fromkeys(alternatives)) + "}"
            for alternatives in numbers
        ]
        between = NUMBER.split(versions[0])
        lines.append("".join(chain.from_iterable(zip_longest(between, texts, fillvalue=""))).strip())
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--shape", action="append", default=[], metavar="INPUT=N,N", help="the shape of an input")
    parser.add_argument("--differences", metavar="KERNEL", nargs="?", const="", help="of this kernel, or of all")
    options = parser.parse_args()
    shapes = {
        name: [int(extent) for extent in extents.split(",")]
        for name, extents in (text.split("=", 1) for text in options.shape)
    }
    plan = plan_of(options.model, shapes)
    kernels_sources = sources_by_kernel(plan)

    def by_programs(item: tuple[str, Counter[str]]) -> int:
        return -len(item[1])

    total, all_forms = 0, 0
    print(f"{'kernel':<20} {'programs':>8} {'forms':>6} {'commands':>8}")
    for kernel, sources in sorted(kernels_sources.items(), key=by_programs):
        groups = forms(sources)
        total, all_forms = total + len(sources), all_forms + len(groups)
        print(f"{kernel:<20} {len(sources):>8} {len(groups):>6} {sum(sources.values()):>8}")
        if options.differences in ("", kernel):
            for group in groups:
                if len(group) > 1:
                    print(f"  {len(group)} programs differ in")
                    print("".join(f"    {line}\n" for line in differing_lines(group)), end="")
    print(f"{'all':<20} {total:>8} {all_forms:>6} {len(plan.commands):>8}")


if __name__ == "__main__":
    main()
