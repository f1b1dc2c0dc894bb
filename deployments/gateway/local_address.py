"""Whether an address that a gateway listens on is reachable from this machine alone."""

from ipaddress import ip_address


def is_local(host: str) -> bool:
    """`localhost`, 127.0.0.0/8, `::1`. Any other name may lead anywhere."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
