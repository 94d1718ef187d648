"""The sockets that a server listens on."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import suppress

from nss.errors import NssError, UsageError, quoted

BACKLOG = 128

_BOTH = {"127.0.0.1": "::1", "localhost": "::1", "": "::", "::": "0.0.0.0"}
"""For these hosts a further address, where it can be had: "localhost" leads to either, by system."""


def listen(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen already, so that the port is nobody else's from here on; all of one port.

    Args:
        host: as `nss.serve.settings.ServeSettings` has it.
        port: 0 for any free one.

    Raises:
        UsageError: the port is taken, or the host is none of this computer's.
        NssError: the system refuses it otherwise.
    """
    first = {"localhost": "127.0.0.1", "": "0.0.0.0"}.get(host, host)
    try:
        sockets = [_listen(first, port)]
    except OSError as error:
        raise _refusal(host, port, error) from error
    if host in _BOTH:
        with suppress(OSError):  # a system without IPv6, or somebody else has it
            sockets.append(_listen(_BOTH[host], port_of(sockets)))
    return sockets


def port_of(sockets: list[socket.socket]) -> int:
    """The port that they have."""
    return int(sockets[0].getsockname()[1])


def _listen(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    made = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":  # elsewhere it would let two servers have one port
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
        made.listen(BACKLOG)
        made.setblocking(False)
    except BaseException:
        made.close()
        raise
    return made


def _refusal(host: str, port: int, error: OSError) -> NssError:
    if error.errno == errno.EADDRINUSE:
        return UsageError(f"port {port} of {host or 'this computer'} is taken: choose another by 'port', or 0 for any")
    if error.errno == errno.EACCES:
        return UsageError(f"port {port} is not for every user: choose one from 1024 on by 'port'")
    if error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
        return UsageError(f"'host' {quoted(host)}: is no address of this computer")
    return NssError(f"port {port} of {host or 'this computer'}: {error.strerror or error}")
