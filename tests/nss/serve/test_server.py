"""Sockets, signals, the end of a server, and a proxy before it."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from nss.errors import UsageError
from nss.serve.http import application, sockets
from nss.serve.http import server as server_module
from tests.nss.serve.serving import (
    BEARER,
    STALL_S,
    TOKEN,
    FakeService,
    Running,
    fake_routes,
    read_all,
    running,
    settings,
    statuses,
)
from tests.project import ROOT, environment
from tests.wall_clock import wait_until

PUBLIC = "https://cut.example"


def test_a_taken_port_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} of 127.0.0.1 is taken: choose another by 'port'"):
            sockets.listen("127.0.0.1", port)


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_an_address_of_another_computer_is_one_line(host: str) -> None:
    with pytest.raises(UsageError, match=f"'host' \"{host}\": is no address of this computer"):
        sockets.listen(host, 0)


def test_localhost_is_both_of_its_addresses_where_it_can() -> None:
    listening = sockets.listen("127.0.0.1", 0)
    try:
        port = sockets.port_of(listening)
        assert {each.getsockname()[:2] for each in listening} <= {("127.0.0.1", port), ("::1", port)}
        for each in listening:
            with pytest.raises(UsageError):
                sockets.listen(each.getsockname()[0], port)
    finally:
        for each in listening:
            each.close()


def test_it_ends_with_nothing_to_do() -> None:
    with running() as server:
        with server.connect() as idle:
            idle.sendall(server.head("GET /healthz HTTP/1.1"))
            while not idle.recv(4096).endswith(b"ok"):
                pass
            server.finish()
            assert read_all(idle) == b""
        server.thread.join(0.8 * STALL_S)  # or it would wait for what has no end
        assert not server.thread.is_alive()
    assert (server.service.started, server.service.stopped, server.said) == (1, 1, [])


def test_what_runs_is_answered_and_streams_end_whole() -> None:
    with running() as server, server.connect() as slow, server.connect() as stream:
        slow.sendall(server.head("GET /api/v1/slow HTTP/1.1"))
        stream.sendall(server.head("GET /api/v1/events HTTP/1.1"))
        wait_until(lambda: server.service.running == 1)
        streamed = b""
        while not streamed.endswith(b"data: 1\n\n\r\n"):
            streamed += stream.recv(4096)
        server.service.done.clear()
        server.finish()
        wait_until(lambda: bool(server.said))
        assert server.said == ["finishing 1 photo; press Ctrl-C again to stop at once"]
        # as long as photos are in work, who has a job may ask for it
        heads = server.head("GET /healthz HTTP/1.1", "Connection: close")
        assert statuses(server.ask(heads)) == [503]
        server.service.done.set()
        answer = read_all(slow)
        assert statuses(answer) == [200]
        assert answer.endswith(b"late, but whole")
        assert read_all(stream) == b"0\r\n\r\n"
        server.thread.join(0.8 * STALL_S)
        assert not server.thread.is_alive()


CHILD = """
import os, sys, threading
from pathlib import Path
from nss.files import output_file
from nss.stop_signals import stop_signals
from tests.nss.serve import serving

folder = Path(sys.argv[1])
say = lambda line: os.write(2, f"{line}\\n".encode())  # a signal in the middle of a print could say nothing
tell = lambda line: print(line, flush=True)


def write(sink):
    sink.write(b"half")
    tell("writing")
    threading.Event().wait()


def is_listening():
    if service.running:
        threading.Thread(target=output_file.place, args=(write, folder / "photo.png"), daemon=True).start()
    else:
        tell("ready")


with stop_signals():
    for running in (0, 0, 0, 3):
        service = serving.FakeService(running=running)
        if running:
            service.done.clear()
        listening = serving.sockets.listen("127.0.0.1", 0)
        asgi = serving.application(service, port=serving.sockets.port_of(listening))
        server = serving.Server(service, asgi, 1, say, is_listening)
        server.serve_until_signal(listening, lambda: tell("at once"))
        tell("ended")
"""


def test_the_first_signal_lets_it_end_and_the_second_one_ends_it(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            assert process.stdout.readline() == "ready\n"
            process.send_signal(number)
            assert process.stdout.readline() == "ended\n"
        assert process.stdout.readline() == "writing\n"
        assert len(list(tmp_path.iterdir())) == 1  # the temporary file
        process.send_signal(signal.SIGTERM)
        assert process.stderr.readline() == "finishing 3 photos; press Ctrl-C again to stop at once\n"
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert (process.returncode, output, errors) == (130, "at once\n", "interrupted\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="a process sends itself no signals there")
def test_signals_that_the_process_ignores_stay_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    done: list[str] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    monkeypatch.setattr(server_module.output_file, "abandon", lambda: done.append("abandoned"))
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with server_module._signals(lambda: done.append("first"), lambda: done.append("at once"), done.append):
            for number in (signal.SIGHUP, signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
                signal.raise_signal(number)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert done == ["first", "abandoned", "at once", "terminated"]
    assert ended == [143]


class Proxy(BaseHTTPRequestHandler):
    """Forwards what it gets as it is, with the Host of the public URL, as a reverse proxy is told to."""

    protocol_version = "HTTP/1.1"
    port = 0

    def forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        behind = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        behind.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in (*self.headers.items(), ("X-Forwarded-For", "192.0.2.7"), ("X-Forwarded-Proto", "https")):
            behind.putheader(name, value)
        behind.endheaders(body)
        answer = behind.getresponse()
        content = answer.read()
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection"):
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_DELETE = do_OPTIONS = forward  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextmanager
def proxied(server: Running) -> Iterator[int]:
    handler = type("Handler", (Proxy,), {"port": server.port})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield proxy.server_address[1]
        finally:
            proxy.shutdown()
            thread.join()


def ask(port: int, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, {"Host": "cut.example", **named})
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_behind_a_reverse_proxy() -> None:
    with running(public_urls=(PUBLIC,)) as server, proxied(server) as port:
        assert ask(port, "GET", "/")[0] == 200
        assert ask(port, "GET", "/api/v1/models")[0] == 401
        own = {**BEARER, "origin": PUBLIC, "sec_fetch_site": "same-origin"}
        assert ask(port, "POST", "/api/v1/jobs", b"photo", **own)[0] == 202
        assert ask(port, "POST", "/api/v1/jobs", bytes(2 << 20), **own)[0] == 413
        assert ask(port, "GET", "/api/v1/models", **{**own, "origin": "https://evil.example"})[0] == 403
        assert ask(port, "GET", "/", Host="evil.example")[0] == 421
        assert ask(port, "GET", "/", Host=f"127.0.0.1:{port}")[0] == 421  # the proxy's own, which nobody has named
    with running() as server, proxied(server) as port:
        assert ask(port, "GET", "/")[0] == 421  # without the option


def test_run_opens_serves_and_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """All of it in the main thread, as the command has it; the service and its routes alone are stand-ins."""
    happened: list[str] = []

    class Service(FakeService):
        def __init__(self, given: Any, _: Any) -> None:
            super().__init__(given.limits)
            happened.append("made")

        def open(self) -> None:
            happened.append("opened")

        def close(self) -> None:
            happened.append("closed")

    def ready(url: str) -> None:
        happened.append("ready")
        threading.Thread(target=ask_and_end, args=(url,)).start()

    def ask_and_end(url: str) -> None:
        base, token = url.split("/#token=")
        status, content = ask(int(base.rpartition(":")[2]), "GET", "/site.json", Host=base.removeprefix("http://"))
        happened.append(f"{status} {token == TOKEN} {b'kernels.json' in content}")
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    module = ModuleType("nss.serve.jobs.service")
    vars(module)["Service"] = Service
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(application, "_routes", fake_routes)
    said: list[str] = []
    assert server_module.run(settings(port=0), said.append, ready=ready) == 0
    assert happened == ["made", "opened", "ready", "200 True True", "closed"]
    assert said == []


def test_what_others_may_reach_is_said() -> None:
    said: list[str] = []
    token = type(settings().token)(TOKEN, is_given=True)
    server_module._say_who_can_reach(settings(), said.append)
    assert said == []
    server_module._say_who_can_reach(settings(host="0.0.0.0", allow_remote=True, token=token), said.append)
    assert [line.split(":")[0] for line in said] == ["'allow_remote'", "others reach it by no name yet"]
    assert "GPU" in said[0]


def test_a_browser_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    opened: list[str] = []
    monkeypatch.setattr(server_module.webbrowser, "open", lambda url: opened.append(url) is None)
    server_module._open_browser("http://here/", said.append)
    monkeypatch.setattr(server_module.webbrowser, "open", lambda _: False)
    server_module._open_browser("http://here/", said.append)
    assert (opened, said) == (["http://here/"], ["there is no browser to open: open the printed address in one"])


def test_running_servers_leave_no_descriptors() -> None:
    with running():
        pass
    before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").is_dir() else 0
    with running() as server:
        for _ in range(20):
            server.ask(server.head("GET / HTTP/1.1", "Connection: close"))
    if before:
        assert len(list(Path("/proc/self/fd").iterdir())) <= before
    assert isinstance(server.service, FakeService)
