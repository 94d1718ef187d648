"""What a server is started with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nss.errors import UsageError, quoted
from nss.serve.http import addresses
from nss.serve.http.token import VARIABLE, Token
from nss.serve.limits import Limits

if TYPE_CHECKING:
    from nss.serve.jobs.models import ModelChoice
    from nss.serve.watch.settings import WatchSettings


@dataclass(frozen=True)
class ServeSettings:
    """What a server is started with; made only where it can be served by.

    Attributes:
        models: at least one; the first is the default.
        limits: what it takes on.
        token: the secret that calls name.
        host: address to bind: "" and "::" for all of this computer's, "0.0.0.0" for all of IPv4.
        port: 0 for any free one.
        allow_remote: other computers may reach it.
        public_urls: further names of it, ``https://cut.example[:port]``: those of a proxy, or in a network.
        allowed_origins: origins of others' pages that may call its API.
        jobs: photos in work at a time, for each model; None for one a core.
        watch: a folder whose photos are cut out.
        open_browser: open the page when it listens.
        quiet: no notices.
    """

    models: tuple[ModelChoice, ...]
    limits: Limits
    token: Token
    host: str = "127.0.0.1"
    port: int = 8765
    allow_remote: bool = False
    public_urls: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    jobs: int | None = None
    watch: WatchSettings | None = None
    open_browser: bool = False
    quiet: bool = False

    def __post_init__(self) -> None:
        """Raises UsageError where others could reach it unasked or without a token of the user's, and for no URL."""
        if not self.models:
            raise UsageError("no model is given; 'model' names one at least")
        if not 0 <= self.port <= 65535:
            raise UsageError(f"'port' {self.port}: 0 to 65535 are possible, 0 for any that is free")
        try:
            addresses.url_host(self.host)
        except ValueError as error:
            raise UsageError(f"'host' {quoted(self.host)}: is no address or name of a computer") from error
        if not (self.allow_remote or addresses.is_loopback(self.host)):
            raise UsageError(
                f"'host' {quoted(self.host)}: other computers could reach it; pass 'allow_remote' if they are to, "
                "or leave 'host' out"
            )
        if self.allow_remote and not self.token.is_given:
            raise UsageError(f"'allow_remote' needs a token of yours: write one into a file, and name it by {VARIABLE}")
        self.addresses_at(self.port)

    def addresses_at(self, port: int) -> addresses.Addresses:
        """The right Hosts and Origins, where ``port`` is the one that it got. Raises UsageError."""
        return addresses.Addresses.of(self.host, port, self.public_urls, self.allowed_origins)

    def url_at(self, port: int) -> str:
        """What a browser opens: the first public URL, or else the address that is bound; the token in the fragment,
        which browsers send to nobody.
        """
        if self.public_urls:
            origin = addresses.parse_origin(self.public_urls[0], "public_urls")
        else:
            origin = addresses.Origin("http", addresses.url_host(self.host), port)
        return f"{origin}/#token={self.token.text}"
