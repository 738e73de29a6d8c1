"""The application behind gunicorn; see ``web_servers``."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

PIECE = 64 * 1024


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer by the path."""
    path, body = environ["PATH_INFO"], environ["wsgi.input"]
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    if path == "/stream":
        data = Path(os.environ["CONTENT"]).read_bytes()
        return (data[at : at + PIECE] for at in range(0, len(data), PIECE))
    found = hashlib.sha256()
    while piece := body.read(PIECE):
        found.update(piece)
    return [found.hexdigest().encode() if path == "/hash" else environ["REMOTE_PORT"].encode()]
