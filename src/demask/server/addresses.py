"""Network addresses: of this machine, of clients, of proxies, and the one that the world sees."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

SITE_BITS = 64
"""The bits of an IPv6 address that a site has; it chooses the others itself (RFC 4291)."""


def is_local(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """The addresses and networks of trusted proxies.

    Raises:
        ValueError: a text is neither.
    """
    try:
        return tuple(ipaddress.ip_network(text) for text in texts)
    except ValueError as error:
        valid = "an address such as 10.0.0.2, or a network such as 10.0.0.0/24"
        raise ValueError(f"a trusted proxy is {valid}: {error}") from None


def is_trusted(host: str, networks: Sequence[Network]) -> bool:
    """Whether an address lies in one of the networks."""
    try:
        return any(ipaddress.ip_address(host) in network for network in networks)
    except ValueError:
        return False


def client_name(host: str) -> str:
    """What all connections of one client have in common: its address, for IPv6 that of its site."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.version == 4:
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, SITE_BITS), strict=False))


def read_public_url(text: str) -> str:
    """The address under which others reach the server, with a slash at its end; "" stays "".

    Raises:
        ValueError: it is no http or https address, or has a query.
    """
    if not text:
        return ""
    parts = urlsplit(text)
    named = parts.scheme in ("http", "https") and parts.hostname
    if not named or parts.query or parts.fragment or parts.username is not None:
        raise ValueError(f"a public URL is such as https://images.example/demask, not '{text}'")
    return text.rstrip("/") + "/"
