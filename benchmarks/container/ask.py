"""The client of the container tests. It runs in a container of its own, in the network of the service's.

    python ask.py one METHOD PATH [FILE]     one request; FILE is its body
    python ask.py many COUNT FILE            COUNT batches at once, each held back half-sent: prints `in flight`
                                            when the service has them all, and sends the rest 3 s later
    python ask.py load CLIENTS SECONDS FILE  each client asks again and again; prints requests/s and latencies

Out: a line of JSON for each answer: `{"status": 200, "body": ...}`, and `{"failed": ...}` where none came.
"""

import asyncio
import base64
import json
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp

URL = "http://127.0.0.1:3000"
IMAGES = 4  # in a batch
HELD_SECONDS = 3.0  # in which the caller stops the service


async def ask(
    session: aiohttp.ClientSession, method: str, path: str, body: bytes | AsyncIterator[bytes] | None, media_type: str
) -> None:
    """Send a request and print what comes."""
    try:
        async with session.request(method, URL + path, data=body, headers={"content-type": media_type}) as answer:
            text = await answer.text()
            content = json.loads(text) if answer.content_type == "application/json" else text
            print(json.dumps({"status": answer.status, "body": content}), flush=True)
    except (aiohttp.ClientError, OSError) as error:
        print(json.dumps({"failed": repr(error)}), flush=True)


async def many(session: aiohttp.ClientSession, count: int, image: bytes) -> None:
    """`count` batches at once, none complete before the service has begun to read all of them."""
    body = json.dumps({"images": [base64.b64encode(image).decode()] * IMAGES}).encode()
    released = asyncio.Event()

    async def parts() -> AsyncIterator[bytes]:
        yield body[: len(body) // 2]
        await released.wait()
        yield body[len(body) // 2 :]

    tasks = [
        asyncio.create_task(ask(session, "POST", "/classify_batch", parts(), "application/json")) for _ in range(count)
    ]
    while not any(task.done() for task in tasks):
        async with session.get(URL + "/metrics") as answer:
            lines = (await answer.text()).splitlines()
        if any(line.startswith("http_server_active_requests") and float(line.split()[-1]) > count for line in lines):
            print("in flight", flush=True)
            await asyncio.sleep(HELD_SECONDS)
            break
        await asyncio.sleep(0.05)
    released.set()
    await asyncio.gather(*tasks)


async def load(session: aiohttp.ClientSession, clients: int, seconds: float, image: bytes) -> None:
    """Single images as fast as `clients` get their answers; times in seconds."""
    times: list[float] = []
    end = time.monotonic() + seconds

    async def client() -> None:
        while time.monotonic() < end:
            started = time.monotonic()
            async with session.post(URL + "/classify", data=image) as answer:
                await answer.read()
                answer.raise_for_status()
            times.append(time.monotonic() - started)

    started = time.monotonic()
    await asyncio.gather(*(client() for _ in range(clients)))
    times.sort()
    rate = len(times) / (time.monotonic() - started)
    print(json.dumps({"requests": rate, "p50": times[len(times) // 2], "p99": times[len(times) * 99 // 100]}))


async def main(command: str, *arguments: str) -> None:
    """Run one command."""
    timeout = aiohttp.ClientTimeout(total=100)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        if command == "many":
            await many(session, int(arguments[0]), Path(arguments[1]).read_bytes())
        elif command == "load":
            clients, seconds, file = arguments
            await load(session, int(clients), float(seconds), Path(file).read_bytes())
        else:
            method, path, *files = arguments
            body = Path(files[0]).read_bytes() if files else None
            await ask(session, method, path, body, "application/octet-stream")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
