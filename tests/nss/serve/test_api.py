"""The routes: photos in, pictures out, jobs and their events, files that are sent ahead, and what is refused."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.requests import ClientDisconnect

import engine
from nss.serve.jobs.photo_host import MASK_TYPE
from tests.nss.conftest import BrightnessSession
from tests.nss.images import encode
from tests.nss.serve.asgi import Answer, Client, run, serving, until


class GatedSession(BrightnessSession):
    """Its network runs while the gate is open."""

    gate = threading.Event()
    entered = threading.Semaphore(0)

    def run(self, inputs: dict[str, np.ndarray], **options: Any) -> dict[str, np.ndarray]:
        self.entered.release()
        assert self.gate.wait(60)
        return super().run(inputs, **options)


@pytest.fixture(autouse=True)
def session(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[GatedSession]]:
    request.getfixturevalue("network")
    monkeypatch.setitem(vars(engine), "Session", GatedSession)
    GatedSession.gate.set()
    yield GatedSession
    GatedSession.gate.set()


@pytest.fixture
def png(rgb: np.ndarray) -> bytes:
    return encode(Image.fromarray(rgb), "PNG")


def states(body: bytes) -> list[str]:
    """Those that server-sent events tell."""
    return [json.loads(line[6:])["state"] for line in body.decode().split("\n") if line.startswith("data: ")]


async def ended(client: Client, answer: Answer) -> Any:
    """The JSON of a job, once it has ended."""
    assert answer.status == 202, answer.body
    events = await client("GET", f"{answer.headers['location']}/events")
    assert events.headers["content-type"].startswith("text/event-stream")
    return (await client("GET", answer.headers["location"])).json


def test_a_photo_in_one_request(png: bytes) -> None:
    async def test() -> None:
        async with serving() as (service, client):
            answer = await client("POST", "/api/v1/remove?name=cat.png&format=webp", png, content_type="image/png")
            assert (answer.status, answer.headers["content-type"]) == (200, "image/webp")
            with Image.open(io.BytesIO(answer.body)) as image:
                assert (image.format, image.size) == ("WEBP", (60, 40))
            info = json.loads(answer.headers["nss-info"])
            assert (info["model"], info["backend"], info["width"], info["height"]) == ("u2netp", "numpy", 60, 40)
            assert answer.headers["server-timing"].startswith("decode;dur=")
            assert (await client("GET", "/api/v1/jobs")).json == {"jobs": []}
            assert (service.jobs.open, service.waiting_budget.reserved) == ([], 0)
            await until(lambda: not service.models.budget.reserved)

    run(test)


def test_the_networks_mask(png: bytes) -> None:
    async def test() -> None:
        async with serving() as (_, client):
            answer = await client("POST", "/api/v1/remove", png, accept=MASK_TYPE)
            assert answer.headers["content-type"] == MASK_TYPE
            assert (answer.headers["nss-width"], answer.headers["nss-height"]) == ("320", "320")
            assert len(answer.body) == 4 * 320 * 320

    run(test)


def test_a_job_from_its_beginning_to_its_end(png: bytes) -> None:
    async def test() -> None:
        async with serving() as (service, client):
            begun = await client("POST", "/api/v1/jobs?keep-photo=true&name=dir/cat.png", png, content_type="image/png")
            job = await ended(client, begun)
            assert (job["state"], job["name"], job["model"], job["photo"]) == ("done", "cat.png", "u2netp", True)
            assert job["expires"] > job["created"]
            result = await client("GET", f"/api/v1/jobs/{job['id']}/result")
            assert (result.status, len(result.body)) == (200, job["result"]["bytes"])
            assert json.loads(result.headers["nss-info"]) == job["info"]
            photo = await client("GET", f"/api/v1/jobs/{job['id']}/photo")
            assert (photo.body, photo.headers["content-type"]) == (png, "image/png")
            assert service.jobs.kept_bytes == len(png) + len(result.body)
            assert (await client("GET", "/api/v1/jobs")).json == {"jobs": [job]}
            assert (await client("DELETE", f"/api/v1/jobs/{job['id']}")).status == 204
            for call in ("", "/result", "/photo", "/events"):
                assert (await client("GET", f"/api/v1/jobs/{job['id']}{call}")).status == 404
            assert (await client("DELETE", f"/api/v1/jobs/{job['id']}")).status == 404
            assert service.jobs.kept_bytes == 0

    run(test)


def test_a_photo_that_fails_is_its_own_problem(png: bytes) -> None:
    async def test() -> None:
        async with serving(pixels=2000) as (_, client):
            begun = [await client("POST", "/api/v1/jobs?name=cat.png", content) for content in (b"no image", png)]
            bad, large = [await ended(client, answer) for answer in begun]
            assert [job["problem"]["status"] for job in (bad, large)] == [422, 413]
            assert large["problem"]["detail"].startswith("cat.png: 60 x 40 pixels are more than 0.002 megapixels")
            assert bad["problem"]["detail"].startswith("cat.png: is not an image")
            result = await client("GET", f"/api/v1/jobs/{bad['id']}/result")
            assert (result.status, result.json) == (422, bad["problem"])
            at_once = await client("POST", "/api/v1/remove?name=cat.png", b"no image")
            assert (at_once.status, at_once.json) == (422, bad["problem"])
            assert (await client("GET", f"/api/v1/jobs/{bad['id']}/photo")).status == 404

    run(test)


def test_masks_and_backgrounds_are_sent_ahead(png: bytes, rgb: np.ndarray) -> None:
    async def test() -> None:
        async with serving() as (service, client):
            mask = encode(Image.fromarray(rgb[..., 0]), "PNG")
            sent = await client("POST", "/api/v1/files?name=../mask.png", mask, content_type="image/png")
            assert (sent.status, sent.json["bytes"], sent.json["seconds"]) == (201, len(mask), 3600.0)
            key = sent.json["id"]
            answer = await client("POST", f"/api/v1/remove?mask={key}", png)
            with Image.open(io.BytesIO(answer.body)) as image:
                assert np.array_equal(np.asarray(image)[..., 3], rgb[..., 0])
            assert json.loads(answer.headers["nss-info"])["model"] is None
            behind = await client("POST", f"/api/v1/remove?background={key}", png)
            assert behind.status == 200
            assert service.waiting_budget.reserved == len(mask)
            refused = await client("POST", f"/api/v1/remove?background={key}", png, content_type="text/plain")
            assert refused.status == 415
            assert (await client("DELETE", f"/api/v1/files/{key}")).status == 204
            assert service.waiting_budget.reserved == 0, "no photo holds it any longer, whatever became of it"
            assert (await client("DELETE", f"/api/v1/files/{key}")).status == 404
            unnamed = await client("POST", "/api/v1/files?name=..%2Ffolder%5Cmask.png", b"no image")
            assert unnamed.json["detail"].startswith("mask.png: ")
            assert (await client("POST", f"/api/v1/remove?mask={key}", png)).status == 400
            for content, status in ((b"no image", 422), (encode(Image.new("L", (9000, 9000)), "PNG"), 201)):
                assert (await client("POST", "/api/v1/files", content)).status == status
            assert (await client("POST", "/api/v1/files?mask=1", mask)).status == 400

    run(test)


def test_what_is_wrong_is_said_before_the_body_is_read(png: bytes) -> None:
    async def test() -> None:
        async with serving() as (service, client):
            for query, status in (
                ("colour=1", 400),
                ("model=owner/name", 400),
                ("model=../x", 400),
                ("mask=file-0", 400),
                ("max-pixels=999999999999", 400),
            ):
                # a body of which the head says more than is taken: whoever looked at it would say 413
                answer = await client("POST", f"/api/v1/jobs?{query}", b"", content_length="9" * 15)
                assert answer.status == status, answer.body
                assert set(answer.json) == {"title", "status", "detail"}
            assert (await client("POST", "/api/v1/remove?keep-photo=true", png)).status == 400
            assert (await client("POST", "/api/v1/remove", b"", content_length="9" * 15)).status == 413
            assert (await client("POST", "/api/v1/jobs", b"")).status == 422
            assert (service.waiting_budget.reserved, len(service.jobs)) == (0, 0)

    run(test)


def test_the_queue_is_bounded_and_tells_when_to_come_again(png: bytes, session: type[GatedSession]) -> None:
    async def test() -> None:
        session.gate.clear()
        async with serving(queue=3) as (service, client):
            begun = [await client("POST", "/api/v1/jobs", png) for _ in range(3)]
            refused = await client("POST", "/api/v1/jobs", b"", content_length="9" * 15)
            assert (refused.status, refused.headers["retry-after"]) == (503, "2")
            early = await client("GET", f"{begun[0].headers['location']}/result")
            assert (early.status, early.headers["retry-after"]) == (409, "1")
            session.gate.set()
            assert [(await ended(client, answer))["state"] for answer in begun] == ["done"] * 3
            assert (await client("POST", "/api/v1/remove", png)).status == 200
            assert service.jobs.states() == {"done": 3}

    run(test)


def test_a_client_that_leaves_has_its_photo_given_up(png: bytes, session: type[GatedSession]) -> None:
    async def test() -> None:
        session.gate.clear()
        async with serving() as (service, client):
            leave = asyncio.Event()
            request = asyncio.ensure_future(client("POST", "/api/v1/remove", png, leave=leave))
            await until(lambda: any(job.stage == "network" for job in service.jobs.open))
            leave.set()
            with pytest.raises(ClientDisconnect):
                await request
            (job,) = service.jobs.open
            assert job.state == "cancelled"
            session.gate.set()
            await until(lambda: not service.jobs.open)
            # the pipeline gives its part back behind what it tells of the photo
            await until(lambda: not service.waiting_budget.reserved and not service.models.budget.reserved)

    run(test)


@pytest.mark.parametrize("stage", ["waiting", "network"])
def test_a_job_is_cancelled_wherever_it_is(stage: str, png: bytes, session: type[GatedSession]) -> None:
    async def test() -> None:
        session.gate.clear()
        async with serving() as (service, client):
            begun = [await client("POST", "/api/v1/jobs", png) for _ in range(12)]
            await until(lambda: any(job.stage == "network" for job in service.jobs))
            jobs = list(service.jobs)
            job = jobs[-1] if stage == "waiting" else next(job for job in jobs if job.stage == "network")
            told = bytearray()
            events = asyncio.ensure_future(client("GET", f"/api/v1/jobs/{job.id}/events", got=told.extend))
            await until(lambda: told)
            assert (await client("DELETE", f"/api/v1/jobs/{job.id}")).status == 204
            assert states((await events).body)[-1] == "removed"
            if stage == "waiting":
                await until(lambda: job not in service.jobs.open)
            session.gate.set()
            others = [answer for answer in begun if job.id not in answer.headers["location"]]
            assert [(await ended(client, answer))["state"] for answer in others] == ["done"] * 11
            assert job.product is None

    run(test)


def test_events_of_all_jobs_go_on_where_a_reader_was(png: bytes) -> None:
    async def test() -> None:
        async with serving() as (service, client):
            first = await ended(client, await client("POST", "/api/v1/jobs", png))
            number = service.jobs.log.last
            leave, told = asyncio.Event(), bytearray()
            reader = asyncio.ensure_future(client("GET", "/api/v1/events", leave=leave, got=told.extend))
            await until(lambda: b"data" in told)
            second = await ended(client, await client("POST", "/api/v1/jobs", png))
            await until(lambda: states(bytes(told)).count("done") == 2)
            leave.set()
            await reader
            assert states(bytes(told)) == ["done", "waiting", *["running"] * 3, "done"]
            assert first["id"].encode() in told
            again = asyncio.ensure_future(client("GET", "/api/v1/events", last_event_id=str(number)))
            await service.stop()
            assert states((await again).body) == ["waiting", *["running"] * 3, "done"]
            assert (await client("HEAD", "/api/v1/events")).body == b""
            one = await client("GET", f"/api/v1/jobs/{second['id']}/events", last_event_id="nonsense")
            assert states(one.body) == ["done"]

    run(test)


def test_what_runs_is_finished_at_the_end_and_what_waits_given_up(png: bytes, session: type[GatedSession]) -> None:
    async def test() -> None:
        session.gate.clear()
        said: list[str] = []
        async with serving(said) as (service, client):
            begun = [await client("POST", "/api/v1/jobs", png) for _ in range(12)]
            at_once = asyncio.ensure_future(client("POST", "/api/v1/remove", png))
            events = asyncio.ensure_future(client("GET", "/api/v1/events"))
            await until(lambda: any(job.stage == "network" for job in service.jobs))
            await until(lambda: len(service.jobs.open) == 13)
            stopping = asyncio.ensure_future(asyncio.gather(service.stop(), service.stop()))
            assert (await at_once).status == 503
            assert (await client("POST", "/api/v1/jobs", png)).status == 503
            assert (await client("POST", "/api/v1/files", png)).status == 503
            session.gate.set()
            await stopping
            found = [(await client("GET", answer.headers["location"])).json["state"] for answer in begun]
            assert set(found) == {"done", "cancelled"}
            assert found[-1] == "cancelled"
            assert states((await events).body).count("done") == found.count("done")
            result = await client("GET", f"{begun[-1].headers['location']}/result")
            assert (result.status, "retry-after" in result.headers) == (409, False)
            assert service.jobs.open == []
            assert any("that waited" in line for line in said)

    run(test)


def test_many_clients_at_once_each_get_their_own(rgb: np.ndarray) -> None:
    async def test() -> None:
        photos = [encode(Image.fromarray(np.roll(rgb, i, 1)), "PNG") for i in range(16)]
        async with serving() as (service, client):
            answers = await asyncio.gather(*(client("POST", "/api/v1/remove", photo) for photo in photos * 3))
            assert [answer.status for answer in answers] == [200] * 48
            for i, answer in enumerate(answers):
                with Image.open(io.BytesIO(answer.body)) as image:
                    assert np.array_equal(np.asarray(image)[..., :3], np.roll(rgb, i % 16, 1))
            assert (service.jobs.open, service.waiting_budget.reserved) == ([], 0)

    run(test)


def test_another_interface_is_opened_for_the_request_that_has_one(png: bytes, session: type[GatedSession]) -> None:
    async def test() -> None:
        async with serving() as (service, client):
            before = len(session.opened)
            url = "/api/v1/jobs?model-mean=0.1,0.2,0.3"
            jobs = [await ended(client, await client("POST", url, png)) for _ in range(2)]
            assert [job["state"] for job in jobs] == ["done", "done"]
            assert len(session.opened) == before + 1
            bad = await ended(client, await client("POST", "/api/v1/jobs?model-output=nothing", png))
            assert (bad["state"], bad["problem"]["status"]) == ("failed", 400)
            assert (await client("POST", "/api/v1/remove", png)).status == 200
            assert service.jobs.open == []

    run(test)


def test_what_is_here() -> None:
    async def test() -> None:
        async with serving() as (_, client):
            answer = (await client("GET", "/api/v1/models")).json
            assert answer["version"] == engine.__version__
            assert [(model["name"], model["default"], model["size"]) for model in answer["models"]] == [
                ("u2netp", True, [320, 320])
            ]
            assert set(answer["limits"]) == {"body_bytes", "pixels", "queue", "keep_seconds", "keep_count"}

    run(test)


def test_results_expire_without_anyone_asking(png: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nss.serve.jobs.service.EXPIRY_S", 0.01)

    async def test() -> None:
        async with serving(keep_seconds=0.05, file_seconds=0.05) as (service, client):
            await client("POST", "/api/v1/files", png)
            # of a job that may be forgotten by the time that anyone asks for it
            assert (await client("POST", "/api/v1/jobs", png)).status == 202
            await until(lambda: not len(service.jobs) and not len(service.uploads))
            assert (service.jobs.kept_bytes, service.waiting_budget.reserved) == (0, 0)

    run(test)
