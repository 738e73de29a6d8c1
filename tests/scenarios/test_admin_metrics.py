"""Metrics for Prometheus: its own checks accept them, and a real one scrapes them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from support.admin import LOOPBACK, Admin, Stage
from support.clients import ask
from support.ports import free_port
from support.process import Process
from support.waiting import until

DEPLOY = Path(__file__).parents[2] / "deploy"

pytestmark = pytest.mark.requires("prometheus", "promtool")


def promtool(*arguments: str | Path, text: bytes = b"") -> str:
    done = subprocess.run(["promtool", *arguments], input=text, capture_output=True, check=False, timeout=50)
    assert done.returncode == 0, done.stdout + done.stderr
    return (done.stdout + done.stderr).decode()


def scrape(admin: Admin, accept: str = "") -> tuple[str, bytes]:
    connection = HTTPConnection("127.0.0.1", admin.port, timeout=20)
    connection.request("GET", "/metrics", headers={"Accept": accept})
    response = connection.getresponse()
    assert response.status == 200
    return response.headers["Content-Type"], response.read()


def test_promtool_accepts_the_metrics(stage: Stage) -> None:
    with stage.daemon(LOOPBACK) as daemon:
        admin = Admin(daemon)
        for _ in range(3):
            ask(daemon.port)
        kind, text = scrape(admin)
        assert kind == "text/plain; version=0.0.4; charset=utf-8"
        assert promtool("check", "metrics", text=text) == ""
        kind, text = scrape(admin, "application/openmetrics-text; version=1.0.0")
        assert kind == "application/openmetrics-text; version=1.0.0; charset=utf-8"
        assert text.endswith(b"# EOF\n")


@contextmanager
def prometheus(admin: Admin, folder: Path) -> Iterator[int]:
    """Run a Prometheus that scrapes a balancer; gives its port."""
    port = free_port()
    config = {
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [
            {"job_name": "tcpbalance", "static_configs": [{"targets": [f"127.0.0.1:{admin.port}"]}]}
        ],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with Process(command, folder, folder / "prometheus.log"):
        yield port


def query(port: int, expression: str) -> list[Any]:
    with closing(HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        try:
            connection.request("GET", f"/api/v1/query?query={quote(expression)}")
            answer = json.loads(connection.getresponse().read())
        except (OSError, ValueError):
            return []  # It does not listen yet, or is not ready.
    found: list[Any] = answer.get("data", {}).get("result", [])
    return found


def test_prometheus_scrapes_it(stage: Stage) -> None:
    with stage.daemon(LOOPBACK) as daemon, prometheus(Admin(daemon), stage.folder) as port:
        for _ in range(5):
            ask(daemon.port)

        def total() -> str:
            found = query(port, 'tcpbalance_frontend_connections_total{frontend="web"}')
            return found[0]["value"][1] if found else ""

        until(lambda: total() == "5", lambda: f"five connections, not {total()!r}")
        assert query(port, 'up{job="tcpbalance"}')[0]["value"][1] == "1"
        states = query(port, 'tcpbalance_backend_state{state="up"} == 1')
        assert {it["metric"]["backend"] for it in states} == {"a", "b"}


def test_promtool_accepts_the_configuration_and_the_alert_rules(tmp_path: Path) -> None:
    assert "SUCCESS" in promtool("check", "config", DEPLOY / "prometheus" / "prometheus.yml")
