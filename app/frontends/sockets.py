"""The sockets of a service of several processes: HTTP's, which front-ends share, and the engine's."""

from __future__ import annotations

import errno
import os
import socket
import struct

from models.errors import Conflict

_CREDENTIALS = struct.Struct("3i")
Place = tuple[str | int, ...]


def reserve(host: str, port: int) -> list[socket.socket]:
    """A socket on each address of the host, which nothing comes in by: it keeps the port while no front-end
    has it. Raises Conflict where another program listens there, or there is no such address."""
    found: list[socket.socket] = []
    try:
        for family, _, _, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            found.append(_reserve(family, (address[0], port, *address[2:])))
            port = found[0].getsockname()[1]
    except OSError as error:
        # A machine may know its name in a family of addresses that it does not have.
        if not found or error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            raise Conflict(
                f"Port {port} of {host} cannot be served on: {error.strerror}.", code="address", param="port"
            ) from error
    return found


def _reserve(family: int, place: Place) -> socket.socket:
    # First without SO_REUSEPORT, which would share the port with anybody who has it that way.
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _bind(probe, place)
    return shared(family, place)


def shared(family: int, place: Place) -> socket.socket:
    """A socket on an address that several processes take connections of, the kernel choosing among them."""
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    _bind(made, place)
    return made


def _bind(made: socket.socket, place: Place) -> None:
    if made.family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    made.bind(place)


def listener(address: str) -> socket.socket:
    """The socket that the engine's process takes connections on. Its parent keeps it, so that front-ends
    that call while there is no engine wait in it for the next one."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(address)
    listening.listen(128)
    return listening


def connected(address: str) -> socket.socket:
    """A connection to the engine's process. Raises OSError."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        made.connect(address)
    except OSError:
        made.close()
        raise
    return made


def of_this_user(connection: socket.socket) -> bool:
    """Whether the other end is a process of the same user: an abstract address has no permissions."""
    peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return bool(_CREDENTIALS.unpack(peer)[1] == os.getuid())
