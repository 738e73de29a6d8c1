"""A web site behind uvicorn for a browser: a page with many resources, a chat, and a form with a file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from support.asgi_server import Receive, Send

RESOURCES = 50
"""What the page at ``/page`` consists of besides itself: scripts, styles and images in equal parts."""

_CHAT = Path(__file__).with_name("asgi_site.html").read_text()

_IMAGE = '<svg xmlns="http://www.w3.org/2000/svg" width="{0}" height="{0}"><!-- {1} --></svg>'

_open: dict[int, Send] = {}
"""What sends to each that is in the chat."""


def _page() -> str:
    parts = []
    for number in range(RESOURCES):
        kind = number % 3
        if kind == 0:
            parts.append(f'<script src="/resource/{number}.js"></script>')
        elif kind == 1:
            parts.append(f'<link rel="stylesheet" href="/resource/{number}.css">')
        else:
            parts.append(f'<img src="/resource/{number}.svg" alt="{number}">')
    head = "<!doctype html><link rel=icon href=data:,><title>Many</title><script>seen = []</script>"
    return head + "".join(parts)


def _resource(path: str) -> tuple[str, str]:
    """Give what kind of content a path has, and the content; each is of another size, up to 100 KB."""
    number, _, kind = path.removeprefix("/resource/").partition(".")
    filler = "x" * (int(number) * 2_000)
    if kind == "js":
        return "text/javascript", f"seen.push({number}); // {filler}"
    if kind == "css":
        return "text/css", f":root {{ --seen-{number}: {number}; }} /* {filler} */"
    return "image/svg+xml", _IMAGE.format(number, filler)


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Answer by the path."""
    if scope["type"] == "websocket":
        await _chat(receive, send)
    elif scope["type"] == "http":
        kind, content = await _content(scope, receive)
        fields = [(b"content-type", kind.encode()), (b"content-length", b"%d" % len(content.encode()))]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": content.encode()})


async def _content(scope: dict[str, Any], receive: Receive) -> tuple[str, str]:
    path = scope["path"]
    if path == "/upload":
        return "application/json", json.dumps(await _upload(scope, receive))
    if path.startswith("/resource/"):
        return _resource(path)
    return "text/html", _page() if path == "/page" else _CHAT


async def _upload(scope: dict[str, Any], receive: Receive) -> dict[str, object]:
    """Give the size and the hash of the one file of a form."""
    parts, more = [], True
    while more:
        event = await receive()
        parts.append(event.get("body", b""))
        more = event.get("more_body", False)
    boundary = dict(scope["headers"])[b"content-type"].partition(b"boundary=")[2]
    body = b"".join(parts).partition(b"\r\n\r\n")[2]
    file = body[: -len(b"\r\n--%b--\r\n" % boundary)]
    return {"size": len(file), "hash": hashlib.sha256(file).hexdigest()}


async def _chat(receive: Receive, send: Send) -> None:
    """Tell everybody what one says."""
    await receive()
    await send({"type": "websocket.accept"})
    _open[id(send)] = send
    try:
        while (event := await receive())["type"] == "websocket.receive":
            for each in tuple(_open.values()):
                await each({"type": "websocket.send", "text": event["text"]})
    finally:
        del _open[id(send)]
