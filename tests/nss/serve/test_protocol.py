"""What clients may have a connection wait for, on real sockets: slow ones, large ones, and those that speak no HTTP."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from nss.serve.limits import Limits
from tests.nss.serve.serving import STALL_S, FakeService, Running, closed, read_all, running, statuses
from tests.wall_clock import wait_until

MIB = 1 << 20
QUICK = (b"GET /healthz HTTP/1.1\r\nHost: localhost:%d\r\nConnection: close\r\n\r\n", 200)


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running() as server:
        yield server
        assert server.said == [], "nothing that a client does is a failure of the server's"


def problem(answer: bytes) -> dict[str, object]:
    """The body of the last answer, which closes the connection."""
    head, _, body = answer.rpartition(b"HTTP/1.1 ")[2].partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head.lower()
    assert b"connection: close" in head.lower()
    assert b"x-content-type-options: nosniff" in head.lower()
    record = json.loads(body)
    assert isinstance(record, dict)
    return record


def is_well(server: Running) -> bool:
    return statuses(server.ask(QUICK[0] % server.port)) == [200]


def test_the_broken_body_of_a_head_is_refused_without_one(server: Running) -> None:
    # in one piece: the page answers a HEAD without waiting for its body
    answer = server.ask(server.head("HEAD / HTTP/1.1", "Transfer-Encoding: chunked") + b"zz\r\n")
    assert statuses(answer) == [400]
    assert answer.endswith(b"\r\n\r\n")
    assert is_well(server)


def test_a_connection_that_says_nothing_is_closed(server: Running) -> None:
    begun = server.loop.time()
    with server.connect() as connection:
        server.pass_time(STALL_S * 0.9)
        is_closed = closed(connection, 0.05)
        is_time = server.loop.time() > begun + STALL_S  # a busy machine may have taken the rest meanwhile
        assert is_time or not is_closed, "not before its time"
        server.pass_time(STALL_S * 0.2)
        assert closed(connection, 0.8 * STALL_S)


def test_half_a_head_is_408(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(server.head(end=False))
        server.wait_out(connection)
        assert problem(read_all(connection))["status"] == 408


def test_a_head_that_drips_has_no_more_time(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nX: ")
        for _ in range(10):
            server.pass_time(STALL_S / 8)
            connection.sendall(b"x")
        connection.settimeout(0.8 * STALL_S)  # it is out already, not when nothing comes for so long
        assert statuses(read_all(connection)) == [408]


def test_the_second_head_has_its_time_too(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(server.head())
        connection.sendall(b"GET / HTTP/1.1\r\n")
        answer = b""
        while not answer.endswith(b"html>"):
            answer += connection.recv(4096)
        server.wait_out(connection)
        assert statuses(answer + read_all(connection)) == [200, 408]


def test_a_body_that_stalls_is_408(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(server.head("POST /api/v1/jobs HTTP/1.1", "Content-Length: 100"))
        connection.sendall(b"abc")
        server.wait_out(connection)
        assert problem(read_all(connection))["status"] == 408


def test_a_body_that_drips_is_408(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(server.head("POST /api/v1/jobs HTTP/1.1", "Content-Length: 100000"))
        for _ in range(20):  # the first may come before anybody takes the body
            server.pass_time(STALL_S / 8)
            connection.sendall(b"x" * 8)
        connection.settimeout(0.8 * STALL_S)
        assert statuses(read_all(connection)) == [408]


def test_a_refused_body_that_drips_for_ever_is_closed(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(server.head("POST /api/v1/jobs HTTP/1.1", "Content-Length: 999999999"))
        assert connection.recv(12) == b"HTTP/1.1 413"
        for _ in range(10):
            connection.sendall(b"x")
            server.pass_time(STALL_S / 8)
        with pytest.raises(ConnectionError):
            wait_until(lambda: connection.sendall(b"x"))


@pytest.mark.parametrize("path", ["/api/v1/jobs", "/api/v1/nothing", "/"])
def test_whoever_sends_2_mb_sees_the_answer(server: Running, path: str) -> None:
    body = bytes(2 * MIB)
    with server.connect() as connection:
        connection.sendall(server.head(f"POST {path} HTTP/1.1", f"Content-Length: {len(body)}"))
        answer = connection.recv(12)
        connection.sendall(body)  # the answer is out already
        answer += read_all(connection)
    assert b"<reset>" not in answer
    assert problem(answer)["status"] == {"/api/v1/jobs": 413, "/api/v1/nothing": 404, "/": 405}[path]


def test_chunked_over_the_limit_is_413(server: Running) -> None:
    chunk = b"40000\r\n" + bytes(0x40000) + b"\r\n"
    answer = server.ask(server.head("POST /api/v1/jobs HTTP/1.1", "Transfer-Encoding: chunked"), *[chunk] * 8)
    assert problem(answer)["status"] == 413


def test_a_chunked_body_is_taken(server: Running) -> None:
    parts = [b"3\r\nabc\r\n", b"2\r\nde\r\n", b"0\r\n\r\n"]
    heads = server.head("POST /api/v1/jobs HTTP/1.1", "Transfer-Encoding: chunked", "Connection: close")
    answer = server.ask(heads, *parts)
    assert statuses(answer) == [202]
    assert b'"bytes":5' in answer


def test_a_client_that_waits_for_continue_gets_it_or_its_refusal(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(
            server.head("POST /api/v1/jobs HTTP/1.1", "Content-Length: 3", "Expect: 100-continue", "Connection: close")
        )
        assert connection.recv(1000).startswith(b"HTTP/1.1 100")
        connection.sendall(b"abc")
        assert statuses(read_all(connection)) == [202]
    large = f"Content-Length: {2 * MIB}"
    with server.connect() as connection:
        connection.sendall(server.head("POST /api/v1/jobs HTTP/1.1", large, "Expect: 100-continue"))
        assert connection.recv(12) == b"HTTP/1.1 413"
        connection.shutdown(socket.SHUT_WR)
        assert b"HTTP/1.1 100" not in read_all(connection)


@pytest.mark.parametrize(
    "bytes_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"\r\n\r\n\0\0\0\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n folded: b\r\n\r\n\r\n" * 3,
        b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_what_is_no_http_is_400(server: Running, bytes_: bytes) -> None:
    answer = server.ask(bytes_)
    refusal = problem(answer)
    assert refusal["status"] in (400, 421)  # 421: what a lenient parser reads as a Host of its own
    assert "bytearray" not in refusal["detail"], "of what came, as Python writes it"
    assert is_well(server)


def test_a_body_with_two_ends_is_400_and_ends_the_connection(server: Running) -> None:
    lengths = ("Content-Length: 3", "Transfer-Encoding: chunked")
    answer = server.ask(server.head("POST /api/v1/jobs HTTP/1.1", *lengths), b"1\r\nx\r\n0\r\n\r\n")
    assert statuses(answer) == [400]


def test_an_unknown_transfer_encoding_is_501(server: Running) -> None:
    assert statuses(server.ask(server.head("POST /api/v1/jobs HTTP/1.1", "Transfer-Encoding: gzip"))) == [501]


def test_a_bad_chunk_is_400(server: Running) -> None:
    answer = server.ask(server.head("POST /api/v1/jobs HTTP/1.1", "Transfer-Encoding: chunked"), b"zz\r\n")
    assert problem(answer)["status"] == 400
    assert is_well(server)


def test_a_huge_head_is_431(server: Running) -> None:
    answer = server.ask(server.head("GET / HTTP/1.1", "X: " + "x" * 70_000))
    assert problem(answer) == {
        "title": "Request Header Fields Too Large",
        "status": 431,
        "detail": "at most 65536 bytes of head are taken",
    }
    lines = [f"X-{number}: {'x' * 100}" for number in range(300)]
    assert statuses(server.ask(server.head("GET / HTTP/1.1", "Connection: close", *lines))) == [200]


def test_pipelined_requests_are_answered_and_garbage_behind_them_refused(server: Running) -> None:
    answer = server.ask(server.head() + server.head("GET /api/v1/models HTTP/1.1") + b"garbage\r\n\r\n")
    assert statuses(answer) == [200, 200, 400]


def test_http_1_0_is_answered_and_closed(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(f"GET / HTTP/1.0\r\nHost: 127.0.0.1:{server.port}\r\n\r\n".encode())
        assert statuses(read_all(connection)) == [200]
    assert statuses(server.ask(b"GET / HTTP/1.0\r\n\r\n")) == [400]


@pytest.mark.parametrize("target", ["http://evil.example/", "http://127.0.0.1/", "*", "evil.example:443"])
@pytest.mark.parametrize("method", ["GET", "OPTIONS", "CONNECT"])
def test_it_is_no_proxy(server: Running, method: str, target: str) -> None:
    answer = server.ask(server.head(f"{method} {target} HTTP/1.1", "Connection: close"))
    assert statuses(answer) == [400]


def test_an_upgrade_is_passed_over(server: Running) -> None:
    heads = ("Connection: upgrade, close", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
    assert statuses(server.ask(server.head("GET / HTTP/1.1", *heads))) in ([200], [200, 408])


def test_a_connection_that_is_idle_is_kept(server: Running) -> None:
    with server.connect() as connection:
        for _ in range(2):
            connection.sendall(server.head("GET /healthz HTTP/1.1"))
            answer = b""
            while not answer.endswith(b"ok"):
                answer += connection.recv(4096)
            server.pass_time(STALL_S * 1.5)
            assert not closed(connection, 0.05)


def test_a_client_that_leaves_in_mid_body_is_no_failure(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(server.head("POST /api/v1/jobs HTTP/1.1", "Content-Length: 100") + b"abc")
    assert is_well(server)
    wait_until(lambda: server.service.waiting_budget.reserved == 0)  # others may be answered first


def test_the_connection_that_is_idle_longest_makes_room() -> None:
    with running(most_connections=4) as server:
        with server.connect() as oldest:
            oldest.sendall(server.head("GET /healthz HTTP/1.1"))
            while not oldest.recv(4096).endswith(b"ok"):
                pass
            others = [server.connect() for _ in range(3)]
            assert is_well(server)
            assert closed(oldest, 60)
        for other in others:
            other.close()
        flood = [server.connect() for _ in range(40)]
        assert is_well(server)
        for one in flood:
            one.close()


def test_where_all_are_in_work_another_gets_503() -> None:
    service = FakeService(limits=Limits(memory=1 << 20, stall_seconds=STALL_S))
    with running(service, most_connections=2) as server:
        streams = [server.connect() for _ in range(2)]
        for stream in streams:
            stream.sendall(server.head("GET /api/v1/events HTTP/1.1"))
            assert b"200" in stream.recv(12)
        with server.connect() as connection:
            answer = read_all(connection)
        assert problem(answer)["status"] == 503
        assert b"retry-after: 2" in answer.lower()
        for stream in streams:
            stream.close()
        assert is_well(server)


def test_clients_that_read_slowly_keep_nobody_out() -> None:
    service = FakeService(limits=Limits(memory=1 << 20, stall_seconds=STALL_S))
    with running(service, most_connections=2) as server:
        slow = [server.connect() for _ in range(2)]
        for connection in slow:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
            connection.sendall(server.head("GET /big.bin HTTP/1.1", "Connection: close"))
            assert b"200" in connection.recv(12)
        wait_until(lambda: is_well(server))
        assert len(read_all(slow[1])) > len(read_all(slow[0])), "the first has waited longest"
        for connection in slow:
            connection.close()


def test_a_client_that_reads_nothing_is_given_up() -> None:
    service = FakeService(limits=Limits(memory=1 << 20, stall_seconds=STALL_S))
    with running(service) as server:
        with server.connect() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(server.head("GET /big.bin HTTP/1.1"))
            wait_until(lambda: server.server.server_state.connections)
            wait_until(lambda: server.pass_time(STALL_S) or not server.server.server_state.connections)
            answer = read_all(connection)
        assert len(answer) < 8 * MIB
        slow = 0
        with server.connect() as connection:
            connection.sendall(server.head("GET /big.bin HTTP/1.1", "Connection: close"))
            while part := connection.recv(MIB, socket.MSG_WAITALL):
                slow += len(part)
                server.pass_time(STALL_S / 2)
        assert slow > 8 * MIB  # who reads slowly gets all of it
