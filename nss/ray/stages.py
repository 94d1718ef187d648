"""What is done for a block of photos on a cluster: loaded, put through the network, finished and written, recorded.

A block is an Arrow table with a row for each photo; what goes from stage to stage of it is pickled. Only what ends the
process is left to Ray: all other errors are the photo's, and go on as its result.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import socket
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

import engine
from nss.batch.stages import HostWork, Result
from nss.files.output_file import ExistsError
from nss.photos import codec_messages, image_io
from nss.photos.image_io import Photo
from nss.pipeline.lanes import Pending
from nss.ray import manifest, storage
from nss.ray.attempts import Attempts, Watch, Witnesses
from nss.ray.carried_model import CarriedModel
from nss.ray.jobs import PhotoJob
from nss.ray.manifest import Row
from nss.removal.host_stages import InferredMask, PreparedPhoto
from nss.timing import stage
from nss.workers.crossing import CrossingError

if TYPE_CHECKING:
    import pyarrow as pa

Table = Any
"""`pyarrow.Table`."""


@dataclass(frozen=True, eq=False)
class AddressedPhoto(Photo):
    """A photo whose bytes came from an address, which is what a message calls it."""

    address: str = ""

    @property
    def name(self) -> str:
        """See `nss.photos.image_io.Photo`."""
        return self.address


@dataclass(frozen=True)
class Failed:
    """Stands for a photo that has failed, in whatever stage follows."""

    error: CrossingError
    node: str

    @classmethod
    def at(cls, error: Exception) -> Failed:
        """The photo fails with this, here."""
        return cls(CrossingError.of(error), socket.gethostname())


@dataclass(frozen=True)
class Outcome:
    """What the driver hears of a photo.

    Attributes:
        result: without the file's bytes; None where the photo is skipped, its output having come into being.
        row: what the manifest says of it.
    """

    result: Result | CrossingError | None
    row: Row


@dataclass(frozen=True)
class PhotoWork:
    """What is done with each photo around the network. It pickles.

    Attributes:
        host: the stages on the host.
        witnesses: they hear of each photo before it is touched.
        settings: of the run, for the manifest.
        skip: a photo whose output has come into being is no failure.
    """

    host: HostWork
    witnesses: Witnesses
    settings: str
    skip: bool

    def load(self, job: PhotoJob, attempts: Attempts) -> PreparedPhoto:
        """Read and decode, and make the network's input. Raises NssError."""
        attempts.check(job.name)
        host, times, said = self.host, dict[str, float](), list[str]()
        assert host.stages is not None
        with stage(times, "read"):
            data = storage.read(job.input)
        with stage(times, "decode"), codec_messages.capture(lambda _, text: said.append(text)):
            decoded = image_io.load(data, job.name, max_pixels=host.max_pixels)
        values = {field.name: getattr(decoded, field.name) for field in fields(decoded)}
        photo = AddressedPhoto(**{**values, "notes": (*decoded.notes, *said)}, address=job.input)
        prepared = host.stages.prepare(photo, refinement=host.refinement, mask_bits=host.level_bits)
        return replace(prepared, times={**times, **prepared.times, "decode": times["decode"]})

    def finish(self, job: PhotoJob, inferred: InferredMask, attempts: Attempts) -> Outcome:
        """Compose, encode, verify and write. Raises NssError."""
        attempts.check(job.name)
        result = self.host.finish(job, inferred)
        assert result is not None
        assert isinstance(result.output, bytes)
        times: dict[str, float] = {}
        with stage(times, "write"):
            is_written = storage.put(job.output, result.output, overwrite=job.replace)
        info = result.info.timed(times)
        row = Row(
            input=job.input,
            output=job.output_below,
            settings=self.settings,
            sha256=hashlib.sha256(result.output).hexdigest() if is_written else "",
            milliseconds=dict(info.milliseconds),
            backend=info.backend or "",
            node=socket.gethostname(),
        )
        if is_written:
            return Outcome(replace(result, output=b"", info=info), row)
        error = ExistsError(f"{job.output}: exists already; pass 'overwrite' to replace it")
        return Outcome(None if self.skip else CrossingError.of(error), replace(row, error=str(error)))

    def failed(self, job: PhotoJob, failed: Failed) -> Outcome:
        """What the driver hears of a photo that has failed."""
        text = failed.error.text if failed.error.is_own else f"{job.name}: {failed.error.kind}: {failed.error.text}"
        row = Row(input=job.input, output=job.output_below, settings=self.settings, node=failed.node, error=text)
        return Outcome(failed.error, row)


def items_of(jobs: list[PhotoJob]) -> list[dict[str, Any]]:
    """Rows of photos that nothing has been done for."""
    return [{"index": job.index, "job": _packed(job)} for job in jobs]


def load_photos(block: Table, *, work: PhotoWork) -> Iterator[Table]:
    """The first stage: each photo with its pixels, and what goes to the network."""
    _become_worker(work.host.max_pixels)
    with work.witnesses.watching("load") as watch:
        for row in block.to_pylist():
            job, photo, state = pickle.loads(row["job"]), b"", b""
            try:
                prepared = work.load(job, watch.begin(job.index))
                photo, state = _packed(prepared.photo), _packed(_without_pixels(prepared))
            except Exception as error:
                state = _packed(Failed.at(error))
            watch.end(job.index)
            yield _row(row, photo, state)


class Network:
    """The second stage: an actor that keeps the network open."""

    def __init__(self, carried: CarriedModel, gpu: bool, witnesses: Witnesses) -> None:
        """Open it. Raises what `CarriedModel.open` does."""
        self._remover, self._witnesses = carried.open(gpu=gpu), witnesses
        self._depth = max(lane.depth for lane in self._remover.lanes())

    def __call__(self, block: Table) -> Iterator[Table]:
        """Each photo with the network's mask; as many at a time as the backend takes."""
        with self._witnesses.watching("network") as watch:
            in_flight: deque[tuple[dict[str, Any], PhotoJob, Pending[InferredMask]]] = deque()
            for position in range(len(block)):
                # the pixels stay where they are: they are in memory that the machine's processes share
                row = {name: block[name][position] for name in block.column_names}
                job, prepared = pickle.loads(row["job"].as_py()), pickle.loads(row["state"].as_buffer())
                if isinstance(prepared, Failed):
                    yield _row(row, row["photo"], row["state"])
                    continue
                attempts = watch.begin(job.index)
                # what has ended a worker before is alone this time, so that none else is blamed for it
                room = 0 if attempts != Attempts() else self._depth - 1
                while len(in_flight) > room:
                    yield self._result(*in_flight.popleft(), watch)
                try:
                    attempts.check(job.name)
                    pixels = None if prepared.network_input is not None else pickle.loads(row["photo"].as_buffer())
                    pending = self._remover.submit(prepared if pixels is None else replace(prepared, photo=pixels))
                except Exception as error:
                    watch.end(job.index)
                    yield _row(row, b"", _packed(Failed.at(error)))
                    continue
                in_flight.append((row, job, pending))
                while room == 0 and in_flight:
                    yield self._result(*in_flight.popleft(), watch)
            while in_flight:
                yield self._result(*in_flight.popleft(), watch)

    def _result(self, row: dict[str, Any], job: PhotoJob, pending: Pending[InferredMask], watch: Watch) -> Table:
        try:
            inferred = replace(pending.result(), photo=None)  # type: ignore[arg-type]
        except Exception as error:
            if isinstance(error.__cause__, engine.BackendError):
                os._exit(1)  # its GPU is gone for this process: Ray starts another one, and the photo is done there
            watch.end(job.index)
            return _row(row, b"", _packed(Failed.at(error)))
        watch.end(job.index)
        return _row(row, row["photo"], _packed(inferred))


def finish_photos(block: Table, *, work: PhotoWork) -> Iterator[Table]:
    """The third stage: each photo with its output written, and what there is to tell of it."""
    import pyarrow as pa

    _become_worker(work.host.max_pixels)
    with work.witnesses.watching("finish") as watch:
        for position in range(len(block)):
            row = {name: block[name][position] for name in block.column_names}
            job, state = pickle.loads(row["job"].as_py()), pickle.loads(row["state"].as_buffer())
            if isinstance(state, Failed):
                outcome = work.failed(job, state)
            else:
                try:
                    inferred = replace(state, photo=pickle.loads(row["photo"].as_buffer()))
                    outcome = work.finish(job, inferred, watch.begin(job.index))
                except Exception as error:
                    outcome = work.failed(job, Failed.at(error))
                watch.end(job.index)
            yield pa.table({"index": [job.index], "outcome": _binary([_packed(outcome)])})


def record_photos(block: Table, *, target: str, run: str) -> Table:
    """The last stage: the rows of photos that are finished become a part of the manifest."""
    outcomes = [pickle.loads(outcome.as_buffer()) for outcome in block["outcome"]]
    indices = sorted(block["index"].to_pylist())
    # the same photos have the same name, and others another one, however a block comes about a second time
    digest = hashlib.sha256(repr(indices).encode()).hexdigest()[:8]
    manifest.write_part(target, f"{run}-{indices[0]:07}-{digest}", [outcome.row for outcome in outcomes])
    return block


def _without_pixels(prepared: PreparedPhoto) -> PreparedPhoto:
    """What the network needs of a photo: its size and its name, and no memory."""
    photo = prepared.photo
    alpha = None if photo.alpha is None else _Uniform(photo.size)
    return replace(prepared, photo=replace(photo, rgb=_Uniform((*photo.size, 3)), alpha=alpha, icc=None, exif=None))


class _Uniform(np.ndarray):
    """Zeros that take one byte, here and when they are pickled."""

    def __new__(cls, shape: tuple[int, ...]) -> _Uniform:
        """Of this shape, uint8."""
        return np.broadcast_to(np.uint8(0), shape).view(cls)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Uniform, (self.shape,)


@lru_cache
def _become_worker(max_pixels: int) -> None:
    """What a process of many on one machine does once, as those of a batch do (`nss.workers.child`)."""
    from nss.arrays import tiles
    from nss.photos.image_size import limit_pillow
    from nss.pipeline import heap

    tiles.limit_threads(1)
    heap.return_large_blocks()
    limit_pillow(max_pixels)


def _row(row: dict[str, Any], photo: Any, state: Any) -> pa.Table:
    import pyarrow as pa

    columns = {"job": _binary([row["job"]]), "photo": _binary([photo]), "state": _binary([state])}
    return pa.table({"index": pa.array([row["index"]], pa.int64()), **columns})


def _binary(values: list[Any]) -> Any:
    import pyarrow as pa

    return pa.array(values, pa.large_binary())


def _packed(value: object) -> bytes:
    return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
