"""Who is let in, by WEB.md's table and beyond it; and how every answer looks."""

from __future__ import annotations

import json

import pytest
from starlette.testclient import TestClient

from nss.serve.http.guard import HEADERS, POLICY
from nss.serve.http.token import Token
from tests.nss.serve.serving import BASE, BEARER, TOKEN, FakeService, application, client

EVIL = "https://evil.example"
NAVIGATION = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


@pytest.mark.parametrize("path", ["/", "/api/v1/models", "/site.json", "/healthz", "/nothing"])
@pytest.mark.parametrize("host", ["evil.example:8765", "localhost", "127.0.0.1", "127.0.0.1:8766", "[::1]", "", "*"])
def test_another_host_is_421(host: str, path: str) -> None:
    answer = client().get(path, headers={"host": host})
    assert answer.status_code == 421
    assert answer.json()["title"] == "Misdirected Request"


@pytest.mark.parametrize("host", ["127.0.0.1:8765", "localhost:8765", "LocalHost:8765", "[::1]:8765"])
def test_the_right_hosts_are_let_in(host: str) -> None:
    assert client().get("/api/v1/models", headers={"host": host}).status_code == 200


def test_on_port_80_hosts_have_no_port() -> None:
    for host in ("localhost", "127.0.0.1", "[::1]", "localhost:80"):
        assert client(port=80).get("/", headers={"host": host}).status_code == 200
    assert client(port=80).get("/", headers={"host": "localhost:8765"}).status_code == 421


@pytest.mark.parametrize("origin", [EVIL, "null", "http://localhost", "https://127.0.0.1:8765", "http://127.0.0.1:1"])
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "DELETE"])
@pytest.mark.parametrize("path", ["/", "/api/v1/models", "/healthz"])
def test_another_origin_is_403(origin: str, method: str, path: str) -> None:
    answer = client().request(method, path, headers={"origin": origin})
    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("site", ["cross-site", "same-site", "whatever"])
def test_another_site_is_403(site: str) -> None:
    for path in ("/", "/api/v1/models"):
        assert client().get(path, headers={"sec-fetch-site": site}).status_code == 403
    for own in ("same-origin", "none"):
        assert client().get("/api/v1/models", headers={"sec-fetch-site": own}).status_code == 200


def test_a_link_from_another_site_leads_to_a_page_and_to_nothing_else() -> None:
    assert client().get("/", headers=NAVIGATION).status_code == 200
    assert client().get("/api/v1/models", headers=NAVIGATION).status_code == 403
    assert client().get("/metrics", headers=NAVIGATION).status_code == 403
    assert client().post("/", headers=NAVIGATION).status_code == 403
    for destination in ("iframe", "image", "script"):
        assert client().get("/", headers={**NAVIGATION, "sec-fetch-dest": destination}).status_code == 403


@pytest.mark.parametrize(
    "given", ["", "Bearer", "Bearer wrong", TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer é"]
)
@pytest.mark.parametrize("path", ["/api/v1/models", "/api/v1/nothing", "/api", "/metrics"])
def test_without_the_token_the_api_is_401(given: str, path: str) -> None:
    answer = client(headers={"authorization": given.encode("latin-1")} if given else {}).get(path)  # type: ignore[dict-item]
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert TOKEN not in answer.text


def test_no_token_is_asked_for_the_page_and_for_health() -> None:
    for path in ("/", "/page/main.mjs", "/site.json", "/healthz"):
        assert client(headers={}).get(path).status_code == 200
    assert client(headers={}).get("/healthz").text == "ok"
    assert client(headers={}).get("/browser/site.json").status_code == 404


def test_health_is_503_while_it_stops() -> None:
    assert client(FakeService(is_stopping=True)).get("/healthz").status_code == 503


@pytest.mark.parametrize(
    ("name", "values", "status"),
    [
        ("host", ["127.0.0.1:8765", "127.0.0.1:8765"], 400),
        ("host", ["127.0.0.1:8765", "evil.example"], 400),
        ("authorization", [f"Bearer {TOKEN}", f"Bearer {TOKEN}"], 401),
        ("origin", [BASE, BASE], 403),
        ("sec-fetch-site", ["none", "none"], 403),
    ],
)
def test_a_header_that_is_there_twice_is_none(name: str, values: list[str], status: int) -> None:
    headers = {"host": "127.0.0.1:8765", **BEARER}
    headers.pop(name, None)
    everything = [*headers.items(), *((name, value) for value in values)]
    assert client(headers={}).get("/api/v1/models", headers=everything).status_code == status  # type: ignore[arg-type]


def test_the_host_comes_before_the_origin_and_that_before_the_token() -> None:
    asked = client(headers={"origin": EVIL})
    assert asked.get("/api/v1/models", headers={"host": "evil"}).status_code == 421
    assert asked.get("/api/v1/models").status_code == 403


def test_nobody_is_told_that_other_origins_may_read_unless_one_is_named() -> None:
    answer = client().get("/api/v1/models", headers={"origin": BASE})
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_named_origin_may_call_the_api() -> None:
    named = "https://app.example"
    asked = client(allowed_origins=(named,))
    answer = asked.get("/api/v1/models", headers={"origin": named, "sec-fetch-site": "cross-site"})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == named
    assert answer.headers["vary"] == "Origin"
    assert "nss-info" in answer.headers["access-control-expose-headers"]
    assert "access-control-allow-credentials" not in answer.headers
    refused = asked.get("/api/v1/models", headers={"origin": named, "authorization": "Bearer wrong"})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, named)
    assert asked.get("/", headers={"origin": named}).status_code == 403
    assert asked.get("/metrics", headers={"origin": named}).status_code == 403
    assert asked.get("/api/v1/models", headers={"origin": "https://app.example:444"}).status_code == 403


def test_the_preflight_of_a_named_origin_is_204_without_a_token() -> None:
    named = "https://app.example"
    asked = {"origin": named, "access-control-request-method": "POST", "access-control-request-private-network": "true"}
    answer = client(headers={}, allowed_origins=(f"{named}/",)).options("/api/v1/jobs", headers=asked)
    assert answer.status_code == 204
    assert answer.content == b""
    assert answer.headers["access-control-allow-headers"] == "authorization, content-type, last-event-id"
    assert answer.headers["access-control-allow-methods"] == "GET, POST, DELETE"
    assert answer.headers["access-control-allow-private-network"] == "true"
    other = client(headers={}, allowed_origins=(named,)).options("/api/v1/jobs", headers={**asked, "origin": EVIL})
    assert other.status_code == 403


def test_behind_a_public_url_its_host_and_origin_are_right() -> None:
    asked = client(public_urls=("https://cut.example", "http://box.lan:9000/"))
    for host in ("cut.example", "CUT.example:443", "box.lan:9000", "127.0.0.1:8765"):
        assert asked.get("/api/v1/models", headers={"host": host}).status_code == 200
    for host in ("cut.example:8765", "box.lan", "cut.example.", "evil.cut.example"):
        assert asked.get("/api/v1/models", headers={"host": host}).status_code == 421
    for origin, status in {"https://cut.example": 200, "http://cut.example": 403, "http://box.lan:9000": 200}.items():
        headers = {"host": "cut.example", "origin": origin}
        assert asked.get("/api/v1/models", headers=headers).status_code == status


def test_every_answer_has_the_headers() -> None:
    answers = [
        client().get("/"),
        client().get("/api/v1/models"),
        client().get("/nothing"),
        client().get("/api/v1/fail"),
        client().get("/", headers={"host": "evil"}),
        client(headers={}).get("/api/v1/models"),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 404, 500, 421, 401]
    for answer in answers:
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
        assert answer.headers["cache-control"] == ("no-cache" if answer is answers[0] else "no-store")
        assert "set-cookie" not in answer.headers
    assert "'unsafe" not in POLICY


def test_a_failure_that_nobody_foresaw_is_one_line_and_no_traceback() -> None:
    said: list[str] = []
    answer = client(FakeService(), said).get("/api/v1/fail")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    problem = {"title": "Internal Server Error", "status": 500}
    assert answer.json().items() >= problem.items()
    assert "Traceback" not in answer.text
    assert said == ['GET "/api/v1/fail": unexpected ValueError: a secret of two lines (please report it)']


def test_what_is_not_there_and_what_cannot_be_done_are_problems() -> None:
    missing = client().get("/api/v1/nothing")
    assert (missing.status_code, missing.headers["content-type"]) == (404, "application/problem+json")
    assert missing.json()["detail"] == 'there is nothing at "/api/v1/nothing"'
    wrong = client().put("/api/v1/jobs")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, HEAD, POST")
    assert wrong.json()["detail"] == '"PUT" is not possible at "/api/v1/jobs"; possible: GET, HEAD, POST'
    assert client().post("/api/v1/jobs/7").headers["allow"] == "DELETE, GET, HEAD"
    assert client().post("/page/main.mjs").headers["allow"] == "GET, HEAD"
    assert client().post("/nothing").status_code == 404
    assert client().get("/api/v1/jobs/").status_code == 404  # no redirection, which would name the Host


def test_every_answer_is_counted_by_its_route() -> None:
    service = FakeService()
    asked = client(service)
    for path in ("/api/v1/jobs/one", "/api/v1/jobs/two", "/nothing", "/api/v1/fail"):
        asked.get(path)
    asked.get("/", headers={"host": "evil"})
    assert service.answers == [
        ("/api/v1/jobs/{id}", 200),
        ("/api/v1/jobs/{id}", 200),
        ("other", 404),
        ("/api/v1/fail", 500),
        ("other", 421),
    ]


def test_its_lifespan_starts_and_stops_the_service() -> None:
    service = FakeService()
    with TestClient(application(service), base_url=BASE) as asked:
        assert (service.started, service.stopped) == (1, 0)
        asked.get("/")
    assert (service.started, service.stopped) == (1, 1)


def test_a_token_does_not_show() -> None:
    assert TOKEN not in repr(Token(TOKEN))


def test_websockets_are_closed() -> None:
    from starlette.websockets import WebSocketDisconnect

    with pytest.raises(WebSocketDisconnect), client().websocket_connect("/api/v1/models"):
        pass


def test_a_problem_names_its_status_in_its_body() -> None:
    answer = client(headers={}).get("/api/v1/models")
    assert json.loads(answer.content).keys() == {"title", "status", "detail"}
