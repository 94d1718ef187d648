"""What the tests of the photo side share: photos, a network without weights, and the command run in this process."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import onnx
import pytest
from PIL import Image

import engine
from nss.interfaces import model_metadata
from nss.interfaces.interface import USUAL, as_json
from tests.engine.models import model, node
from tests.project import ROOT

EXAMPLES = ROOT / "examples"


class BrightnessSession:
    """Stands for ``engine.Session``: the "mask" is 1 where the normalised input is above its mean, else 0."""

    opened: ClassVar[list[str]] = []

    def __init__(self, model: object, *, backend: str = "auto", **_: object) -> None:
        self.opened.append(str(model))
        self.inputs = [SimpleNamespace(name="input.1", dtype=np.dtype(np.float32), shape=(1, 3, 320, 320))]
        self.outputs = [SimpleNamespace(name="1959", dtype=np.dtype(np.float32), shape=(1, 1, 320, 320))]
        self.info = SimpleNamespace(
            backend=backend, device="no device", reason="no reason", precision="f32", software=True
        )

    def close(self) -> None: ...

    def run(self, inputs: dict[str, np.ndarray], **_: Any) -> dict[str, np.ndarray]:
        (image,) = inputs.values()
        assert image.shape == (1, 3, 320, 320)
        assert image.dtype == np.float32
        return {"1959": (image.mean(axis=1, keepdims=True) > image.mean() + 1e-3).astype(np.float32)}

    def submit(self, inputs: dict[str, np.ndarray]) -> SimpleNamespace:
        outputs = self.run(inputs)
        return SimpleNamespace(result=lambda: outputs, repeated=False)


@pytest.fixture(autouse=True)
def _own_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Keep what this machine remembers, fetched, and has of rembg's out of every test, and a test's to itself.

    Compiled models are kept where a test turns that on (`kept`).
    """
    monkeypatch.setenv("NSS_CACHE_SIZE", "0")
    for variable, folder in (("NSS_STATE_DIR", "state"), ("NSS_CACHE_DIR", "fetched"), ("U2NET_HOME", "rembg")):
        monkeypatch.setenv(variable, str(tmp_path.with_name(f"{tmp_path.name}-{folder}")))
    yield
    engine.remember_adapters(None)


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep compiled models, in the test's own folder."""
    monkeypatch.delenv("NSS_CACHE_SIZE")


@pytest.fixture
def no_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep this machine's own models out of sight, and fetch none."""
    monkeypatch.setenv("NSS_MODEL_DIR", str(tmp_path / "no models"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "no cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch, no_models: None) -> type[BrightnessSession]:  # noqa: ARG001
    """Replace the engine by ``BrightnessSession``, and keep this machine's own models out of sight."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)  # which commands move
    monkeypatch.setattr(BrightnessSession, "opened", [])
    monkeypatch.setitem(vars(engine), "Session", BrightnessSession)
    return BrightnessSession


@pytest.fixture
def rgb() -> np.ndarray:
    """A small photo, uint8 40x60x3: noise on a ramp."""
    rng = np.random.default_rng(7)
    ramp = np.linspace(0, 200, 60)[None, :, None] + np.linspace(0, 30, 40)[:, None, None]
    return (ramp + rng.integers(0, 25, (40, 60, 3))).astype(np.uint8)


@pytest.fixture
def photo(tmp_path: Path, rgb: np.ndarray) -> Path:
    """``rgb`` as a PNG file in a folder of its own."""
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(rgb).save(folder / "photo.png")
    return folder / "photo.png"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A model that takes one image and gives one mask, and says how."""
    weights = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    nodes = [
        node("Conv", "x w", "a", name="first", pads=[1] * 4),
        node("Relu", "a", "b"),
        node("Conv", "b v", "c", name="second"),
        node("Sigmoid", "c", "y"),
    ]
    proto = model(nodes, {"x": [1, 3, 32, 32]}, "y", {"w": weights, "v": np.ones((1, 4, 1, 1), np.float32)})
    proto.metadata_props.add(key=model_metadata.KEY, value=json.dumps(as_json(USUAL)))
    onnx.save(proto, tmp_path / "small.onnx")
    return tmp_path / "small.onnx"


@dataclass(frozen=True)
class Outcome:
    """How a command ended: its exit status, and the lines it wrote."""

    status: int
    out: list[str]
    err: list[str]


@pytest.fixture
def command(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run ``nss-wgpu`` with these arguments in this process, on ``BrightnessSession``."""
    request.getfixturevalue("network")
    return in_this_process(capsys)


@pytest.fixture
def command_on_the_engine(
    no_models: None,  # noqa: ARG001
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., Outcome]:
    """Run ``nss-wgpu`` with these arguments in this process, as it is."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)  # which commands move
    return in_this_process(capsys)


def in_this_process(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """The command, as a function of its arguments."""
    from nss.cli.main import main

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        status = main([str(a) for a in arguments])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Outcome(status, captured.out.splitlines(), captured.err.splitlines())

    return run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory, for names that are short to read."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def make(*names: str) -> None:
    """Files of these names, with their folders, that are photos as far as a plan looks."""
    for name in names:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"photo")


@pytest.fixture
def listing() -> Callable[[Path], list[str]]:
    """The names in a folder, sorted: what shows that nothing was left behind."""
    return lambda folder: sorted(p.name for p in folder.iterdir())


@pytest.fixture
def device_node(tmp_path: Path) -> Callable[[str, int], Path]:
    """Make a character device of this name and minor number, 3 for /dev/null and 7 for /dev/full, in ``tmp_path``."""

    def make(name: str, minor: int) -> Path:
        path = tmp_path / name
        try:
            os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, minor))
            os.close(os.open(path, os.O_WRONLY))
        except (AttributeError, OSError) as error:
            pytest.skip(f"no device nodes can be made and opened here: {error}")
        return path

    return make
