"""Contestants terminate TLS, and have several workers, where they are asked to, and only there."""

from __future__ import annotations

import pytest

pytest.importorskip("bench", reason="bench/ is in the tree, not in the wheel")

from pathlib import Path

from bench import programs
from bench.contestants import PROXIES, TERMINATORS
from bench.contestants.proxy import Place
from bench.errors import Failed

ASKS = {
    "tcpbalance": '[frontends.web.tls]\ncertificates = [{ cert = "/x/ecdsa.pem" }]\n',
    "haproxy": "bind 127.0.0.1:20001 backlog 4096 ssl crt /x/ecdsa.pem\n",
    "nginx": "listen 127.0.0.1:20001 backlog=4096 ssl;\n        ssl_certificate /x/ecdsa.pem;\n",
}


def configuration(who: str, place: Place) -> str:
    """Give what a contestant is configured with, or skip where it is not installed."""
    try:
        PROXIES[who].command(place)
    except Failed as failed:
        pytest.skip(str(failed))
    (file,) = place.folder.iterdir()
    return file.read_text()


@pytest.mark.parametrize("who", TERMINATORS)
def test_with_a_certificate_it_terminates_tls(tmp_path: Path, who: str) -> None:
    place = Place(tmp_path, 20_001, (20_002,), Path("/x/ecdsa.pem"))
    assert ASKS[who] in configuration(who, place)


@pytest.mark.parametrize("who", TERMINATORS)
def test_without_one_it_does_not(tmp_path: Path, who: str) -> None:
    text = configuration(who, Place(tmp_path, 20_001, (20_002,)))
    assert not {"tls", "ssl"} & set(text.replace(".", " ").replace("]", " ").split())


def test_nginx_without_its_stream_module_has_a_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of measures of HTTP alone ended without results where that was asked for first."""
    monkeypatch.setattr(programs, "path_of", lambda _: "/x/nginx")
    monkeypatch.setattr(programs, "version", " ".join)
    assert PROXIES["nginx"].version() == "/x/nginx -v"


LIMITS = {
    "tcpbalance": [
        "connections_per_client = 2500",
        'connect_rate_per_client = "1/s"',
        "burst_per_client = 2100",
    ],
    "haproxy": ["{ sc_conn_cur(0) gt 2500 }", "conn_rate(10s)", "{ sc_conn_rate(0) gt 2100 }"],
}


@pytest.mark.parametrize("limits", [False, True])
@pytest.mark.parametrize("who", LIMITS)
def test_clients_are_limited_where_it_is_asked_for(tmp_path: Path, who: str, limits: bool) -> None:
    text = configuration(who, Place(tmp_path, 20_001, (20_002,), limits=limits))
    assert [word in text for word in LIMITS[who]] == [limits] * 3


SEVERAL = {"tcpbalance": "workers = {}\n", "haproxy": "nbthread {}\n", "nginx": "worker_processes {};"}


@pytest.mark.parametrize("who", SEVERAL)
def test_each_can_have_several_workers(who: str, tmp_path: Path) -> None:
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        folder.mkdir()
        place = Place(folder, 20001, (20002,), workers=workers)
        assert SEVERAL[who].format(workers) in configuration(who, place)
