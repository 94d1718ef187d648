"""The worker itself: it does one request after the other until nobody is there to send one.

It begins by ``python -c``, so that nothing of the program that started it is imported again. Signals of a terminal are
blocked before its first instruction, by the thread that starts it (`nss.workers.process`): Ctrl-C is for the parent.

One thread reads requests. The end of the pipe, which comes with the parent's end however that comes about, ends the
process from there, whatever the other thread is at.
"""

from __future__ import annotations

import importlib
import json
import os
import threading
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from nss.files import output_file
from nss.photos import codec_messages
from nss.workers import channel
from nss.workers.crossing import CrossingError
from nss.workers.messages import Done, DropRequest, Failed, FinishRequest, Loaded, LoadRequest, Naming, Note, Work
from nss.workers.shared_block import SharedBlock


def main(settings: str) -> None:
    """Serve until the parent has gone; ``settings``: JSON, as `nss.workers.process.WorkerProcess` makes it."""
    values = json.loads(settings)
    child = _Child(values["requests"], values["answers"], [SharedBlock(number) for number in values["blocks"]])
    output_file.mark_temporaries(values["mark"], child.announce)
    threading.Thread(target=child.read_requests, name="nss-requests", daemon=True).start()
    for module in values["imports"]:
        importlib.import_module(module)
    from nss.arrays import tiles
    from nss.pipeline import heap

    tiles.limit_threads(1)
    heap.return_large_blocks()
    child.serve()


class _Child:
    def __init__(self, requests: int, answers: int, blocks: list[SharedBlock]) -> None:
        self._requests, self._answers, self._blocks = requests, answers, blocks
        self._waiting: SimpleQueue[bytes] = SimpleQueue()
        self._kept: dict[int, Any] = {}
        self._work: Work | None = None

    def read_requests(self) -> None:
        """Read until there is nobody to write, and end the process."""
        try:
            while True:
                self._waiting.put(channel.receive_packed(self._requests))
        except BaseException:
            with suppress(BaseException):
                output_file.abandon()
            os._exit(1)  # whatever the other thread is in the middle of

    def announce(self, path: Path, identity: tuple[int, int]) -> None:
        """Say which file is about to get a name: the parent knows it again, if this process is killed before it says
        that it has.
        """
        self._send(Naming(path, identity))

    def serve(self) -> None:
        """Do what is asked for."""
        self._answer(Done(None))  # ready
        with codec_messages.capture(lambda name, text: self._send(Note(name, text))):
            while True:
                self._do(self._waiting.get())

    def _do(self, packed: bytes) -> None:
        try:
            request = channel.unpack(packed)
            if isinstance(request, DropRequest):
                self._kept.pop(request.key, None)
                return
            if isinstance(request, LoadRequest):
                value: Any = self._load(request)
            elif isinstance(request, FinishRequest):
                value = self._finish(request)
            else:
                self._work, value = request, None
            answer: Done | Failed = Done(value)
        except Exception as error:
            answer = Failed(CrossingError.of(error))
        self._answer(answer)

    def _load(self, request: LoadRequest) -> Any:
        assert self._work is not None
        loaded: Loaded = self._work.load(request.job)
        block = None if request.block is None else self._blocks[request.block]
        arrays = list(loaded.arrays) if block is None else block.write(loaded.arrays)
        self._kept[request.key] = loaded.kept
        return arrays, loaded.summary

    def _finish(self, request: FinishRequest) -> Any:
        block = self._blocks[request.block]
        try:
            return self._second_half(request, block)
        finally:
            block.unmap()  # the parent may shrink it

    def _second_half(self, request: FinishRequest, block: SharedBlock) -> Any:
        assert self._work is not None
        kept = self._work.load(request.job).kept if request.key is None else self._kept.pop(request.key)
        return self._work.finish(request.job, kept, block.read(request.places), request.output)

    def _answer(self, answer: Done | Failed) -> None:
        try:
            self._send(answer)
        except OSError:
            raise
        except Exception as error:  # it does not pickle
            self._send(Failed(CrossingError.of(error)))

    def _send(self, message: Done | Failed | Naming | Note) -> None:
        try:
            channel.send(self._answers, message)
        except OSError:  # nobody reads it: the other thread is about to see that, too
            output_file.abandon()
            os._exit(1)
