"""What the API answers is what its document says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from nss.interfaces.interface import Description
from nss.photos.image_size import MAX_PIXELS
from nss.serve.api.openapi_schemas import SCHEMAS
from nss.serve.http.application import Application
from nss.serve.http.page import Page
from nss.serve.http.token import Token
from nss.serve.jobs.models import ModelChoice
from nss.serve.jobs.service import Service
from nss.serve.limits import Limits
from nss.serve.settings import ServeSettings
from tests.nss.images import encode
from tests.nss.serve.json_schema import faults


def fits(value: Any, name: str) -> None:
    assert list(faults(value, SCHEMAS[name], SCHEMAS, name)) == []


def test_a_breach_would_be_seen() -> None:
    fits({"id": "file-1", "bytes": 3, "seconds": 0.5}, "File")
    wrong = {"id": 1, "bytes": -1, "second": True}
    assert sorted(faults(wrong, SCHEMAS["File"], SCHEMAS)) == [
        ".bytes: -1 is out of its range",
        ".id: 1 is no string",
        ".second: is not described",
        ".seconds: is missing",
    ]
    assert list(faults({"jobs": [{}]}, SCHEMAS["Jobs"], SCHEMAS))
    assert list(faults(True, {"type": "integer"}, {})) == [": True is no integer"]


def png() -> bytes:
    return encode(Image.fromarray(np.arange(40 * 60 * 3, dtype=np.uint8).reshape(40, 60, 3)), "PNG")


def grey() -> bytes:
    return encode(Image.new("L", (60, 40), 200), "PNG")


@pytest.fixture
def client(network: object) -> Iterator[TestClient]:  # noqa: ARG001 - which stands for the engine
    """A client of a server around the network without weights."""
    token = Token("the token of the tests", is_given=True)
    model = ModelChoice("u2netp", {"backend": "numpy"}, Description(), MAX_PIXELS)
    settings = ServeSettings(models=(model,), limits=Limits(memory=1 << 30), token=token)
    service = Service(settings, lambda _: None)
    service.open()
    try:
        application = Application(service, settings, page=Page({}))
        headers = {"Authorization": f"Bearer {token.text}"}
        with TestClient(application, base_url=f"http://127.0.0.1:{settings.port}", headers=headers) as client:
            yield client
    finally:
        service.close()


def test_answers_are_as_they_are_described(client: TestClient) -> None:
    fits(client.get("/api/v1/models").json(), "Models")
    photo = png()
    for query in ("", "?crop=1&feather=2&format=jpeg"):
        fits(json.loads(client.post("/api/v1/remove" + query, content=photo).headers["nss-info"]), "Info")
    file = client.post("/api/v1/files", content=grey()).json()
    fits(file, "File")
    fits(json.loads(client.post(f"/api/v1/remove?mask={file['id']}", content=photo).headers["nss-info"]), "Info")
    for body in (photo, b"no image"):
        job = client.post("/api/v1/jobs", content=body)
        fits(job.json(), "Job")
        events = client.get(job.headers["location"] + "/events").text
        states = [json.loads(line[6:]) for line in events.splitlines() if line.startswith("data: ")]
        assert states
        for state in states:
            fits(state, "Job")
    jobs = client.get("/api/v1/jobs").json()
    fits(jobs, "Jobs")
    assert [job["state"] for job in jobs["jobs"]] == ["done", "failed"]
    fits(client.get("/api/v1/jobs/none").json(), "Problem")


def test_metrics_are_of_what_was_done(client: TestClient) -> None:
    job = client.post("/api/v1/jobs", content=b"no image")
    client.get(job.headers["location"] + "/events")  # which ends with the job
    client.post("/api/v1/remove", content=png())
    text = client.get("/metrics").text
    for line in (
        'nss_requests_total{route="/api/v1/remove",status="200"} 1.0',
        'nss_photos_total{outcome="done"} 1.0',
        'nss_photos_total{outcome="failed"} 1.0',
        'nss_stage_seconds_count{stage="infer"} 1.0',
    ):
        assert line in text.splitlines()
