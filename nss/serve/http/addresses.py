"""Which Hosts and Origins are this server's: the names it was given, and no other.

A page of somebody else's whose name leads to this computer (DNS rebinding) sends its own name as Host, and one that
calls across origins its own as Origin. So both are compared with a fixed list, and nothing is concluded from them.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from nss.errors import UsageError, quoted

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
ANYWHERE = ("", "0.0.0.0", "::")
"""What is bound for all addresses of a computer, and is the name of none."""

_DEFAULT_PORTS = {"http": 80, "https": 443}
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_.])?")


@dataclass(frozen=True)
class Origin:
    """Where a page is from.

    Attributes:
        scheme: "http" or "https".
        host: in lower case, an IPv6 address in brackets.
        port: the scheme's own where none was named.
    """

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        """As browsers send it."""
        return f"{self.scheme}://{self.hosts[0]}"

    @property
    def hosts(self) -> tuple[str, ...]:
        """The Hosts of requests for it, that of browsers first."""
        written = f"{self.host}:{self.port}"
        return (self.host, written) if self.port == _DEFAULT_PORTS[self.scheme] else (written,)


@dataclass(frozen=True)
class Addresses:
    """What requests may name.

    Attributes:
        hosts: the right Hosts, in lower case.
        origins: the right Origins: those of pages of this server.
        named_origins: Origins of others' pages that may call.
    """

    hosts: frozenset[str]
    origins: frozenset[str]
    named_origins: frozenset[str] = frozenset()

    @staticmethod
    def of(host: str, port: int, public_urls: Iterable[str] = (), allowed_origins: Iterable[str] = ()) -> Addresses:
        """Those of a server that is bound to ``host`` and ``port``. Raises UsageError as `parse_origin` does."""
        names = [*LOOPBACK, *([] if host in ANYWHERE else [_host(host)])]
        local = [Origin("http", name, port) for name in names]
        public = [parse_origin(url, "public_urls") for url in public_urls]
        return Addresses(
            frozenset(name for origin in (*local, *public) for name in origin.hosts),
            frozenset(map(str, (*local, *public))),
            frozenset(str(parse_origin(url, "allowed_origins")) for url in allowed_origins),
        )


def parse_origin(url: str, parameter: str) -> Origin:
    """A URL that names a server and nothing in it. Raises UsageError, which blames ``parameter``."""
    refusal = f"'{parameter}' {quoted(url)}: http:// or https://, a host and perhaps a port are wanted, nothing else"
    if not url.isprintable() or " " in url:  # which urlsplit drops, or lets through
        raise UsageError(refusal)
    try:
        parts = urlsplit(url)
        port = parts.port
        host = _host(parts.hostname or "")
    except ValueError as error:
        raise UsageError(refusal) from error
    beside = parts.path not in ("", "/") or "?" in url or "#" in url or "@" in parts.netloc
    if parts.scheme not in _DEFAULT_PORTS or port == 0 or beside:
        raise UsageError(refusal)
    return Origin(parts.scheme, host, port or _DEFAULT_PORTS[parts.scheme])


def is_loopback(host: str) -> bool:
    """Whether only this computer reaches what is bound to the host."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def url_host(host: str) -> str:
    """A host as a URL has it: IPv6 addresses in brackets, and one of this computer where it stands for all."""
    return LOOPBACK[0] if host in ANYWHERE else _host(host)


def _host(host: str) -> str:
    """A host as browsers write it. Raises ValueError where it cannot be one."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.lower() if host.isascii() else host.encode("idna").decode("ascii")
        if not _NAME.fullmatch(name):
            raise ValueError(f"{host}: is no name of a host") from None
        return name
    return f"[{address.compressed}]" if address.version == 6 else str(address)
