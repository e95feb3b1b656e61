"""The listening socket: why it cannot be had, and how to close it without losing a connection."""

import ctypes
import errno
import os
import socket
import struct
from contextlib import suppress
from typing import Any, Final

_SO_ATTACH_FILTER: Final = 26
# Classic BPF (https://docs.kernel.org/networking/filter.html) on TCP headers, whose byte 13 has the flags: drop those
# with SYN and without ACK, keep the rest.
_DROP_SYN: Final = ((0x30, 0, 0, 13), (0x54, 0, 0, 0x12), (0x15, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF))


def drop_new_connections(listening: socket.socket) -> None:
    """Have the kernel ignore new connections, in all processes that share the socket, while it still listens.

    A connection that the kernel has accepted is reset when its listening socket is closed before the service has taken
    it. After this call all such connections can be taken; a client that comes now tries again a second later and is
    refused. Does nothing where there are no such filters, which is outside Linux.
    """
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *instruction) for instruction in _DROP_SYN))
    program = struct.pack("HL", len(_DROP_SYN), ctypes.addressof(code))
    with suppress(OSError):
        listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def why_not_bound(error: OSError, listening: Any) -> str:
    """One line on why the service cannot listen; `listening` knows its `host` and `port`."""
    place = f"port {listening.port} of {listening.host}"
    if error.errno == errno.EADDRINUSE:
        return f"{place} is taken; stop what listens there, or choose another with --port"
    if error.errno == errno.EACCES:
        return f"{place} is only for root; choose one above 1023 with --port"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{listening.host} is no address of this machine; choose another with --host"
    return f"{place}: {os.strerror(error.errno) if error.errno else error}"
