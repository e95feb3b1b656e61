"""A response in one packet: uvicorn writes its head and its body separately, each a system call and often a packet."""

import asyncio
from typing import Any, Final

_HEAD: Final = b"HTTP/1.1 "
_INTERIM: Final = b"HTTP/1.1 1"


class OnePacketTransport:
    """A transport that sends the head of a response together with what follows it.

    uvicorn writes the body after the head, an empty one too, but writes nothing after the head of a response to HEAD:
    `write(b"")` at a response's end sends what is held. What is not written here is the transport's own.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send, unless it is a head; the interim response 100 is one of its own."""
        if self._head:
            data, self._head = self._head + data, b""
        elif data.startswith(_HEAD) and not data.startswith(_INTERIM):
            self._head = data
            return
        if data:
            self._transport.write(data)

    def write_eof(self) -> None:
        """Send what is held, then the end."""
        self.write(b"")
        self._transport.write_eof()

    def close(self) -> None:
        """Send what is held, then close."""
        self.write(b"")
        self._transport.close()
