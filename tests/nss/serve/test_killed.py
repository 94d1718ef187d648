"""Killed in the middle of a job: nothing half-written has a final name, and the next start clears up and goes on."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from pathlib import Path
from typing import Any

import onnx
import pytest

pytest.importorskip("uvicorn", reason="the extra 'serve' is not installed")

from nss.files.formats import Encoding
from nss.removal.remover import Remover
from tests.wall_clock import wait_until
from tools import serve_load
from tools.drawn_photos import draw
from tools.fuzzing import onnx_seeds
from tools.serving.client import Answer
from tools.serving.server import Server

HELD = """
import sys, threading
from nss.__main__ import main
from nss.files import png

def hold(picture, file, *arguments):
    file.write(b"half")
    threading.Event().wait()

png.write = hold
sys.exit(main())
"""
"""The command, whose photos come no further than the middle of their files."""

SIZE = (64, 48)


class Place:
    """A watched folder, a small network, and folders for what servers leave behind."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.model = root / "small.onnx"
        self.inbox, self.outbox, self.temporary = (root / name for name in ("in", "out", "tmp"))
        for folder in (self.inbox, self.outbox, self.temporary):
            folder.mkdir()
        onnx.save(onnx_seeds.mask_network(), self.model)

    def server(self, *options: object, held: bool = False) -> Server:
        """A server of the network, ``held`` in every file; with the watched folder where there is an option."""
        words = ["--model", self.model, "--backend", "numpy", "--no-cache", *options]
        variables = serve_load.variables(self.root) | {"TMPDIR": str(self.temporary)}
        command = serve_load.command(*words)
        if held:
            module = command.index("-m")
            command[module : module + 2] = ["-c", HELD]
        return Server(command, self.root, variables)

    def watching(self, *, held: bool = False) -> Server:
        """A server that watches the folder."""
        return self.server("--watch", self.inbox, self.outbox, "--effort", "9", held=held)

    def photo(self, name: str, size: tuple[int, int] = SIZE, seed: int = 0) -> None:
        """A photo in the watched folder, there at once and whole."""
        draw(seed, size).save(self.root / name)
        (self.root / name).rename(self.inbox / name)

    def expected(self) -> dict[str, bytes]:
        """What must come of each photo, by the name of its file."""
        encoding = Encoding("png", effort=9)
        with Remover(self.model, backend="numpy", quiet=True, cache=False) as remover:
            photos = list(self.inbox.iterdir())
            return {f"{path.stem}.cutout.png": remover.remove(path).to_bytes(encoding) for path in photos}

    def unfinished(self) -> set[str]:
        """The temporary files beside the cut-outs."""
        return {path.name for path in self.outbox.rglob("*.tmp")}

    def written(self) -> dict[str, bytes]:
        """The cut-outs that there are."""
        return {path.name: path.read_bytes() for path in self.outbox.iterdir() if not path.name.startswith(".")}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def asked(server: Server, method: str, target: str, body: bytes | None = None) -> Answer:
    return asyncio.run(server.connection().request(method, target, body))


def kill_in_the_middle(place: Place) -> set[str]:
    """Kill a server that watches as it writes a file; the names of what it leaves unfinished."""
    before = place.unfinished()
    with place.watching(held=True) as server:
        wait_until(lambda: place.unfinished() - before)
        server.kill()
    return place.unfinished()


def noted(place: Place) -> list[dict[str, Any]]:
    """What stands beside the folder of cut-outs on photos that failed."""
    (journal,) = place.root.glob("out*.jsonl")
    entries = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
    return [entry for entry in entries if entry["event"] == "failed"]


def test_a_photo_in_which_the_server_is_killed_twice_is_set_aside_and_the_others_are_done(place: Place) -> None:
    place.photo("deadly.png")
    first = kill_in_the_middle(place)
    assert first
    assert place.written() == {}, "something half-written has a final name"

    second = kill_in_the_middle(place)
    assert second, "the next start did not go on with the photo"
    assert not first & second, "what a killed server left unfinished is still there"
    assert place.written() == {}

    place.photo("other.png", seed=1)
    expected = place.expected()
    with place.watching() as server:
        wait_until(lambda: "other.cutout.png" in place.written())
        assert place.written() == {"other.cutout.png": expected["other.cutout.png"]}
        wait_until(lambda: not place.unfinished())  # a file has its name a moment before it has that alone
        (entry,) = noted(place)
        assert entry["photo"] == "deadly.png"
        os.utime(place.inbox / "deadly.png", ns=(time.time_ns(), time.time_ns()))
        wait_until(lambda: place.written() == expected)
        assert server.stop() == 0
    assert not place.unfinished()


def test_a_killed_server_leaves_nothing_of_its_jobs_to_the_next_one(place: Place) -> None:
    place.photo("deadly.png")
    photo = (place.inbox / "deadly.png").read_bytes()
    with place.server(held=True) as server:
        assert asked(server, "POST", "/api/v1/browser").status == 200
        key = asked(server, "POST", "/api/v1/jobs?effort=9&keep-photo=true", photo).json()["id"]
        wait_until(lambda: asked(server, "GET", f"/api/v1/jobs/{key}").json()["state"] == "running")
        server.kill()
    left = set(place.temporary.iterdir())
    assert left, "the models for browsers lie in no temporary folder"
    with place.server() as server:
        wait_until(lambda: not left & set(place.temporary.iterdir()))
        assert asked(server, "GET", f"/api/v1/jobs/{key}").status == 404
        assert asked(server, "GET", "/api/v1/jobs").json() == {"jobs": []}
        answer = asked(server, "POST", "/api/v1/remove?effort=9", photo)
        assert (answer.status, answer.body) == (200, place.expected()["deadly.cutout.png"])
        assert server.stop() == 0
    assert list(place.temporary.iterdir()) == []


@pytest.mark.long(reason="twenty servers are killed, each at another moment")
def test_servers_that_are_killed_at_any_moment_leave_whole_files_only(place: Place) -> None:
    for seed in range(12):
        place.photo(f"photo{seed}.png", (400 + 100 * (seed % 3), 300), seed)
    expected, rng = place.expected(), random.Random(0)
    for _ in range(20):
        with place.watching() as server:
            time.sleep(rng.uniform(0, 1.5))
            server.kill()
        for name, data in place.written().items():
            assert data == expected[name], f"{name} is not what the library gives"
    with place.watching() as server:
        wait_until(lambda: len(place.written()) + len({entry["photo"] for entry in noted(place)}) >= len(expected))
        assert server.stop() == 0
    set_aside = {f"{Path(entry['photo']).stem}.cutout.png" for entry in noted(place)}
    assert place.written() == {name: data for name, data in expected.items() if name in place.written()}
    assert place.written().keys() | set_aside == expected.keys()
    assert not place.unfinished()
