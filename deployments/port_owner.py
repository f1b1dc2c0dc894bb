"""Who listens on a port of this machine, in words."""

import contextlib

import psutil


def owner_of(port: int) -> str:
    """As far as it may be known."""
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            is_there = connection.status == psutil.CONN_LISTEN and getattr(connection.laddr, "port", None) == port
            if is_there and connection.pid:
                return f"process {connection.pid} ({psutil.Process(connection.pid).name()})"
    return "another process"
