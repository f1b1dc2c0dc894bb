"""Where a name leads to, if that is somewhere on the public internet.

A name that a client chose may lead into the cluster, to this machine or to a cloud's metadata. So it is looked up once,
every address has to be public, and the one that was looked at is the one that is connected to.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from ipaddress import IPv6Address, ip_address, ip_network

from deployments.gateway.errors import GatewayError

PUBLIC_IPV6 = ip_network("2000::/3")
NOT_PUBLIC = tuple(
    map(
        ip_network,
        (
            "168.63.129.16/32",  # Azure's own services, metadata among them
            "192.0.0.0/24",  # protocol assignments; Oracle's metadata
            "192.88.99.0/24",  # relays into IPv6
            "2001::/32",  # Teredo: an IPv4 address in disguise
            "2002::/16",  # 6to4: the same
        ),
    )
)

Resolve = Callable[[str], Awaitable[list[str]]]


async def looked_up(host: str) -> list[str]:
    """Raises:
    OSError: there is no such name, or nobody to ask.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, 443, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


async def public_address(host: str, resolve: Resolve) -> str:
    """Raises:
    GatewayError: 400, it leads nowhere, or to somewhere that is not public.
    """
    try:
        addresses = await resolve(host)
    except OSError:
        addresses = []
    if not addresses:
        raise GatewayError(400, "media_unavailable", f"The host '{host}' has no address.")
    if not all(map(is_public, addresses)):
        raise GatewayError(400, "media_unavailable", f"The address of '{host}' is not a public one.")
    return addresses[0]


def is_public(address: str) -> bool:
    try:
        known = ip_address(address)
    except ValueError:
        return False
    if not known.is_global or known.is_multicast or any(known in network for network in NOT_PUBLIC):
        return False
    return not isinstance(known, IPv6Address) or known in PUBLIC_IPV6
