"""The application behind uvicorn; see ``web_servers``."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

PIECE = 64 * 1024

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Answer by the path."""
    if scope["type"] == "websocket":
        await _echo(receive, send)
    elif scope["type"] == "http":
        await _answer(scope, receive, send)


async def _answer(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    path = scope["path"]
    found, more = hashlib.sha256(), True
    while more:
        event = await receive()
        found.update(event.get("body", b""))
        more = event.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if path == "/stream":
        data = Path(os.environ["CONTENT"]).read_bytes()
        for at in range(0, len(data), PIECE):
            await send({"type": "http.response.body", "body": data[at : at + PIECE], "more_body": True})
        body = b""
    else:
        body = found.hexdigest().encode() if path == "/hash" else str(scope["client"][1]).encode()
    await send({"type": "http.response.body", "body": body})


async def _echo(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        kind = "text" if event.get("text") is not None else "bytes"
        await send({"type": "websocket.send", kind: event[kind]})
