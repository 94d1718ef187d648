"""S3 as source and target, with a server that fails: whole or nothing, nothing twice, and an end to trying."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.request import Request, urlopen

import pytest

from nss.errors import ImageError
from nss.ray import manifest, storage
from nss.ray.listing import list_inputs
from nss.ray.manifest import Row
from tests.nss.ray.s3_server import FAULTS, Fault, S3Server, every, s3_server

pytest.importorskip("s3fs", reason="s3:// is opened by s3fs")
pytest.importorskip("moto", reason="the server is moto's")

DATA = bytes(range(256)) * 400


@pytest.fixture(scope="module")
def _running() -> Iterator[S3Server]:
    with s3_server() as running:
        request = Request(f"{running.environment['AWS_ENDPOINT_URL']}/bucket/plain.txt", b"plain", method="PUT")
        request.add_header("x-amz-acl", "public-read")
        request.add_header("Content-Type", "text/plain")
        with urlopen(request):
            yield running


@pytest.fixture
def server(_running: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    for name, value in _running.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(storage, "FIRST_PAUSE_S", 0.01)
    storage._opened.cache_clear()
    yield _running
    _running.reset()
    storage._opened.cache_clear()


def requests(server: S3Server, method: str) -> int:
    return sum(number for (other, _), number in server.requests.items() if other == method)


@pytest.mark.parametrize("fault", FAULTS)
def test_what_fails_for_a_while_is_whole_in_the_end(server: S3Server, fault: Fault) -> None:
    address = f"s3://bucket/{fault}/ä #b?.png"
    left: dict[str, int] = {}

    def choose(method: str, _: str) -> Fault | None:
        left[method] = left.get(method, 0) - 1
        return fault if left[method] >= 0 else None

    server.reset(choose)
    left["PUT"] = 2
    assert storage.put(address, DATA)
    assert requests(server, "PUT") == {"slow": 1, "cut answer": 1}.get(fault, 3)  # the answer has no body to be cut
    server.reset(choose)
    left["GET"] = 2
    assert storage.read(address) == DATA
    assert requests(server, "GET") == (1 if fault == "slow" else 3)
    server.reset()
    assert not storage.put(address, b"other")
    assert storage.read(address) == DATA
    server.reset(choose)
    left["GET"] = 1
    assert storage.read(f"{server.environment['AWS_ENDPOINT_URL']}/bucket/plain.txt") == b"plain"


def test_trying_ends_with_one_line_and_nothing_half(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for fault in ("503", "cut request", "lost answer"):
        server.reset(lambda *_, fault=fault: fault)
        with pytest.raises(ImageError) as caught:
            storage.put(f"s3://bucket/end/{fault}", DATA)
        assert "\n" not in str(caught.value)
        assert str(caught.value).startswith(f"s3://bucket/end/{fault}: cannot be written: ")
        assert str(caught.value).endswith(f" ({storage.ATTEMPTS} attempts)")
        assert requests(server, "PUT") in (
            storage.ATTEMPTS,
            2 * storage.ATTEMPTS,
        )  # aiohttp tries a kept connection anew
    server.reset(lambda method, _: "silent" if method == "GET" else None)
    with monkeypatch.context() as impatient:
        impatient.setattr(storage, "TIMEOUT_S", 0.2)
        impatient.setattr(storage, "ATTEMPTS", 2)
        storage._opened.cache_clear()
        with pytest.raises(ImageError, match=r"^s3://bucket/end/503: cannot be read: .*\(2 attempts\)$"):
            storage.read("s3://bucket/end/503")
    storage._opened.cache_clear()
    server.reset()
    assert storage.names_below("s3://bucket/end") == {"lost answer"}, "which the server has heard"
    assert storage.read("s3://bucket/end/lost answer") == DATA
    with pytest.raises(ImageError, match=r"^s3://none/a: cannot be written: The specified bucket does not exist$"):
        storage.put("s3://none/a", DATA)
    with pytest.raises(ImageError, match=r"^s3://bucket/none: no such file$"):
        storage.read("s3://bucket/none")


def test_of_many_writers_one_has_the_name(server: S3Server) -> None:
    server.reset(every(5, ("lost answer", "503")))
    data = [bytes([number]) * 1000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda one: storage.put("s3://bucket/race", one), data))
    assert won.count(True) == 1
    assert storage.read("s3://bucket/race") == data[won.index(True)]


def test_a_manifest_is_true_whatever_fails(server: S3Server) -> None:
    target = "s3://bucket/out"
    for name in ("a.jpg", "b.png", "sub/c.tif", ".d.jpg", "notes.txt"):
        storage.put(f"s3://bucket/in/{name}", name.encode())
    server.reset(every(3))
    pairs = list_inputs(["s3://bucket/in"], target, recursive=True)
    assert [pair.output for pair in pairs] == ["a.cutout.png", "b.cutout.png", "sub/c.cutout.png"]
    plan = manifest.to_do(pairs, manifest.read_rows(target), manifest.existing_outputs(target))
    manifest.write_claim(target, run := manifest.new_run(), plan.claim)
    rows = []
    for pair, replaces in plan.work[:2]:
        data = storage.read(pair.input)
        assert storage.put(storage.join(target, pair.output), data, overwrite=replaces)
        rows.append(Row(pair.input, pair.output, sha256=hashlib.sha256(data).hexdigest(), milliseconds={"decode": 1.0}))
    manifest.write_part(target, f"{run}-000000", rows[:1])
    again = manifest.to_do(
        pairs, manifest.read_rows(target), manifest.existing_outputs(target), manifest.read_claims(target)
    )
    assert again.done == pairs[:1]
    assert again.work == [(pairs[1], True), (pairs[2], False)]
    assert list(manifest.read_rows(target)) == rows[:1]
    assert set(server.happened) == set(FAULTS)
