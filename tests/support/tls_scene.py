"""Scenes whose clients speak TLS by OpenSSL, which ends at the frontend."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from support.certificates import Authority
from support.memory_peers import OpenSslPeer
from support.tls_lines import frontend_tls
from tcpbalance.net.tls.server import ServerTls
from tcpbalance.proxy.preread_settings import PrereadSettings


@cache
def _server_tls() -> ServerTls:
    with TemporaryDirectory() as folder:
        return ServerTls(frontend_tls(Authority.root().issue(Path(folder), "web", "web.example")))


def ends_tls(_: object) -> PrereadSettings:
    """Make the preread of a frontend at which TLS ends; see ``Scene``."""
    return PrereadSettings(tls=_server_tls())


TLS: dict[str, Any] = {"preread": ends_tls, "program": OpenSslPeer}
"""Arguments of such a scene."""
