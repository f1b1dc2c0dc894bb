"""A listening socket that processes share, and how one of them leaves it."""

import asyncio
import contextlib
import ctypes
import socket
import struct

HANDSHAKES_END_S = 0.25
SO_ATTACH_FILTER = 26
BPF_INSTRUCTION = "HBBI"
NEW_CONNECTIONS_ARE_DROPPED = (
    (0x30, 0, 0, 13),  # load the byte of TCP flags
    (0x54, 0, 0, 0x12),  # of which SYN and ACK
    (0x15, 0, 1, 0x02),  # SYN alone?
    (0x06, 0, 0, 0),  # drop the packet
    (0x06, 0, 0, 0xFFFFFFFF),  # keep it
)


def listening_socket(host: str, port: int, *, shared: bool) -> socket.socket:
    """A bound TCP socket; with `shared`, other processes of ours may bind the same port (SO_REUSEPORT).

    Raises:
        OSError: taken by somebody else, or not an address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound


async def stop_listening(listener: socket.socket, server: asyncio.Server) -> None:
    """Close `server`, which accepts from `listener`, and reset nobody.

    The kernel gives each new connection to one of the sockets that share a port. Closing that one resets those which
    shake hands or were not accepted yet, so it takes no new ones for a moment before. Who asks just then gets no
    answer, asks again after a second as TCP does, and finds another process. A kernel without socket filters (gVisor)
    closes it at once.
    """
    program = b"".join(struct.pack(BPF_INSTRUCTION, *instruction) for instruction in NEW_CONNECTIONS_ARE_DROPPED)
    memory = ctypes.create_string_buffer(program)
    filter_ = struct.pack("HP", len(NEW_CONNECTIONS_ARE_DROPPED), ctypes.addressof(memory))
    with contextlib.suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, filter_)
        await asyncio.sleep(HANDSHAKES_END_S)
    server.close()
