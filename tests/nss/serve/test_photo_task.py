"""What a request gets is what the command writes, byte by byte; and what it is told of a photo that fails."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nss.batch.stages import NothingFoundError
from nss.cutouts.compose import Composition
from nss.errors import ImageError
from nss.files.formats import Encoding
from nss.interfaces.interface import FixedSize, complete
from nss.masks.refine import Refinement
from nss.photos.image_size import TooManyPixelsError
from nss.pipeline.photo_bytes import EACH, source_bytes
from nss.pipes import OneTimeFile
from nss.removal.host_stages import HostStages, PreparedPhoto
from nss.removal.remover import Remover
from nss.serve.api.fields import Order
from nss.serve.jobs.photo_host import MASK_TYPE, Product, start_workers
from nss.serve.jobs.photo_task import PhotoTask
from nss.workers import process
from nss.workers.pool import WorkerPool
from tests.nss.conftest import EXAMPLES, Outcome
from tests.nss.images import encode

Command = Callable[..., Outcome]


def order(**values: Any) -> Order:
    return Order(
        **{
            "name": "photo.png",
            "model": None,
            "model_config": {},
            "refinement": Refinement(),
            "composition": Composition(),
            "encoding": Encoding("png"),
            "mask": None,
            "fail_empty": False,
            "max_pixels": 300_000_000,
            "keep_photo": False,
            **values,
        }
    )


class Worked:
    """A task that goes through a Remover without a pipeline; ``pool``: by these processes."""

    def __init__(self, wanted: Order, content: bytes, pool: WorkerPool | None = None) -> None:
        self.decoded = 0
        self.outcomes: list[Any] = []
        self.has_pool = pool is not None
        self.task = PhotoTask(
            wanted, content, decoded=self._count, entered=lambda _: None, done=self.outcomes.append, pool=pool
        )

    def through(self, remover: Remover, meanwhile: Callable[[], object] = lambda: None) -> Product:
        loaded = self.task.load(remover)
        assert self.has_pool or self.decoded == 1, "the upload is held no longer than that"
        output = remover.infer(loaded) if isinstance(loaded, PreparedPhoto) else loaded
        meanwhile()
        return self.task.finish(remover, output)

    def _count(self) -> None:
        self.decoded += 1


@pytest.fixture
def remover(request: pytest.FixtureRequest) -> Iterator[Remover]:
    request.getfixturevalue("network")
    with Remover("u2netp", backend="numpy", cache=False) as remover:
        yield remover


@pytest.fixture(scope="module")
def workers() -> Iterator[WorkerPool]:
    """Processes as a server has them."""
    if not process.supported():
        pytest.skip("has no worker processes")
    with start_workers(2, 2, 300_000_000) as pool:
        yield pool


@pytest.fixture(params=["threads", "processes"])
def pool(request: pytest.FixtureRequest) -> WorkerPool | None:
    """What does the stages on the host; None where this process does."""
    workers: WorkerPool | None = request.getfixturevalue("workers") if request.param == "processes" else None
    return workers


def test_the_answer_is_the_file_of_the_command(
    command: Command, remover: Remover, pool: WorkerPool | None, tmp_path: Path, rgb: np.ndarray
) -> None:
    levels = np.tile(np.linspace(0, 255, 60).astype(np.uint8), (40, 1))
    files = {
        "photo.png": encode(Image.fromarray(rgb), "PNG"),
        "own.png": encode(Image.fromarray(np.dstack([rgb, levels])), "PNG"),
        "photo.jpg": encode(Image.fromarray(rgb), "JPEG", exif=exif()),
        "mask.png": encode(Image.fromarray(levels), "PNG"),
        "behind.png": encode(Image.fromarray(rgb[::-1, ::-1]), "PNG"),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    mask, behind = (OneTimeFile(Path(name), files[name]) for name in ("mask.png", "behind.png"))
    white = Composition(background="white")
    cases: list[tuple[str, str, list[object], dict[str, Any]]] = [
        ("photo.png", "plain.png", [], {}),
        ("photo.png", "a.jpg", ["--background", "white"], {"composition": white, "encoding": Encoding("jpeg")}),
        ("photo.png", "b.jpg", [], {"encoding": Encoding("jpeg")}),
        (
            "photo.png",
            "deep.png",
            ["--mask-only", "--mask-bits", "16"],
            {"composition": Composition(mask_only=True, mask_bits=16)},
        ),
        ("photo.png", "c.webp", ["--quality", "80"], {"encoding": Encoding("webp", 80)}),
        ("photo.png", "d.tiff", ["--crop", "2"], {"composition": Composition(crop=2), "encoding": Encoding("tiff")}),
        ("own.png", "own-out.png", ["--hidden", "zero"], {"composition": Composition(hidden="zero")}),
        ("photo.jpg", "exif.png", ["--keep-exif"], {"composition": Composition(keep_exif=True)}),
        ("photo.png", "given.png", ["--mask", tmp_path / "mask.png"], {"mask": mask}),
        (
            "photo.png",
            "scene.png",
            ["--background", tmp_path / "behind.png", "--decontaminate", "1"],
            {"composition": Composition(background=behind, decontaminate=1.0)},
        ),
        (
            "photo.png",
            "fine.png",
            ["--feather", "1.5", "--expand", "1", "--invert"],
            {"refinement": Refinement(feather=1.5, expand=1), "composition": Composition(invert=True)},
        ),
    ]
    for photo, target, options, values in cases:
        outcome = command("remove", tmp_path / photo, "-o", tmp_path / target, "--no-cache", *options)
        assert outcome.status == 0, outcome.err
        product = Worked(order(name=photo, **values), files[photo], pool).through(remover)
        assert product.content == (tmp_path / target).read_bytes(), target
        with Image.open(io.BytesIO(product.content)) as image:
            assert (product.type, product.width, product.height) == (Image.MIME[image.format or ""], *image.size)


def exif() -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112], tags[0x010F] = 6, "a camera"  # orientation, maker
    return tags


def test_the_real_network_gives_what_the_library_does(pool: WorkerPool | None) -> None:
    content = (EXAMPLES / "chelsea.png").read_bytes()
    with Remover("u2netp", backend="numpy") as remover:
        product = Worked(order(name="photo.jpg"), content, pool).through(remover)
        assert product.content == remover.remove(content).to_bytes()
        raw = Worked(order(encoding=None), content, pool).through(remover)
        mask = np.frombuffer(raw.content, "<f4").reshape(raw.height, raw.width)
        assert (raw.type, raw.width, raw.height) == (MASK_TYPE, 320, 320)
        assert np.array_equal(mask, remover.infer(remover.prepare(content)).raw)
        assert product.info["model"] == raw.info["model"] == "u2netp"
        assert abs(raw.info["coverage"] - product.info["coverage"]) < 0.01
        assert raw.info["box"] == [0, 0, raw.info["width"], raw.info["height"]]


def test_what_is_told_of_a_photo(remover: Remover, pool: WorkerPool | None, rgb: np.ndarray) -> None:
    worked = Worked(
        order(encoding=Encoding("jpeg"), composition=Composition(crop=1)), encode(Image.fromarray(rgb), "PNG"), pool
    )
    info = worked.through(remover).info
    assert set(info) == {
        *("model", "backend", "device", "precision", "milliseconds", "stages", "notes", "coverage"),
        *("nothing_found", "box", "width", "height"),
    }
    assert (info["width"], info["height"]) == (60, 40)
    assert {"decode", "preprocess", "infer", "postprocess", "compose", "encode"} <= set(info["milliseconds"])
    assert info["notes"] == ["the format has no transparency: put on white (see 'background')"]
    assert 0 < info["coverage"] < 1


@pytest.mark.parametrize("content", [b"", b"no image at all", b"\x89PNG\r\n\x1a\n damaged"])
def test_what_cannot_be_read_names_the_photo(remover: Remover, pool: WorkerPool | None, content: bytes) -> None:
    with pytest.raises(ImageError, match=r"^cat\.png: "):
        Worked(order(name="cat.png"), content, pool).through(remover)


def test_what_the_network_says_names_the_photo(remover: Remover, pool: WorkerPool | None, rgb: np.ndarray) -> None:
    flat = encode(Image.fromarray(np.full_like(rgb, 90)), "PNG")
    with pytest.raises(NothingFoundError, match=r"^cat\.png: nothing was found"):
        Worked(order(name="cat.png", fail_empty=True), flat, pool).through(remover)
    assert Worked(order(), flat, pool).through(remover).info["nothing_found"]
    with pytest.raises(NothingFoundError):
        Worked(order(encoding=None, fail_empty=True), flat, pool).through(remover)
    wide = OneTimeFile(Path("wide.png"), encode(Image.new("L", (90, 10)), "PNG"))
    with pytest.raises(ImageError, match=r"^cat\.png: is 60 x 40, and its mask 90 x 10"):
        Worked(order(name="cat.png", mask=wide), encode(Image.fromarray(rgb), "PNG"), pool).through(remover)


def test_photo_mask_and_background_are_held_to_the_same_limit(
    remover: Remover, pool: WorkerPool | None, rgb: np.ndarray
) -> None:
    small, large = (encode(Image.fromarray(pixels), "PNG") for pixels in (rgb[:10], rgb))
    file = OneTimeFile(Path("other.png"), large)
    for values, content, named in (
        ({}, large, "photo.png"),
        ({"mask": file}, small, "other.png"),
        ({"composition": Composition(background=file)}, small, "background other.png"),
    ):
        with pytest.raises(TooManyPixelsError, match=f"^{named}: 60 x 40 pixels are more"):
            Worked(order(max_pixels=1000, **values), content, pool).through(remover)
    damaged = OneTimeFile(Path("other.png"), b"x")
    with pytest.raises(ImageError, match=r"^background other\.png: is not an image"):
        Worked(order(composition=Composition(background=damaged)), small, pool).through(remover)


@pytest.mark.parametrize(("fewest", "bits"), [(None, None), (0, 8)])
def test_levels_are_the_gpu_s_where_it_takes_the_photo_as_it_is(
    pool: WorkerPool | None, rgb: np.ndarray, fewest: int | None, bits: int | None
) -> None:
    interface = complete({"input": "x", "output": "y", "size": FixedSize(32, 32)})
    remover: Any = SimpleNamespace(host_stages=HostStages(interface, fewest_gpu_pixels=fewest))
    prepared = Worked(order(), encode(Image.fromarray(rgb), "PNG"), pool).task.load(remover)
    assert isinstance(prepared, PreparedPhoto)
    assert (prepared.refinement, prepared.mask_bits) == (Refinement(), bits)
    assert (prepared.network_input is None) == (fewest == 0)
    assert prepared.photo.size == rgb.shape[:2]
    assert fewest is None or np.array_equal(prepared.photo.rgb, rgb)


def test_a_photo_whose_worker_dies_between_its_halves_is_done_anew(
    remover: Remover, workers: WorkerPool, rgb: np.ndarray
) -> None:
    content = encode(Image.fromarray(rgb), "PNG")

    def kill_all() -> None:
        for pid in workers.pids:
            os.kill(pid, signal.SIGKILL)

    worked = Worked(order(), content, workers)
    assert worked.through(remover, kill_all).content == Worked(order(), content).through(remover).content
    assert worked.decoded == 0, "the upload may be wanted once more until it is done"
    worked.task.done(None)
    assert worked.decoded == 1


def test_the_cost_is_that_of_all_pictures(rgb: np.ndarray) -> None:
    content = encode(Image.fromarray(rgb), "PNG")
    file = OneTimeFile(Path("other.png"), content)

    def cost(**values: Any) -> int:
        return Worked(order(**values), content).task.cost()

    plain = cost()
    assert EACH < plain <= source_bytes(content)
    assert cost(encoding=Encoding("avif")) > plain > cost(encoding=None)
    assert cost(mask=file) > plain + EACH
    assert cost(composition=Composition(background=file)) > plain + EACH
    assert Worked(order(), b"no image").task.cost() == EACH


def test_the_upload_is_given_back_also_where_the_photo_is_never_decoded() -> None:
    worked = Worked(order(), b"x")
    worked.task.done(ImageError("x"))
    assert worked.decoded == 1
    assert len(worked.outcomes) == 1
