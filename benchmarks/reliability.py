"""What it takes to break the service: fuzzing, a long load with broken images in it, and SIGTERM under load.

    python -m benchmarks.reliability fuzz  [--examples 6000] [--seconds 600]
    python -m benchmarks.reliability soak  [--clients 64] [--seconds 60]
    python -m benchmarks.reliability drain [--times 20] [--in-flight 32]
    python -m benchmarks.reliability report

Each of the first three starts the real service, writes `benchmarks/results/reliability-<name>.json` and ends with an
exit code of 1 when something broke. `report` writes docs/reliability.md from these files.
"""

import argparse
import asyncio
import base64
import collections
import io
import json
import random
import socket
import sys
import time
from typing import Any

import aiohttp
from PIL import Image

from alexnet import environment, files
from benchmarks.harness import ROOT, Server, serving

RESULTS = ROOT / "benchmarks" / "results"
FIXTURE = ROOT / "tests" / "data" / "cifar10"
DRAIN_IMAGES = 16
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
TYPES = (
    "image/jpeg",
    "image/png",
    "text/plain",
    "application/json",
    "application/octet-stream",
    "",
    "x/\xff",
    "image/",
)


def seeds() -> list[bytes]:
    """Whole images in every format and several modes: what the fuzzer begins with."""
    images = [Image.open(path) for path in sorted(FIXTURE.glob("*/*.png"))[::20]]
    images.append(images[0].resize((300, 200)))
    found = []
    for image in images:
        for name in FORMATS:
            for mode in ("RGB", "L", "P", "RGBA", "CMYK", "1"):
                buffer = io.BytesIO()
                try:
                    image.convert(mode).save(buffer, name)
                except (OSError, ValueError):
                    continue  # the format has no such mode
                found.append(buffer.getvalue())
    return found


def mutate(content: bytes, other: bytes, rng: random.Random) -> bytes:
    """`content` with one to eight injuries: bits, bytes, cuts, doubled and foreign pieces, numbers at their limits."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        if not data or not other:
            break
        at = rng.randrange(len(data)) if rng.random() < 0.5 else rng.randrange(min(len(data), 64))
        kind = rng.randrange(7)
        if kind == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF))
        elif kind == 2:
            del data[at:]
        elif kind == 3:
            del data[at : at + rng.randint(1, 64)]
        elif kind == 4:
            data[at:at] = data[at : at + rng.randint(1, 64)]
        elif kind == 5:
            start = rng.randrange(len(other))
            data[at : at + 32] = other[start : start + rng.randint(1, 64)]
        else:
            data[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\0\0\x80\0"))
    return bytes(data)


def request(rng: random.Random, corpus: list[bytes]) -> dict[str, Any]:
    """Keyword arguments of one HTTP request: a mutated image by some way in, or a mutated way in."""
    image = rng.choice(corpus)
    if rng.random() < 0.9:
        image = mutate(image, rng.choice(corpus), rng)
    if rng.random() < 0.6:  # a request as it should be, so that the image reaches the decoder
        return _proper(image, rng.randrange(3))
    path = rng.choice(("/classify", "/classify_batch"))
    query = rng.choice(("", "", "?top_k=3", "?top_k=0", "?top_k=%00", "?top_k=9999999999999999999999", "?top_k=\u0663"))
    way = rng.randrange(5)
    if way == 0:
        field = rng.choice(("image", "images", "IMAGE", "", "a" * 300))
        form = aiohttp.FormData(quote_fields=True)
        for _ in range(rng.choice((1, 1, 1, 2, 5, 80))):
            form.add_field(
                field, image, filename=rng.choice(("a.png", "", "\u202e", "../../x")), content_type="image/png"
            )
        if rng.random() < 0.3:
            form.add_field("top_k", rng.choice(("1", "10", "11", "-1", "NaN", "[]", "")))
        return {"method": "POST", "path": path + query, "data": form}
    if way == 1:
        name = rng.choice(("image/jpeg", "image/webp", "application/octet-stream", rng.choice(TYPES)))
        return {"method": "POST", "path": path + query, "data": image, "headers": {"Content-Type": _plain(name)}}
    if way == 2:
        text = base64.b64encode(image).decode()
        value = rng.choice(
            (text, "data:image/png;base64," + text, text[:-1], "http://127.0.0.1:1/x.png", None, 7, [], {})
        )
        body: Any = rng.choice(({"image": value}, {"images": [value] * rng.choice((0, 1, 3, 70))}, [value], value))
        if isinstance(body, dict):
            body["top_k"] = rng.choice((1, 10, 0, -5, 1e308, True, None, "3", [], {}))
        content = json.dumps(body).encode()
        if rng.random() < 0.4:
            content = mutate(content, b'{"[\\u0000' * 8, rng)
        return {"method": "POST", "path": path, "data": content, "headers": {"Content-Type": "application/json"}}
    if way == 3:
        boundary = rng.choice(("b", "b" * 70, "-", "b; x=y"))
        part = (
            b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
            + image[:512]
            + b"\r\n--b--\r\n"
        )
        kind = rng.choice(
            (f"multipart/form-data; boundary={boundary}", "multipart/form-data", "multipart/mixed; boundary=b")
        )
        return {"method": "POST", "path": path, "data": mutate(part, image, rng), "headers": {"Content-Type": kind}}
    method = rng.choice(("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "POST", "BREW"))
    where = rng.choice(
        (
            "/classify",
            "/",
            "/nothing",
            "/model",
            "/ui",
            "/ui/../x",
            "/%2e%2e/etc",
            "/readyz/",
            "/metrics",
            "/schema.json",
        )
    )
    return {"method": method, "path": where, "data": image[:100] if method in ("PUT", "PATCH", "POST") else None}


def _proper(image: bytes, way: int) -> dict[str, Any]:
    """`image` by the book: as a form, as the raw body or as JSON."""
    sent: dict[str, Any] = {"method": "POST", "path": "/classify"}
    if way == 0:
        form = aiohttp.FormData()
        form.add_field("image", image, filename="a.png")
        return {**sent, "data": form}
    if way == 1:
        return {**sent, "data": image, "headers": {"Content-Type": "image/jpeg"}}
    body = json.dumps({"image": base64.b64encode(image).decode()}).encode()
    return {**sent, "data": body, "headers": {"Content-Type": "application/json"}}


def _plain(text: str) -> str:
    return text.encode("latin-1", "ignore").decode("latin-1")


async def fuzz(examples: int, seconds: float, seed: int = 0) -> dict[str, Any]:
    """Send `examples` requests, eight at a time; every answer must be below 500, and every error of the one shape."""
    rng, corpus = random.Random(seed), seeds()
    statuses: collections.Counter[str] = collections.Counter()
    codes: collections.Counter[str] = collections.Counter()
    failures: list[dict[str, Any]] = []
    until = time.monotonic() + seconds
    with serving(ALEXNET_ACCESS_LOG="false") as server:
        before = server.memory_mb()

        async def worker(session: aiohttp.ClientSession, numbers: "asyncio.Queue[int]") -> None:
            while not numbers.empty() and time.monotonic() < until:
                number = numbers.get_nowait()
                sent = request(random.Random(f"{seed}/{number}"), corpus)
                what = f"{sent['method']} {sent['path']} (example {number})"
                try:
                    async with session.request(
                        sent["method"],
                        server.url + sent["path"],
                        data=sent["data"],
                        headers=sent.get("headers"),
                        allow_redirects=False,
                    ) as answer:
                        body = await answer.read()
                except (aiohttp.ClientError, ValueError) as error:
                    failures.append({"request": what, "error": f"{type(error).__name__}: {error}"})
                    continue
                statuses[str(answer.status)] += 1
                wrong = _check(answer.status, body, sent["method"], codes)
                if wrong:
                    failures.append({"request": what, "status": answer.status, "error": wrong})

        numbers: asyncio.Queue[int] = asyncio.Queue()
        for number in range(examples):
            numbers.put_nowait(number)
        async with aiohttp.ClientSession() as session:
            await asyncio.gather(*(worker(session, numbers) for _ in range(8)))
        raw = [_send_raw(server, rng) for _ in range(max(20, examples // 50))]
        failures += [{"request": "raw bytes", "error": wrong} for wrong in raw if wrong]
        after = server.memory_mb()
    return {
        "examples": examples,
        "requests": sum(statuses.values()) + len(raw),
        "statuses": dict(sorted(statuses.items())),
        "codes": dict(codes.most_common()),
        "failures": failures,
        "memory_mb": {"before": round(before, 1), "after": round(after, 1)},
    }


def _check(status: int, body: bytes, method: str, codes: "collections.Counter[str]") -> str | None:
    """What is wrong with an answer, or None."""
    if status >= 500:
        return body[:300].decode("utf-8", "replace")
    if status < 400 or method == "HEAD":
        return None
    try:
        error = json.loads(body)["error"]
        codes[error["code"]] += 1
        return None if error["message"] and error["request_id"] else "an empty message or request id"
    except (ValueError, KeyError, TypeError):
        return f"not the one error shape: {body[:200]!r}"


def _send_raw(server: Server, rng: random.Random) -> str | None:
    """Bytes that are hardly HTTP; the connection must be answered with a 4xx or closed, and the service live on."""
    head = b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 5\r\n\r\nabcde"
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        try:
            connection.sendall(mutate(head, b"\r\n\0: ;=Transfer-Encoding: chunked" * 3, rng))
            connection.shutdown(socket.SHUT_WR)
            first = connection.recv(4096).split(b"\r\n")[0]
        except OSError:
            return None
    return f"answered {first!r}" if first.split(b" ")[1:2] and first.split(b" ")[1].startswith(b"5") else None


async def soak(clients: int, seconds: float) -> dict[str, Any]:
    """`clients` at once for `seconds`, every tenth image broken; every good one must be answered 200."""
    good = [path.read_bytes() for path in sorted(FIXTURE.glob("*/*.png"))]
    rng = random.Random(0)
    bad = [mutate(rng.choice(good)[: rng.randint(1, 900)], good[0], rng) for _ in range(50)]
    outcomes: collections.Counter[str] = collections.Counter()
    latencies: list[float] = []
    memory: list[float] = []
    with serving(ALEXNET_ACCESS_LOG="false") as server:
        until = time.monotonic() + seconds

        async def client(session: aiohttp.ClientSession, number: int) -> None:
            own = random.Random(number)
            while time.monotonic() < until:
                broken = own.random() < 0.1
                content = own.choice(bad if broken else good)
                started = time.perf_counter()
                async with session.post(server.url + "/classify", data=content) as answer:
                    await answer.read()
                latencies.append(time.perf_counter() - started)
                # A mutated image may still be whole: for those, anything below 500 is right.
                right = answer.status < 500 if broken else answer.status == 200
                outcomes[f"{'broken' if broken else 'good'} {'right' if right else answer.status}"] += 1

        async def watch() -> None:
            while time.monotonic() < until:
                memory.append(await asyncio.to_thread(server.memory_mb))
                await asyncio.sleep(seconds / 12)

        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            await asyncio.gather(watch(), *(client(session, number) for number in range(clients)))
    latencies.sort()
    return {
        "clients": clients,
        "seconds": seconds,
        "outcomes": dict(outcomes),
        "requests_per_second": round(len(latencies) / seconds, 1),
        "p50_ms": round(1000 * latencies[len(latencies) // 2], 1),
        "p99_ms": round(1000 * latencies[int(len(latencies) * 0.99)], 1),
        "memory_mb": [round(value, 1) for value in memory],
        "failures": [key for key in outcomes if not key.endswith("right")],
    }


async def drain(times: int, in_flight: int) -> dict[str, Any]:
    """`times` over: SIGTERM while `in_flight` requests are being answered; all must be answered, the exit code be 0."""
    content = (FIXTURE / "cat" / "00000.png").read_bytes()
    images = [base64.b64encode(content).decode()] * DRAIN_IMAGES
    rounds = []
    for _ in range(times):
        # On a busy machine so much work takes longer than the time limit; what is measured here is whether any is lost.
        with serving(ALEXNET_ACCESS_LOG="false", ALEXNET_TIME_LIMIT="60") as server:
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

                async def ask(session: aiohttp.ClientSession = session, server: Server = server) -> int:
                    async with session.post(server.url + "/classify_batch", json={"images": images}) as answer:
                        await answer.read()
                        return answer.status

                requests = [asyncio.create_task(ask()) for _ in range(in_flight)]
                await _wait_for_in_progress(session, server, in_flight)
                started = time.monotonic()
                server.process.terminate()
                answers = await asyncio.gather(*requests, return_exceptions=True)
                code = await asyncio.to_thread(server.process.wait, 60)
            rounds.append(
                {
                    "answered": sum(answer == 200 for answer in answers),
                    "exit_code": code,
                    "seconds": round(time.monotonic() - started, 2),
                }
            )
    failures = [r for r in rounds if r["answered"] != in_flight or r["exit_code"] != 0]
    return {"in_flight": in_flight, "rounds": rounds, "failures": failures}


async def _wait_for_in_progress(session: aiohttp.ClientSession, server: Server, count: int) -> None:
    """Until the service itself says that it has `count` requests in hand (and this one)."""
    for _ in range(500):
        async with session.get(server.url + "/metrics") as answer:
            for line in (await answer.text()).splitlines():
                if line.startswith("alexnet_requests_in_progress") and float(line.rpartition(" ")[2]) > count:
                    return
        await asyncio.sleep(0.01)
    raise RuntimeError(f"the service never had {count} requests in hand")


def report() -> str:
    """The page docs/reliability.md, from the result files alone."""
    found = {name: _read(name) for name in ("fuzz", "soak", "drain")}
    fuzzed, soaked, drained = found["fuzz"]["result"], found["soak"]["result"], found["drain"]["result"]
    lines = [
        "# Reliability: what was tried to break the service, and what came of it",
        "",
        "Generated by `python -m benchmarks.reliability report` from `benchmarks/results/reliability-*.json`.",
        "",
        f"Measured on {found['fuzz']['environment']['cpus']} CPUs of {found['fuzz']['environment']['cpu']}, "
        f"model {found['fuzz']['model'][:12]}.",
        "",
        "## Fuzzing (`make fuzz`)",
        "",
        f"{fuzzed['requests']} requests with mutated images and mutated requests, eight at a time: "
        f"**{len(fuzzed['failures'])} failures** (a 5xx, a dropped connection, or an error not of the one shape). "
        f"Memory of all processes: {fuzzed['memory_mb']['before']:.0f} MB before, "
        f"{fuzzed['memory_mb']['after']:.0f} MB after.",
        "",
        "| status | answers |",
        "|---|---|",
        *(f"| {status} | {count} |" for status, count in fuzzed["statuses"].items()),
        "",
        "| error code | answers |",
        "|---|---|",
        *(f"| `{code}` | {count} |" for code, count in fuzzed["codes"].items()),
        "",
        "## A long load with broken images in it",
        "",
        f"{soaked['clients']} clients for {soaked['seconds']:.0f} s, every tenth image broken: "
        f"{soaked['requests_per_second']} requests/s, p50 {soaked['p50_ms']} ms, p99 {soaked['p99_ms']} ms, "
        f"**{len(soaked['failures'])} failures**.",
        "",
        "| outcome | answers |",
        "|---|---|",
        *(f"| {outcome} | {count} |" for outcome, count in sorted(soaked["outcomes"].items())),
        "",
        f"Memory of all processes over time, in MB: {', '.join(f'{value:.0f}' for value in soaked['memory_mb'])}.",
        "",
        "## SIGTERM under load",
        "",
        f"{len(drained['rounds'])} times SIGTERM with {drained['in_flight']} requests in flight, {DRAIN_IMAGES} images "
        f"in each: **{len(drained['failures'])} rounds lost an answer or did not exit with 0**; it took "
        f"{min(r['seconds'] for r in drained['rounds'])} to {max(r['seconds'] for r in drained['rounds'])} s.",
        "",
    ]
    return "\n".join(lines)


def _read(name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((RESULTS / f"reliability-{name}.json").read_text())
    return value


def main() -> int:
    """Run one of the commands; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("fuzz", "soak", "drain", "report"))
    parser.add_argument("--examples", type=int, default=6000)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--in-flight", type=int, default=32)
    options = parser.parse_args()
    if options.what == "report":
        page = ROOT / "docs" / "reliability.md"
        with files.replacing(page) as partial:
            partial.write_text(report(), encoding="utf-8")
        return 0
    if options.what == "fuzz":
        result = asyncio.run(fuzz(options.examples, options.seconds or 600))
    elif options.what == "soak":
        result = asyncio.run(soak(options.clients, options.seconds or 60))
    else:
        result = asyncio.run(drain(options.times, options.in_flight))
    facts = environment.describe("bentoml", "uvicorn", "starlette", "pillow", "onnxruntime-gpu", "onnxruntime")
    model = files.sha256(ROOT / "models" / "alexnet" / "model.onnx")
    files.write_json(
        RESULTS / f"reliability-{options.what}.json", {"environment": facts, "model": model, "result": result}
    )
    print(json.dumps({key: value for key, value in result.items() if key != "rounds"}, indent=2))
    return 1 if result["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
