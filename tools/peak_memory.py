"""One process's share of ``bench.py --memory``: load a network, run it twice on the photo, print the peak.

    python -m tools.peak_memory engine|onnxruntime NAME

Prints the peak resident memory of the whole process in bytes: Python, the photo and the libraries are in it.
"""

from __future__ import annotations

import sys

from tools.fixtures import NETWORKS, onnxruntime_session
from tools.timing import peak_memory

RUNS = 2


def main(contender: str, name: str) -> None:
    """Load and run ``name`` under ``contender``, and print."""
    network = NETWORKS[name]
    x = network.photo_input()
    if contender == "engine":
        from engine import Session

        with Session(network.path) as session:
            for _ in range(RUNS):
                session.run({session.inputs[0].name: x})
    elif contender == "onnxruntime":
        theirs = onnxruntime_session(network.path)
        (first_input, *_), (output, *_) = theirs.get_inputs(), theirs.get_outputs()
        for _ in range(RUNS):
            theirs.run([output.name], {first_input.name: x})
    else:
        raise SystemExit(f"peak_memory: no contender is called {contender}")
    print(peak_memory())


if __name__ == "__main__":
    main(*sys.argv[1:])
