"""The container file: what buildah makes of it runs, is healthy or not, and drains."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from support.clients import connect, read
from support.container import PROGRAMS, Container, Image, build, running
from support.peers import named
from support.process import finish
from support.waiting import until

TREE = Path(__file__).parents[2]
FILE = TREE / "deploy" / "container" / "Containerfile"

CONFIG = """
shutdown_grace = "20s"
[admin]
listen = "unix:/run/tcpbalance/admin.sock"
[frontends.web]
listen = "127.0.0.1:0"
pool = "web"
[pools.web]
backends = ["{backend}"]
"""

pytestmark = [
    pytest.mark.requires(*PROGRAMS),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount and to become another user"),
    pytest.mark.timeout(240),
]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    (default,) = re.findall(r"^ARG PYTHON=(.*)$", FILE.read_text(), re.MULTILINE)
    base = f"docker.io/library/python:{default}-slim"
    return build(FILE, TREE, base, tmp_path_factory.mktemp("image"))


def test_it_is_not_root_and_its_ports_need_no_capability(image: Image) -> None:
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", image.config["User"])
    ports = [int(port.removesuffix("/tcp")) for port in image.config["ExposedPorts"]]
    assert min(ports) >= 1024
    assert image.config["StopSignal"] == "SIGTERM"


def test_the_program_gets_signals_itself(image: Image) -> None:
    """A shell in between would not pass them on."""
    assert image.command == ["tcpbalance", "run", "/etc/tcpbalance/tcpbalance.toml"]
    assert image.config["Healthcheck"]["Test"] == ["CMD", "tcpbalance", "status"]


def test_the_image_has_the_program_and_not_the_source(image: Image) -> None:
    assert (image.root / "opt/tcpbalance/bin/tcpbalance").exists()
    assert not (image.root / "source").exists()
    assert not (image.root / "wheels").exists()


def write_config(image: Image, text: str) -> None:
    folder = image.root / "etc" / "tcpbalance"
    folder.mkdir(exist_ok=True)
    (folder / "tcpbalance.toml").write_text(text)


def port_of(container: Container) -> int:
    found = until(
        lambda: re.search(r"frontend web listens on 127\.0\.0\.1:(\d+) ", container.process.output),
        lambda: f"a port in {container.process.output}",
    )
    assert found is not None
    return int(found[1])


def test_it_serves_is_healthy_and_drains(image: Image, tmp_path: Path) -> None:
    with named("a") as (backend,):
        write_config(image, CONFIG.format(backend=backend.address))
        with running(image, tmp_path / "log") as container:
            port = port_of(container)
            until(container.is_healthy, lambda: f"a healthy container: {container.process.output}")
            assert container.users == {"10001\t10001\t10001\t10001"}
            container.send(signal.SIGSTOP)
            assert not container.is_healthy()
            container.send(signal.SIGCONT)
            until(container.is_healthy, "a healthy container again")
            with connect(port) as client:
                client.sendall(b"half of a question")
                until(lambda: sessions(container) == 1, "a session")
                container.send(signal.Signals[image.config["StopSignal"]])
                until(lambda: refuses(port), "a listener that is closed")
                client.sendall(b", and the rest")
                client.shutdown(1)
                assert read(client, 1) == b"a"
            assert container.process.wait(20) == 0


def sessions(container: Container) -> int:
    """Count the sessions that are open."""
    done = finish(container.inside(["tcpbalance", "sessions"]))
    return len(done.stdout.splitlines()) - 1


def refuses(port: int) -> bool:
    try:
        connect(port).close()
    except ConnectionRefusedError:
        return True
    return False


def test_without_a_configuration_it_says_so(image: Image) -> None:
    done = finish(image.in_root(["tcpbalance", "run", "/etc/tcpbalance/none.toml"]))
    assert done.returncode == 1
    assert "/etc/tcpbalance/none.toml" in done.stderr
    assert done.stderr.count("\n") == 1
