"""Where a model server is, and whether texts may be sent there: to this machine only, unless a host is named."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from common.errors import ConfigError, RemoteError


@dataclass(frozen=True)
class ServerAddress:
    """Scheme, host, port and the path that the API's own paths are added to (`/v1`)."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"

    def connectable(self, allow_remote: str = "") -> list[str]:
        """The IP addresses to connect to. Looked up once and connected to as they are, so that a name cannot turn to
        another machine in between. Raises RemoteError where they are not this machine's, or the name is unknown.
        """
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise RemoteError(f"{self.url}: the host {self.host} is unknown ({error.strerror or error})") from None
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        if self.host != allow_remote.strip("[]").lower() and not all(_is_loopback(address) for address in addresses):
            raise RemoteError(
                f"{self.url} is not on this machine, and texts are sent to this machine only; "
                f"to send them there as well: --allow-remote {self.host}"
            )
        return addresses


def parse_address(url: str) -> ServerAddress:
    """An address from `http://localhost:11434`, with or without `/v1` or what follows it. Raises ConfigError."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"{url!r} is not the address of a server ({error})") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError(f"{url!r} is not the address of a server; give one such as http://localhost:11434/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigError(f"the address of the server at {host} must hold no user, password, query or #")
    path = parts.path.rstrip("/").removesuffix("/chat/completions").removesuffix("/models").rstrip("/")
    return ServerAddress(parts.scheme, host, port or (443 if parts.scheme == "https" else 80), path or "/v1")


def _is_loopback(address: str) -> bool:
    given = ipaddress.ip_address(address.split("%")[0])
    return (getattr(given, "ipv4_mapped", None) or given).is_loopback
