"""The barest server there is: takes each request whole and answers the same bytes. What is slower is not HTTP.

PORT says where it listens. It decodes nothing and has no model, so its answer is no answer to the task.
"""

import asyncio
import json
import os

import uvloop

LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BODY = json.dumps(dict.fromkeys(LABELS, 0.1)).encode()
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY)


class Floor(asyncio.Protocol):
    """One connection: counts the bytes of a request by its Content-Length."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin with nothing received."""
        self.transport, self.received, self.wanted = transport, b"", 0

    def data_received(self, data: bytes) -> None:
        """Answer once head and body are here; the clients wait for each answer."""
        self.received += data
        if not self.wanted and b"\r\n\r\n" in self.received:
            head = self.received.partition(b"\r\n\r\n")[0].lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            self.wanted = len(head) + 4 + length
        if self.wanted and len(self.received) >= self.wanted:
            self.received, self.wanted = b"", 0
            self.transport.write(ANSWER)


async def main() -> None:
    """Serve until SIGTERM."""
    server = await asyncio.get_running_loop().create_server(Floor, "127.0.0.1", int(os.environ["PORT"]))
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
