"""A bare ASGI application (https://asgi.readthedocs.io/en/latest/specs/www.html): the model in the event loop.

uvicorn with httptools and uvloop runs it, or granian.
"""

import json

from images import classify, decode, files_of


async def app(scope, receive, send) -> None:  # the three of the specification
    """One form in, JSON out."""
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    found = classify([decode(content) for content in files_of(body)])
    answer = json.dumps(found if scope["path"] == "/classify_batch" else found[0]).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})
