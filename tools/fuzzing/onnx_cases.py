"""One damaged model through the engine: what it says, and whether the backends agree where it runs."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from engine import EngineError, Session
from engine.errors import InputError, TooLargeError, UnsupportedError
from engine.graph.ir import Graph, Node
from engine.graph.load import load
from engine.graph.model_file import ModelFile
from engine.parity import deviates, difference
from tools.fuzzing import byte_mutations, onnx_mutations
from tools.fuzzing.children import BATCH, Context
from tools.fuzzing.explanations import Run, differing, explanation
from tools.fuzzing.onnx_seeds import Seed, networks, node_tests
from tools.fuzzing.verdict import Verdict, misworded

MOST_WORK = 50_000_000
"""Multiplications and elements of a case that is run: what takes about a second by the reference."""

MOST_ON_GPU = 5_000_000
"""Likewise on WebGPU, which here may be a software adapter."""

Outcome = dict[str, np.ndarray] | EngineError


@dataclass(frozen=True)
class OnnxCases:
    """Cases of a seed of the random numbers; one in ``webgpu`` runs on WebGPU too, none for 0.

    These are whole batches: a child opens a device once, which takes longer than most cases.
    """

    seed: int
    webgpu: int = 0
    name: str = "onnx"

    def prepare(self) -> None:
        """Make what all cases begin with, before the first child is forked."""
        networks(), node_tests()

    def make(self, index: int, folder: Path) -> str:
        """Write the case's files; returns the name of what it was made from."""
        rng = random.Random(f"{self.seed}/onnx/{index}")
        seed: Seed = rng.choice(networks() if rng.random() < 0.35 else node_tests())
        (folder / "model.onnx").write_bytes(onnx_mutations.mutate(seed.model, rng))
        for name, data in seed.files.items():
            damaged = byte_mutations.mutate(data, rng) if rng.random() < 0.3 else data
            (folder / name).write_bytes(damaged)
        return seed.name

    def judge(self, index: int, context: Context) -> Verdict:
        """Load the case's model and run it on each backend."""
        self.make(index, context.folder)
        on_gpu = bool(self.webgpu) and index // BATCH % self.webgpu == 0
        return judge_model(context.folder / "model.onnx", context, on_gpu=on_gpu, as_bytes=index % 4 == 3)


def judge_model(path: Path, context: Context, *, on_gpu: bool, as_bytes: bool = False) -> Verdict:
    """What the engine makes of a model file."""
    context.stage("load")
    try:
        file = ModelFile.read(path.read_bytes() if as_bytes else path)
        shapes = {name: _fixed_shape(dims) for name, dims in file.inputs.items() if _open(dims)}
        graph = load(file, input_shapes=shapes, outputs="all")
    except EngineError as error:
        return _judge_refusal(error, "at load")
    amount = work(graph)
    if amount > MOST_WORK:
        return Verdict("too much work")
    results: dict[str, Outcome] = {}
    feeds: dict[str, np.ndarray] = {}
    for backend in ("reference", "numpy", "webgpu"):
        if backend == "webgpu" and not (on_gpu and amount <= MOST_ON_GPU):
            continue
        context.stage(backend)
        try:
            with Session(file, backend=backend, input_shapes=shapes, outputs="all") as session:
                feeds = feeds or deviates(session.inputs)
                results[backend] = session.run(feeds, allow_nan=True)
        except EngineError as error:
            if wrong := misworded(str(error)):
                return Verdict("message", f"{wrong} from {backend}", detail=str(error))
            results[backend] = error
    context.stage("comparison")
    return _compare(graph, feeds, results, path)


def work(graph: Graph) -> int:
    """About the multiplications and the elements that a run of the graph takes, its inputs included."""
    return sum(_work_of(node) for node in graph.nodes) + sum(value.type.size for value in graph.inputs)


def _work_of(node: Node) -> int:
    elements = sum(value.type.size for value in node.used_outputs())
    read_elements = sum(value.type.size for value in node.used_inputs())
    shapes = [value.shape for value in node.used_inputs()]
    each = 1
    if "Conv" in node.op and len(shapes) > 1:
        each = max(prod(shape[1:]) for shape in shapes[1:] or [()])
        each *= prod(shapes[0][2:]) // max(1, elements) + 1 if "Transpose" in node.op else 1
    elif node.op in ("MatMul", "Gemm", "MatMulInteger", "QLinearMatMul", "Einsum", "MatMulNBits"):
        each = max((dim for shape in shapes for dim in shape), default=1)
    return elements * each * prod(node.attr("kernel_shape", ()) if "Pool" in node.op else ()) + read_elements


def _open(dims: Sequence[int | str]) -> bool:
    return any(isinstance(dim, str) for dim in dims)


def _fixed_shape(dims: Sequence[int | str]) -> list[int]:
    """A size for each symbolic dimension: that of the seed that has them."""
    return [dim if isinstance(dim, int) else (1, 4, 6, 8)[place % 4] for place, dim in enumerate(dims)]


def _judge_refusal(error: EngineError, when: str) -> Verdict:
    if wrong := misworded(str(error)):
        return Verdict("message", f"{wrong} {when}", detail=str(error))
    return Verdict("refused", f"{type(error).__name__} {when}", detail=str(error))


def _compare(graph: Graph, feeds: dict[str, np.ndarray], results: dict[str, Outcome], path: Path) -> Verdict:
    reference = results["reference"]
    if isinstance(reference, EngineError):
        if "reference gave" in str(reference):
            return Verdict("difference", "what a reference gives is not what was inferred", detail=str(reference))
        runs = [backend for backend, result in results.items() if not isinstance(result, EngineError)]
        # a kernel on a GPU cannot say that an index is out of its range
        if [backend for backend in runs if backend != "webgpu"]:
            return Verdict("one-sided", f"reference refuses, {runs[0]} runs", detail=str(reference))
        return _judge_refusal(reference, "in a run")
    half = Run(graph, feeds, "", {}).half()
    verdict = Verdict("ok", f"on {len(results)} backends")
    for backend, result in results.items():
        if isinstance(result, EngineError):
            # float64, integers outside of 32 bits, and tensors beyond the adapter's limits
            if backend == "webgpu" and isinstance(result, (UnsupportedError, TooLargeError, InputError)):
                verdict = Verdict("ok", f"webgpu refuses with {type(result).__name__}")
                continue
            return Verdict("one-sided", f"{backend} refuses with {type(result).__name__}", detail=str(result))
        if names := differing(result, reference, half):
            reason = explanation(Run(graph, feeds, backend=backend, results=result, file=path))
            if not reason:
                return Verdict("difference", f"{backend}, {_operators(graph)}", detail=_far(names, result, reference))
            verdict = Verdict("explained", f"{reason} ({backend})")
    return verdict


def _operators(graph: Graph) -> str:
    """The operators of a small graph, which tell differences apart."""
    operators = list(dict.fromkeys(node.op for node in graph.nodes))
    return ", ".join(operators[:4]) + (", …" if len(operators) > 4 else "")


def _far(names: Sequence[str], results: dict[str, np.ndarray], references: dict[str, np.ndarray]) -> str:
    apart = difference(results[names[0]], references[names[0]])
    return f"output {names[0]!r} is off by {apart.absolute:.3g}, {apart.relative:.3g} of the largest magnitude"
