"""The networks that are tested and measured as a whole: where each lies, its photo input, and how near it must come.

One table for the tests (``tests/test_models.py``) and the benchmark (``tools/bench.py``), so that nothing is measured
that is not also checked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from engine.cores import available_cores
from nss.interfaces.interface import complete
from nss.models.catalogue import CATALOGUE, ModelSpec
from nss.photos import image_io
from nss.removal import preprocess
from tools import fetch_models

if TYPE_CHECKING:
    import onnxruntime as ort

PHOTO = fetch_models.ROOT / "examples" / "astronaut.png"


@dataclass(frozen=True)
class Network:
    """A real network.

    ``largest`` and ``mean`` bound the difference between its mask and ONNX Runtime's on ``PHOTO``, None where the
    bound would say nothing.
    """

    name: str
    title: str
    spec: ModelSpec
    mean: float | None = None
    largest: float | None = None
    shipped: bool = False

    @property
    def path(self) -> Path:
        """The ONNX file: the package's own, or where ``fetch_models`` puts it."""
        if self.shipped:
            return fetch_models.ROOT / "nss" / "models" / str(self.spec.filename)
        return fetch_models.folder() / f"{self.name}.onnx"

    def photo_input(self) -> np.ndarray:
        """``PHOTO`` prepared for the network, float32 1x3xHxW."""
        return preprocess.prepare(image_io.load(PHOTO).rgb, complete(self.spec.interface))

    def accepts(self, difference: np.ndarray) -> bool:
        """Whether absolute differences from ONNX Runtime's mask are within the bounds."""
        within_largest = self.largest is None or float(difference.max()) <= self.largest
        within_mean = self.mean is None or float(difference.mean()) <= self.mean
        return within_largest and within_mean

    def advice(self) -> str:
        """What to do when the file is not there."""
        return f"{self.path} is not there; fetch it with `{fetch_models.COMMAND} {self.name}`"


# The package that carries IS-Net prepares its input as (v - 128) / 256, RMBG-1.4 as v / 255 - 0.5.
_RMBG = CATALOGUE["rmbg-1.4"]
_ISNET = replace(_RMBG, interface={**_RMBG.interface, "mean": (128 / 255,) * 3, "std": (256 / 255,) * 3})

NETWORKS = {
    network.name: network
    for network in (
        # ONNX Runtime's own rounding: the reference backend, which sums in another order, is as far from it
        Network("u2netp", "U²-Netp 320²", CATALOGUE["u2netp"], largest=1e-4, shipped=True),
        Network("isnet_f32", "IS-Net f32 1024²", _ISNET, largest=1e-5),
        # ONNX Runtime rounds the activations to float16 between operators, the engine widens the weights and does not
        Network("isnet_f16", "IS-Net f16 1024²", _ISNET, largest=2e-3),
        # a last bit of difference before a quantization moves single pixels by a whole step, on edges by several
        Network("isnet_int8", "IS-Net int8 1024²", _ISNET, mean=1e-3),
    )
}


def onnxruntime_session(model: Path | bytes, threads: int | None = None) -> ort.InferenceSession:
    """The model under ONNX Runtime on the CPU, on ``threads`` threads: by default, all the cores of this process."""
    import onnxruntime as ort  # here, so that a process that measures the engine's memory does not hold it

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or available_cores()
    options.log_severity_level = 3
    # its threads otherwise spin on for a while after a run, on the cores that the next measurement needs
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # where weights are 4-bit tensors, it otherwise rounds activations to 8 bits, which the file does not say
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    source = model if isinstance(model, bytes) else str(model)
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
