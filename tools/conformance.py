"""Run the ONNX backend node tests and print the counts that docs/engine.md states.

    python tools/conformance.py

The exit code is 1 when a test that is not excluded fails.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import onnx

from engine.gpu.device.adapters import adapters
from engine.gpu.device.choice import no_adapter
from tools.node_test_exclusions import EXCLUSIONS, exclusion_of
from tools.node_tests import BACKENDS, all_tests, check, missing_operator_counts, runnable_tests


def main() -> int:
    """Print the counts. Returns the exit code."""
    names = runnable_tests()
    print(f"onnx {onnx.__version__}: {len(all_tests())} node tests, {len(names)} of operators that the engine has")
    failures = []
    for backend in BACKENDS:
        if backend == "webgpu" and not adapters():
            print(f"webgpu: {no_adapter()}; nothing was run")
            continue
        results: Counter[str] = Counter()
        for name in names:
            if exclusion_of(name, backend) is not None:
                results["excluded"] += 1
                continue
            try:
                results["passed" if check(name, backend) else "folded"] += 1
            except Exception as error:  # one test's failure must not hide the others
                results["failed"] += 1
                failures.append(f"{backend} {name}: {type(error).__name__}: {str(error).strip().splitlines()[:1]}")
        passed = results["passed"] + results["folded"]
        print(
            f"{backend}: {passed} passed ({results['folded']} of them wholly computed at load), "
            f"{results['failed']} failed, {results['excluded']} excluded"
        )
    print("excluded:")
    for entry in EXCLUSIONS:
        count = sum(exclusion_of(name, entry.backends[0]) is entry for name in names)
        where = "" if entry.backends == BACKENDS else f" (on {', '.join(entry.backends)} alone)"
        print(f"  {count:4} {entry.reason}{where}")
    print("operators that the engine does not have, and how many node tests use them:")
    for operator, count in sorted(missing_operator_counts().items(), key=lambda item: (-item[1], item[0])):
        print(f"  {count:4} {operator}")
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
