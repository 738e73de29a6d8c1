"""The container file: what its steps make runs, is healthy or not, and drains."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from support.clients import connect, read
from support.container import Container, Image, Instruction, build, read_instructions, running
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
    pytest.mark.requires("unshare", "nsenter", "setpriv", "chroot"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount and to become another user"),
]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return build(FILE.read_text(), TREE, tmp_path_factory.mktemp("image"))


def instructions(word: str) -> list[Instruction]:
    return [it for it in read_instructions(FILE.read_text()) if it.word == word]


def test_it_is_not_root_and_its_ports_need_no_capability(image: Image) -> None:
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", image.user)
    assert all(int(port) >= 1024 for port in image.expose)
    assert image.stopsignal == "SIGTERM"


def test_the_program_gets_signals_itself() -> None:
    """A shell in between would not pass them on."""
    for word in ("ENTRYPOINT", "CMD"):
        (it,) = instructions(word)
        assert it.rest.startswith("["), it
    (health,) = instructions("HEALTHCHECK")
    assert " CMD [" in health.rest


def test_the_image_has_the_program_and_not_the_source(image: Image) -> None:
    assert (image.root / "opt/tcpbalance/bin/tcpbalance").exists()
    assert not (image.root / "source").exists()
    assert not (image.root / "wheels").exists()
    assert all(it.rest.partition(" AS ")[0].endswith("-slim") for it in instructions("FROM"))


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
            assert container.is_healthy()
            with connect(port) as client:
                client.sendall(b"half of a question")
                until(lambda: sessions(container) == 1, "a session")
                container.send(signal.SIGTERM)
                until(lambda: refuses(port), "a listener that is closed")
                client.sendall(b", and the rest")
                client.shutdown(1)
                assert read(client, 1) == b"a"
            assert container.process.wait(20) == 0


def sessions(container: Container) -> int:
    """Count the sessions that are open."""
    ask = container.image.as_user(["tcpbalance", "sessions"])
    done = finish(["nsenter", f"--target={container.pid}", "--mount", "--pid", "--root", *ask])
    return len(done.stdout.splitlines()) - 1


def refuses(port: int) -> bool:
    try:
        connect(port).close()
    except ConnectionRefusedError:
        return True
    return False


def test_without_a_configuration_it_says_so(image: Image, tmp_path: Path) -> None:
    done = finish(image.in_root([*image.entrypoint, "run", "/etc/tcpbalance/none.toml"]))
    assert done.returncode == 1
    assert "/etc/tcpbalance/none.toml" in done.stderr
    assert done.stderr.count("\n") == 1
