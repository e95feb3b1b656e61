"""The processes and connections of the service: what is between the operating system and our ASGI application.

supervisor (one process)  listens, starts the workers, ends them
worker (N processes)      uvicorn's event loop, with our `Protocol` for each connection
protocol                  one connection; its ideas in a module each: parsing, framing, deadlines, transport
"""

from typing import Final

CANNOT_START: Final = 78  # EX_CONFIG of sysexits.h: the exit code of a worker that would fail again
FAILURE: Final = "failure"  # the file in which it says why
