"""Models for browsers: made once somebody asks, read by anybody, gone at the end."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.testclient import TestClient

from nss.errors import ModelUnavailableError
from nss.serve import browser as browser_module
from nss.serve import own_folder
from nss.serve.browser import BrowserModels
from nss.serve.own_folder import OwnFolder, remove_leftovers
from nss.web.site import Site, SiteFile, SiteModel
from tests.nss.serve.serving import BASE, BEARER, PAGE, FakeService, settings
from tests.project import ROOT, environment


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def choice(requested: str, **network: Any) -> Any:
    return SimpleNamespace(requested=requested, network=network, model_config={})


def fake_export(calls: list[str]) -> Any:
    """`export_web` for models whose name says what becomes of them."""

    def export(name: str, folder: Path, **options: Any) -> Any:
        calls.append(name)
        assert options["page"] is False
        if name == "too-large":
            raise ModelUnavailableError("too-large: needs more than every browser has")
        files = []
        for path in ("models/net/model.json", "models/net/weights-000.bin"):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(f"{name} {path}".encode())
            files.append(SiteFile.of(path, folder / path))
        (folder / "image").mkdir()
        (folder / "image/kernels.json").write_text("{}")
        kernels = SiteFile.of("image/kernels.json", folder / "image/kernels.json")
        words = dict.fromkeys(("title", "summary", "licence", "licence_url", "commercial", "origin", "weights"), "x")
        model = SiteModel(
            name="net", **words, bytes=9, size=(8, 8), folder="models/net/", default=True, files=tuple(files)
        )
        (folder / "site.json").write_bytes(Site("1", (model,), (kernels,)).encode())
        return SimpleNamespace(models=(model,))

    return export


def served(*requested: str, names: tuple[str, ...] | None = None, said: list[str] | None = None) -> Any:
    from nss.serve.application import Application

    say = (said if said is not None else []).append
    models = BrowserModels([choice(name) for name in requested], lambda: names or requested, say)
    service: Any = FakeService()
    asgi = Application(service, settings(), say=say, page=PAGE, browser=models, routes=[])
    return TestClient(asgi, base_url=BASE, headers=BEARER), models


def test_they_are_made_once_and_then_there(monkeypatch: pytest.MonkeyPatch, temporary: Path) -> None:
    calls: list[str] = []
    monkeypatch.setattr(browser_module, "export_web", fake_export(calls))
    asked, models = served("one", "two")
    assert asked.get("/browser/site.json").status_code == 404
    assert asked.post("/api/v1/browser", headers={"authorization": ""}).status_code == 401
    assert calls == []
    for _ in range(2):
        assert asked.post("/api/v1/browser").json() == {"base": "/browser/"}
    assert calls == ["one", "two"]
    record = asked.get("/browser/site.json", headers={"authorization": ""}).json()
    assert [(model["name"], model["folder"], model["default"]) for model in record["models"]] == [
        ("one", "models/one/", True),
        ("two", "models/two/", False),
    ]
    assert [file["path"] for file in record["files"]] == ["image/kernels.json"]
    for model in record["models"]:
        for file in model["files"]:
            answer = asked.get(f"/browser/{file['path']}", headers={"authorization": "", "range": "bytes=0-1"})
            assert (answer.status_code, len(answer.content)) == (200, file["bytes"])
            assert answer.text.startswith(model["name"])
            assert answer.headers["accept-ranges"] == "none"
            known = asked.get(f"/browser/{file['path']}", headers={"if-none-match": answer.headers["etag"]})
            assert known.status_code == 304
    assert asked.get("/browser/image/kernels.json").headers["content-type"] == "application/json"
    assert len(list(temporary.iterdir())) == 1
    models.close()
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    "path", ["0/site.json", "owner", "../owner", "%2e%2e/owner", "models/one/%2e%2e/two/model.json", ""]
)
def test_nothing_else_of_the_folder_is_served(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setattr(browser_module, "export_web", fake_export([]))
    asked, models = served("one", "two")
    asked.post("/api/v1/browser")
    assert asked.get(f"/browser/{path}").status_code == 404
    models.close()


def test_a_model_that_no_browser_can_run_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser_module, "export_web", fake_export([]))
    said: list[str] = []
    asked, models = served("too-large", "one", said=said)
    assert asked.post("/api/v1/browser").status_code == 200
    assert said == ["too-large: not for browsers: too-large: needs more than every browser has"]
    (model,) = asked.get("/browser/site.json").json()["models"]
    assert (model["name"], model["default"]) == ("one", True)
    models.close()


def test_where_no_model_can_run_it_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(browser_module, "export_web", fake_export(calls))
    asked, models = served("too-large")
    for _ in range(2):
        answer = asked.post("/api/v1/browser")
        assert (answer.status_code, answer.json()["detail"]) == (503, "too-large: needs more than every browser has")
    assert len(calls) == 2  # it may be better the next time
    models.close()


def test_auto_is_the_model_that_the_server_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(browser_module, "export_web", fake_export(calls))
    asked, models = served("auto", names=("one",))
    asked.post("/api/v1/browser")
    assert calls == ["one"]
    models.close()


def test_the_folder_of_a_killed_process_goes_at_the_next_start(temporary: Path) -> None:
    script = "import os; from nss.serve.own_folder import OwnFolder; OwnFolder(); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment(TMPDIR=str(temporary)), check=False)
    (left,) = temporary.iterdir()
    (left / "models").mkdir()
    ours = OwnFolder()
    assert (ours.path / own_folder.LOCK).read_text() == f"{os.getpid()}\n"
    (temporary / f"{own_folder.PREFIX}empty").mkdir()
    (temporary / f"{own_folder.PREFIX}link").symlink_to(left)
    (temporary / "else").mkdir()
    assert remove_leftovers() == 1
    assert sorted(path.name for path in temporary.iterdir()) == sorted(
        [ours.path.name, f"{own_folder.PREFIX}empty", f"{own_folder.PREFIX}link", "else"]
    )
    ours.remove()
    ours.remove()
    assert not ours.path.exists()
