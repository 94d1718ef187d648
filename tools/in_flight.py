"""What a run costs beside the GPU's own time: alone, and with several in flight.

    python tools/in_flight.py MODEL [--implementation dawn|wgpu] [--precision f32|f16] [--runs N] [--shape N,C,H,W]

Prints one JSON object, times in milliseconds. "gpu" is a run by the GPU's own clock. "alone" is `run()` from call to
result, "beside_gpu" that minus "gpu", and "stages" where it goes: "upload" copies the inputs and looks for NaN,
"encode" records what is not recorded ahead, "submit" hands it over, "wait" lasts until the results are there, of which
"gpu" is the GPU's, and "download" copies them. "in_flight" has, for 1 to 4 runs under way, the time a run over many,
and that minus "gpu". All are medians (of "in_flight", over three series) of a GPU that is awake, and every output is
held to that of the same input alone, bit for bit: "equal". "stages", "commands" and "submissions" are those of
another executor of the same compiled model.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from engine import Handle, ModelFile, Session
from engine.gpu.device.choice import choose
from engine.gpu.device.device import Device, open_device
from engine.gpu.run.executor import GpuExecutor

SERIES = 3
DEPTHS = (1, 2, 3, 4)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--implementation", help="part of an adapter's name; the first hardware adapter by default")
    parser.add_argument("--precision", choices=["f32", "f16"], default="f32")
    parser.add_argument("--runs", type=int, default=40, help="of each series")
    parser.add_argument("--shape", help="of the first input, where the model leaves it open: 1,3,1024,1024")
    options = parser.parse_args(arguments)
    file = ModelFile.read(options.model)
    shapes = {next(iter(file.inputs)): [int(n) for n in options.shape.split(",")]} if options.shape else None
    with Session(
        file,
        backend="webgpu",
        adapter=options.implementation,
        precision=options.precision,
        input_shapes=shapes,
        in_flight=max(DEPTHS),
        keep_compiled=True,
    ) as session:
        adapter = choose(options.implementation).adapter
        assert adapter is not None  # or there were no session
        print(json.dumps({"model": options.model.name, **measure(session, open_device(adapter), options.runs)}))
    return 0


def measure(session: Session, device: Device, runs: int) -> dict[str, object]:
    """The figures of the docstring above, of a session on that device that has kept what it compiled."""
    generator = np.random.default_rng(0)
    feeds = [
        {info.name: generator.standard_normal(info.shape).astype(info.dtype) for info in session.inputs}
        for _ in range(5)
    ]
    expected = [session.run(each) for each in feeds]
    equal = True

    def check(number: int, outputs: dict[str, np.ndarray]) -> None:
        nonlocal equal
        equal = equal and all(np.array_equal(expected[number][name], array) for name, array in outputs.items())

    _wake(device, session)
    wall, gpu = [], []
    for index in range(runs):
        number = index % len(feeds)
        start = time.perf_counter()
        outputs = session.run(feeds[number])
        wall.append((time.perf_counter() - start) * 1e3)
        if device.timestamps and index % 5 == 4:
            gpu += [seconds * 1e3 for seconds in session.gpu_seconds(5)]
        check(number, outputs)
    gpu_ms = median(gpu) if gpu else float("nan")
    depths = {depth: _series(session, device, feeds, runs=runs, depth=depth, check=check) for depth in DEPTHS}
    return {
        "device": session.info.device,
        "precision": session.info.precision,
        "gpu": _rounded(gpu_ms),
        "alone": _rounded(median(wall)),
        "beside_gpu": _rounded(median(wall) - gpu_ms),
        **_stages(session, device, list(feeds[0].values()), runs),
        "in_flight": {
            depth: {"a_run": _rounded(median(times)), "beside_gpu": _rounded(median(times) - gpu_ms)}
            for depth, times in depths.items()
        },
        "equal": equal,
    }


def _stages(session: Session, device: Device, inputs: Sequence[np.ndarray], runs: int) -> dict[str, object]:
    """Milliseconds of each stage of a run, and of how many commands and submissions one is."""
    assert session.compiled is not None
    executor, stages = GpuExecutor(session.compiled, device), []
    try:
        executor.run(inputs)
        _wake(device, executor)
        for _ in range(runs):
            executor.run(inputs)
            stages.append(executor.stages)
    finally:
        executor.close()
    return {
        "commands": len(executor.plan.commands),
        "submissions": executor.submissions.count,
        "stages": {name: _rounded(median(each[name] for each in stages)) for name in stages[0]},
    }


def _series(
    session: Session,
    device: Device,
    feeds: Sequence[dict[str, np.ndarray]],
    *,
    runs: int,
    depth: int,
    check: Callable[[int, dict[str, np.ndarray]], None],
) -> list[float]:
    """Milliseconds a run, of each series, with ``depth`` in flight; every output is checked after its series."""
    times = []
    for _ in range(SERIES):
        handles: deque[tuple[int, Handle]] = deque()
        outputs: deque[tuple[int, dict[str, np.ndarray]]] = deque(maxlen=len(feeds))
        _wake(device, session)
        start = time.perf_counter()
        for index in range(runs):
            if len(handles) == depth:
                number, handle = handles.popleft()
                outputs.append((number, handle.result()))
            handles.append((index % len(feeds), session.submit(feeds[index % len(feeds)])))
        outputs.extend((number, handle.result()) for number, handle in handles)
        times.append((time.perf_counter() - start) * 1e3 / runs)
        for number, each in outputs:
            check(number, each)
    return times


def _wake(device: Device, network: Session | GpuExecutor) -> None:
    """Bring the device's clock up, where the device can say how long it worked."""
    if device.timestamps:
        device.core_clock.wake(lambda: sum(network.gpu_seconds()))


def _rounded(milliseconds: float) -> float:
    return round(milliseconds, 3)


if __name__ == "__main__":
    sys.exit(main())
