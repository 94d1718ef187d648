"""Measure the engine against ONNX Runtime on the CPU, and check in passing that both say the same.

    python tools/bench.py [--networks] [--layers] [--memory] [--command] [--others FILE[=SHAPE] ...]
                          [--only TEXT] [--runs N] [--json] [--keep-openblas]

--networks   whole networks on a photo: time and difference of the masks
--layers     single convolutions of these networks: time, GFLOP/s of the direct algorithm, difference of the outputs
--memory     peak resident memory of a process that loads a network and runs it twice
--command    the command nss-wgpu, from the start of its process to the end
--others     any other ONNX files on noise, each with the shape of its one input where the file leaves it open
             (det.onnx=1x3x640x640): time, difference of the first outputs, and the geometric mean of the ratios.
             What a last Sigmoid makes is compared before it: on noise a detector finds nothing, and its largest output
             may be 1e-4, of which the sigmoid makes every rounding of a large negative number a large share

Without any of these, networks and layers. The two engines run in the same process, in turn, on all cores of it; times
are medians. Memory is measured in a process of its own for each engine and network. The exit status is 1 when a
difference is larger than the tests allow. Run it on a machine that does nothing else.

Both engines choose their kernels by the processor. OPENBLAS_* variables in the environment would force NumPy's alone
(Haswell ones on a processor with AVX-512 halve its speed), so the benchmark starts itself again without them and says
so; --keep-openblas measures with them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import geometric_mean

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the tree is measured, not an installed copy of it

import numpy as np
import onnx
import onnxruntime as ort

from engine import ModelFile, Session
from engine.cores import available_cores
from engine.cpu import blas
from tools.fetch_models import ROOT
from tools.fixtures import NETWORKS, PHOTO, Network, onnxruntime_session
from tools.layers import LAYERS, Layer
from tools.timing import Times, alternate, table

FEWEST_RUNS = 5
LAYER_LIMIT = 2e-5
"""The largest difference of a layer's output, over its largest value; Winograd transforms of 1024 channels: 3e-6."""

OTHER_LIMIT = 1e-4
"""The largest difference of another network's output, over its largest value: that of the networks of the tests."""

SET_ASIDE = "NSS_BENCH_SET_ASIDE"
"""Names, to the process that measures, the variables that the one before it took away."""

Record = dict[str, object]


@dataclass(frozen=True)
class Duel:
    """What both engines made of one model."""

    ours: Times
    theirs: Times
    difference: np.ndarray
    scale: float
    """The largest magnitude of ONNX Runtime's output."""

    def record(self) -> Record:
        """The figures of a report, times in milliseconds."""
        return {
            "ours_ms": self.ours.median,
            "ours_least_ms": self.ours.least,
            "onnxruntime_ms": self.theirs.median,
            "onnxruntime_least_ms": self.theirs.least,
            "ratio": self.ours.median / self.theirs.median,
            "largest_difference": float(self.difference.max()),
            "mean_difference": float(self.difference.mean()),
        }


def duel(model: Path | bytes, x: np.ndarray, runs: int) -> Duel:
    """Run the model's first output on ``x`` by both engines, in turn."""
    theirs = onnxruntime_session(model)
    input_name, output = theirs.get_inputs()[0].name, theirs.get_outputs()[0].name
    with Session(model, backend="numpy", input_shapes={input_name: x.shape}) as ours:
        contenders: list[Callable[[], np.ndarray]] = [
            lambda: ours.run({input_name: x})[output],
            lambda: theirs.run([output], {input_name: x})[0],
        ]
        times = alternate(contenders, runs)
        mask, expected = (contender() for contender in contenders)
    return Duel(times[0], times[1], np.abs(mask.astype(np.float64) - expected), float(np.abs(expected).max()))


def network_records(networks: Sequence[Network], runs: int) -> Iterator[Record]:
    """One record for each network."""
    for network in networks:
        result = duel(network.path, network.photo_input(), runs)
        yield {"case": network.title, **result.record(), "within_limits": network.accepts(result.difference)}


def layer_records(layers: Sequence[Layer], runs: int) -> Iterator[Record]:
    """One record for each layer; the difference is over the output's largest value."""
    for layer in layers:
        result = duel(layer.model(), layer.input(), runs)
        record = result.record()
        relative = float(result.difference.max()) / result.scale
        yield {
            "case": layer.name,
            **record,
            "ours_gflops": layer.flop / result.ours.median / 1e6,
            "onnxruntime_gflops": layer.flop / result.theirs.median / 1e6,
            "largest_difference": relative,
            "mean_difference": float(result.difference.mean()) / result.scale,
            "within_limits": relative <= LAYER_LIMIT,
        }


@dataclass(frozen=True)
class Other:
    """An ONNX file with one input, and the input's shape where the file leaves it open."""

    path: Path
    shape: tuple[int, ...] | None = None

    @classmethod
    def parse(cls, text: str) -> Other:
        """``FILE`` or ``FILE=1x3x640x640``; raises ValueError for another shape."""
        path, _, shape = text.partition("=")
        return cls(Path(path), tuple(int(extent) for extent in shape.split("x")) if shape else None)

    def input(self) -> np.ndarray:
        """Noise between -1 and 1, or bytes for an input of integers."""
        model = ModelFile.read(self.path)
        ((name, dims),) = model.inputs.items()
        shape = self.shape or tuple(extent if isinstance(extent, int) else 1 for extent in dims)
        rng, dtype = np.random.default_rng(1), model.input_dtype(name)
        if dtype.kind == "f":
            return rng.uniform(-1, 1, shape).astype(dtype)
        return rng.integers(0, 256, shape).astype(dtype)


def before_sigmoid(path: Path) -> bytes | None:
    """The model with what its last Sigmoid reads as its first output; None where no Sigmoid makes that."""
    model = onnx.load(path)
    made_by = {output: node for node in model.graph.node for output in node.output}
    last = made_by.get(model.graph.output[0].name)
    if last is None or last.op_type != "Sigmoid":
        return None
    del model.graph.output[:]
    model.graph.output.append(onnx.ValueInfoProto(name=last.input[0]))  # its type is inferred
    return model.SerializeToString()


def other_records(others: Sequence[Other], runs: int) -> Iterator[Record]:
    """One record for each file, and one with the geometric mean of their ratios."""
    ratios = []
    for other in others:
        result = compared = duel(other.path, other.input(), runs)
        if (logits := before_sigmoid(other.path)) is not None:
            compared = duel(logits, other.input(), 1)
        relative = float(compared.difference.max()) / compared.scale
        ratios.append(result.ours.median / result.theirs.median)
        yield {
            "case": other.path.stem,
            **result.record(),
            "largest_difference": relative,
            "mean_difference": float(compared.difference.mean()) / compared.scale,
            "within_limits": relative <= OTHER_LIMIT,
        }
    if ratios:
        yield {"case": "geometric mean", "ratio": geometric_mean(ratios)}


def memory_records(networks: Sequence[Network]) -> Iterator[Record]:
    """One record for each network, in MiB."""
    for network in networks:
        ours, theirs = (_peak_of(contender, network) for contender in ("engine", "onnxruntime"))
        yield {"case": network.title, "ours_mib": ours, "onnxruntime_mib": theirs, "ratio": ours / theirs}


def _peak_of(contender: str, network: Network) -> float:
    command = [sys.executable, "-m", "tools.peak_memory", contender, network.name]
    process = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return int(process.stdout) / 2**20


def command_records(runs: int) -> Iterator[Record]:
    """One record for each command line."""
    with tempfile.TemporaryDirectory() as folder:
        photo, out = PHOTO.relative_to(ROOT), str(Path(folder) / "cutout.png")
        remove = ["remove", str(photo), "--model", "u2netp", "-o", out, "--overwrite", "--quiet"]
        for title, arguments in (("nss-wgpu --help", ["--help"]), (f"nss-wgpu remove {photo}", remove)):
            command = [sys.executable, "-m", "nss", *arguments]
            (times,) = alternate([partial(subprocess.run, command, cwd=ROOT, check=True, capture_output=True)], runs)
            yield {"case": title, "ms": times.median, "least_ms": times.least}


def machine() -> Record:
    """What the figures were measured on."""
    openblas = {name: value for name, value in sorted(os.environ.items()) if name.startswith("OPENBLAS_")}
    return {
        "device": blas.describe(available_cores()),
        "cores": available_cores(),
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "onnxruntime": ort.__version__,
        "openblas_environment": openblas,
        "set_aside": os.environ.get(SET_ASIDE, ""),
    }


def header(facts: Record) -> str:
    """The lines above the tables."""
    lines = [
        f"{facts['device']}; cores: {facts['cores']}",
        f"Python {facts['python']}, NumPy {facts['numpy']}, ONNX Runtime {facts['onnxruntime']}",
    ]
    environment = facts["openblas_environment"]
    assert isinstance(environment, dict)
    if environment:
        settings = " ".join(f"{name}={value}" for name, value in environment.items())
        lines.append(f"WARNING: {settings} is set; a forced kernel type can halve the speed of NumPy's products")
    if facts["set_aside"]:
        lines.append(f"set aside: {facts['set_aside']} (--keep-openblas measures with it)")
    return "\n".join(lines)


TITLES = {
    "networks": "Networks (ms; difference of the masks)",
    "layers": "Layers (ms; a run copies input and output too; difference over the largest output)",
    "others": "Other networks (ms; difference over the largest output)",
    "memory": "Peak memory of a process (MiB)",
    "command": "Command (ms, whole process)",
}

COLUMNS = {
    "case": ("case", "{}"),
    "ours_ms": ("ours", "{:.2f}"),
    "ours_least_ms": ("ours, least", "{:.2f}"),
    "onnxruntime_ms": ("ONNX Runtime", "{:.2f}"),
    "ours_gflops": ("GFLOP/s", "{:.0f}"),
    "onnxruntime_gflops": ("ONNX Runtime GFLOP/s", "{:.0f}"),
    "ours_mib": ("ours", "{:.0f}"),
    "onnxruntime_mib": ("ONNX Runtime", "{:.0f}"),
    "ms": ("median", "{:.0f}"),
    "least_ms": ("least", "{:.0f}"),
    "ratio": ("ratio", "{:.2f}"),
    "largest_difference": ("largest diff.", "{:.1e}"),
    "mean_difference": ("mean diff.", "{:.1e}"),
}
"""The fields of a record that a table shows, in order: the head of the column, and how a value is written."""


def report(section: str, records: Sequence[Record]) -> str:
    """The section's table."""
    keys = [key for key in COLUMNS if key in records[0]]
    rows = [[COLUMNS[key][1].format(record[key]) if key in record else "" for key in keys] for record in records]
    return table(TITLES[section], [COLUMNS[key][0] for key in keys], rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: exit status 0, or 1 when a difference is beyond its limit."""
    parser = argparse.ArgumentParser(description="Measure the engine against ONNX Runtime on the CPU.")
    for section, title in TITLES.items():
        if section == "others":
            continue
        parser.add_argument(f"--{section}", action="append_const", const=section, dest="sections", help=title)
    parser.add_argument("--others", type=Other.parse, nargs="+", default=[], metavar="FILE[=SHAPE]", help="other files")
    parser.add_argument("--only", default="", metavar="TEXT", help="only cases whose name holds TEXT")
    parser.add_argument("--runs", type=_runs, default=FEWEST_RUNS, metavar="N", help="timed runs (%(default)s)")
    parser.add_argument("--keep-openblas", action="store_true", help="measure with the OPENBLAS_* variables as set")
    parser.add_argument("--json", action="store_true", help="print one JSON object, times in milliseconds")
    options = parser.parse_args(arguments)
    sections = [*(options.sections or []), *(["others"] if options.others else [])] or ["networks", "layers"]

    networks = [network for network in NETWORKS.values() if options.only in network.name]
    layers = [layer for layer in LAYERS if options.only in layer.name]
    if {"networks", "memory"} & set(sections):
        for network in networks:
            if not network.path.is_file():
                print(f"bench: left out: {network.advice()}", file=sys.stderr)
        networks = [network for network in networks if network.path.is_file()]
    facts = machine()
    if not options.json:
        print(header(facts), flush=True)
    records_by_section: dict[str, list[Record]] = {}
    for section in sections:
        source = {
            "networks": lambda: network_records(networks, options.runs),
            "layers": lambda: layer_records(layers, options.runs),
            "others": lambda: other_records(options.others, options.runs),
            "memory": lambda: memory_records(networks),
            "command": lambda: command_records(options.runs),
        }[section]()
        records_by_section[section] = list(source)
        if records_by_section[section] and not options.json:
            print(f"\n{report(section, records_by_section[section])}", flush=True)
    if options.json:
        print(json.dumps({"machine": facts, **records_by_section}, indent=2, ensure_ascii=False))
    beyond = [
        record["case"]
        for records in records_by_section.values()
        for record in records
        if not record.get("within_limits", True)
    ]
    for case in beyond:
        print(f"bench: {case}: the difference from ONNX Runtime is beyond the limit", file=sys.stderr)
    return 1 if beyond else 0


def _runs(text: str) -> int:
    runs = int(text)
    if runs < FEWEST_RUNS:
        raise argparse.ArgumentTypeError(f"at least {FEWEST_RUNS}: a median of fewer says little")
    return runs


def without_openblas(environment: dict[str, str]) -> dict[str, str] | None:
    """The environment without its OPENBLAS_* variables, which it names instead; None where there are none."""
    variables = {name: value for name, value in sorted(environment.items()) if name.startswith("OPENBLAS_")}
    if not variables:
        return None
    others = {name: value for name, value in environment.items() if name not in variables}
    return others | {SET_ASIDE: " ".join(f"{name}={value}" for name, value in variables.items())}


if __name__ == "__main__":
    if "--keep-openblas" not in sys.argv and (free := without_openblas(dict(os.environ))):
        # OpenBLAS read them when NumPy was imported, so this process can no longer change its mind
        os.execve(sys.executable, [sys.executable, *sys.argv], free)
    sys.exit(main())
