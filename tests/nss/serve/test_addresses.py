"""Which Hosts and Origins are right, what a server may be started with, and where its token is from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nss.errors import UsageError
from nss.serve.http.addresses import Addresses, is_loopback, parse_origin
from nss.serve.http.token import VARIABLE, Token, read_token
from tests.nss.serve.serving import TOKEN, settings

GIVEN = Token(TOKEN, is_given=True)


def test_the_right_ones_of_loopback() -> None:
    right = Addresses.of("127.0.0.1", 8765)
    assert right.hosts == {"127.0.0.1:8765", "localhost:8765", "[::1]:8765"}
    assert right.origins == {f"http://{host}" for host in right.hosts}
    assert right.named_origins == set()


def test_a_concrete_address_is_right_too_and_all_addresses_are_none() -> None:
    assert "192.168.1.5:80" in Addresses.of("192.168.1.5", 80).hosts
    assert "192.168.1.5" in Addresses.of("192.168.1.5", 80).hosts
    assert "[fe80::1]:8765" in Addresses.of("FE80:0::1", 8765).hosts
    for anywhere in ("", "0.0.0.0", "::"):
        assert len(Addresses.of(anywhere, 8765).hosts) == 3


@pytest.mark.parametrize(
    ("url", "origin", "hosts"),
    [
        ("https://cut.example", "https://cut.example", ("cut.example", "cut.example:443")),
        ("HTTPS://Cut.Example:443/", "https://cut.example", ("cut.example", "cut.example:443")),
        ("http://box:8000", "http://box:8000", ("box:8000",)),
        ("http://box:443", "http://box:443", ("box:443",)),
        ("http://[2001:DB8::0:1]/", "http://[2001:db8::1]", ("[2001:db8::1]", "[2001:db8::1]:80")),
        (
            "https://bücher.example",
            "https://xn--bcher-kva.example",
            ("xn--bcher-kva.example", "xn--bcher-kva.example:443"),
        ),
    ],
)
def test_a_url_is_an_origin_and_its_hosts(url: str, origin: str, hosts: tuple[str, ...]) -> None:
    parsed = parse_origin(url, "public_urls")
    assert (str(parsed), parsed.hosts) == (origin, hosts)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "cut.example",
            "//cut.example",
            "ftp://cut.example",
            "https://",
            "https://:443",
            "null",
            "*",
            "https://*",
        ),
        *("https://cut.example/page", "https://cut.example?", "https://cut.example#x", "https://me@cut.example"),
        *("https://cut.example:0", "https://cut.example:70000", "https://cut.example:x", "https://a\tb", "https://a b"),
        *("https://[::1", "https://a\\b", "https://a,b", "https://-a", "https://cut.example\n", "https://a..é"),
    ],
)
def test_what_is_no_origin_is_a_usage_error(url: str) -> None:
    for changes in ({"public_urls": (url,)}, {"allowed_origins": (url,)}):
        with pytest.raises(UsageError, match=f"'{next(iter(changes))}'"):
            settings(**changes)


def test_loopback_is_known() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.8.0.1", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "", "::", "192.168.1.5", "box", "localhost.example")))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"host": "0.0.0.0"}, "'host' \"0.0.0.0\": other computers could reach it; pass 'allow_remote'"),
        ({"host": "box"}, "'allow_remote'"),
        ({"host": "", "token": GIVEN}, "'allow_remote'"),
        ({"host": "0.0.0.0", "allow_remote": True}, f"'allow_remote' needs a token of yours.*{VARIABLE}"),
        ({"allow_remote": True}, "'allow_remote' needs a token"),
        ({"host": "a b", "allow_remote": True, "token": GIVEN}, "is no address or name"),
        ({"host": "[::1]"}, "'host' \"\\[::1\\]\": is no address or name"),
        ({"port": 70000}, "'port' 70000"),
        ({"models": ()}, "'model'"),
    ],
)
def test_what_a_server_cannot_be_started_with(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        settings(**changes)


@pytest.mark.parametrize(
    ("changes", "url"),
    [
        ({}, "http://127.0.0.1:9/"),
        ({"host": "::1"}, "http://[::1]:9/"),
        ({"host": "", "allow_remote": True, "token": GIVEN}, "http://127.0.0.1:9/"),
        ({"host": "10.0.0.7", "allow_remote": True, "token": GIVEN}, "http://10.0.0.7:9/"),
        ({"public_urls": ("https://cut.example/", "http://b")}, "https://cut.example/"),
    ],
)
def test_the_url_that_is_printed(changes: dict[str, Any], url: str) -> None:
    assert settings(**changes).url_at(9) == f"{url}#token={TOKEN}"


def test_a_token_is_made_new_each_time() -> None:
    first, second = read_token({}), read_token({VARIABLE: ""})
    assert first.text != second.text
    assert len(first.text) == 43
    assert not first.is_given


def test_a_token_is_read_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"  {TOKEN}\r\n")
    token = read_token({VARIABLE: str(file)})
    assert token == GIVEN
    assert token.is_right(TOKEN)
    assert not any(map(token.is_right, ("", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "é")))


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"short", b"fifteen-letters", b"two words of a token", b"x" * 1025, b"\xff" * 32]
)
def test_a_file_without_a_token_is_a_usage_error(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=f"{VARIABLE} .*holds no token"):
        read_token({VARIABLE: str(file)})


def test_a_file_that_cannot_be_read_is_a_usage_error(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(UsageError, match="cannot be read"):
            read_token({VARIABLE: str(path)})
