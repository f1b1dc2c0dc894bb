"""Who may ask the admin port: programs on this machine, and the page that it serves itself. No other web page.

It listens on loopback only, but any page in a browser on this machine may send requests there. `Origin` and
`Sec-Fetch-Site` tell such a page; `Host` tells one that has pointed its own name at 127.0.0.1 (DNS rebinding).
"""

import re
from collections.abc import Mapping

from deployments.gateway.errors import GatewayError
from deployments.gateway.local_address import is_local

HOST = re.compile(rb"(?P<name>\[[0-9a-fA-F:.]+\]|[\w.-]+)(:\d{1,5})?", re.ASCII)
OWN_PAGE = frozenset({b"same-origin", b"none"})


def refusal(headers: Mapping[bytes, bytes], *, is_page: bool) -> GatewayError | None:
    """`is_page`: of the page itself, to which others may link, but which they cannot read or put in a frame."""
    host = headers.get(b"host", b"")
    if not is_of_this_machine(host):
        message = "This port answers to localhost, 127.0.0.1 and [::1] only. Forward it to reach it from elsewhere."
        return GatewayError(421, "wrong_host", message)
    origin = headers.get(b"origin")
    if origin is not None and origin.lower() != b"http://" + host.lower():
        return _another_page()
    if headers.get(b"sec-fetch-site", b"none") in OWN_PAGE:
        return None
    followed_a_link = is_page and headers.get(b"sec-fetch-mode") == b"navigate"
    return None if followed_a_link and headers.get(b"sec-fetch-dest") == b"document" else _another_page()


def is_of_this_machine(host: bytes) -> bool:
    """Any port: it may be forwarded."""
    found = HOST.fullmatch(host)
    return found is not None and is_local(found["name"].decode().lower().strip("[]"))


def _another_page() -> GatewayError:
    return GatewayError(403, "origin_not_allowed", "Web pages of other origins may not ask the admin port.")
