"""Where a webhook may go. People type in addresses; the hub stands inside the plant's network and must not be made to
knock at its doors for them (server-side request forgery).

Names are resolved once, every answer is checked, and the connection goes to exactly the address that was checked: a
name server that changes its answer in between gains nothing. Redirects are never followed.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from cloud_hub.errors import HubError

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], Sequence[str]]
_MAX_URL = 2000
_PORTS = {"http": 80, "https": 443}


class AddressError(HubError):
    """Nothing is sent to this address."""


@dataclass(frozen=True, slots=True)
class Target:
    """A checked address: connect to `ip`, say `host` (in TLS and in the Host header)."""

    scheme: str
    host: str
    port: int
    ip: str
    path: str

    @property
    def authority(self) -> str:
        """For the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def read_networks(texts: Iterable[str]) -> tuple[IpNetwork, ...]:
    """Networks such as 10.1.0.0/16. Raises: AddressError."""
    found = []
    for text in texts:
        try:
            found.append(ipaddress.ip_network(text))
        except ValueError as error:
            raise AddressError(f"hooks_allow: expected a network such as 10.1.0.0/16, got {text!r}") from error
    return tuple(found)


def resolve(host: str, port: int) -> list[str]:
    """All addresses of a name. Raises: AddressError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise AddressError(f"{host}: cannot be resolved ({error})") from error
    return [str(entry[4][0]).partition("%")[0] for entry in found]


def check_url(url: str) -> tuple[str, str, int, str]:
    """Scheme, host, port, path with query. Raises: AddressError: not an address that a webhook can have."""
    if len(url) > _MAX_URL or any(c.isspace() or not c.isprintable() for c in url):
        raise AddressError(f"webhook: expected a URL of at most {_MAX_URL} characters without spaces")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise AddressError(f"webhook: {url[:200]!r}: {error}") from error
    if parts.scheme not in _PORTS or not parts.hostname:
        raise AddressError(f"webhook: expected https://host/path, got {url[:200]!r}")
    if parts.username is not None or parts.password is not None:
        raise AddressError("webhook: expected no user name or password in the URL")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return parts.scheme, parts.hostname, port or _PORTS[parts.scheme], path


def check_target(url: str, allow: Sequence[IpNetwork], lookup: Resolve = resolve) -> Target:
    """Where to connect. `allow`: networks that may be reached though they are not public, and without TLS.

    Raises: AddressError: with what is wrong; a name with one forbidden address is refused whole.
    """
    scheme, host, port, path = check_url(url)
    found = lookup(host, port)
    if not found:
        raise AddressError(f"{host}: has no address")
    inside = True
    for text in found:
        ip = _plain(ipaddress.ip_address(text))
        allowed = any(ip in network for network in allow if network.version == ip.version)
        inside = inside and allowed
        if not allowed and (not ip.is_global or ip.is_multicast):
            raise AddressError(f"{host}: {ip} is not a public address; name its network in hooks_allow if it is meant")
    if scheme == "http" and not inside:
        raise AddressError(f"{host}: expected https outside the networks of hooks_allow")
    return Target(scheme, host, port, found[0], path)


def _plain(ip: IpAddress) -> IpAddress:
    """IPv4 in IPv6 clothes (mapped, NAT64, 6to4) is what it hides."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip.ipv4_mapped is not None:
        return ip.ipv4_mapped
    if ip.sixtofour is not None:
        return ip.sixtofour
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
    return ip


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
