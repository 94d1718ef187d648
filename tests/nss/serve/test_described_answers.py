"""What the API answers is what its document says."""

from __future__ import annotations

import importlib
import importlib.util
import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nss.serve.openapi_schemas import SCHEMAS
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
    file = io.BytesIO()
    Image.fromarray(np.arange(40 * 60 * 3, dtype=np.uint8).reshape(40, 60, 3)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.usefixtures("network")
def test_answers_are_as_they_are_described() -> None:
    if importlib.util.find_spec("tests.nss.serve.asgi") is None:
        pytest.skip("NOT TESTED HERE: the API is not there yet")
    asgi = importlib.import_module("tests.nss.serve.asgi")

    async def test() -> None:
        async with asgi.serving() as (_, client):
            fits((await client("GET", "/api/v1/models")).json, "Models")
            photo = png()
            for query in ("", "?crop=1&feather=2&format=jpeg"):
                fits(json.loads((await client("POST", "/api/v1/remove" + query, photo)).headers["nss-info"]), "Info")
            file = (await client("POST", "/api/v1/files", photo)).json
            fits(file, "File")
            masked = await client("POST", f"/api/v1/remove?mask={file['id']}", photo)
            if masked.status == 200:
                fits(json.loads(masked.headers["nss-info"]), "Info")
            else:
                fits(masked.json, "Problem")
            for body in (photo, b"no image"):
                job = await client("POST", "/api/v1/jobs", body)
                assert job.status == 202
                fits(job.json, "Job")
                events = (await client("GET", job.headers["location"] + "/events")).body.decode()
                for line in events.splitlines():
                    if line.startswith("data: "):
                        fits(json.loads(line[6:]), "Job")
            jobs = (await client("GET", "/api/v1/jobs")).json
            fits(jobs, "Jobs")
            assert [job["state"] for job in jobs["jobs"]] == ["done", "failed"]
            fits((await client("GET", "/api/v1/jobs/none")).json, "Problem")

    asgi.run(test)
