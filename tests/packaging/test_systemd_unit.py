"""systemd understands every line of the units, and rates them as the documentation says."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
from pathlib import Path

import pytest

from support.programs import find
from tcpbalance import Address

TREE = Path(__file__).parents[2]
DEPLOY = TREE / "deploy"
SERVICE = DEPLOY / "tcpbalance.service"
SOCKET = DEPLOY / "tcpbalance-web.socket"
NO_CAPABILITIES = DEPLOY / "tcpbalance-no-capabilities.conf"

WORST = 2.0
"""The rating at most, whatever version of systemd gives it."""


def analyze(*arguments: object) -> str:
    """Give what systemd has to say."""
    command = [str(find("systemd-analyze")), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def verify(service: str, socket: str, folder: Path) -> str:
    """Give what systemd has to say about units whose program is one that every machine has."""
    units = (folder / SERVICE.name, folder / SOCKET.name)
    units[0].write_text(service.replace("/opt/tcpbalance/bin/tcpbalance", "/bin/true"))
    units[1].write_text(socket)
    return analyze("verify", *units)


@pytest.mark.requires("systemd-analyze")
@pytest.mark.parametrize("more", ["", NO_CAPABILITIES.read_text()], ids=["alone", "with drop-in"])
def test_systemd_has_no_objection(tmp_path: Path, more: str) -> None:
    assert verify(f"{SERVICE.read_text()}\n{more}", SOCKET.read_text(), tmp_path) == ""


@pytest.mark.requires("systemd-analyze")
def test_it_would_object(tmp_path: Path) -> None:
    service, socket = SERVICE.read_text(), SOCKET.read_text()
    assert "LimitNOFILES" in verify(service.replace("LimitNOFILE", "LimitNOFILES"), socket, tmp_path)
    assert "ListenStreams" in verify(service, socket.replace("ListenStream", "ListenStreams"), tmp_path)


def rating(text: str, folder: Path) -> float:
    """Give how exposed systemd finds a unit, from 0 (best) to 10."""
    unit = folder / SERVICE.name
    unit.write_text(text)
    found = re.search(
        r"Overall exposure level for \S+: ([\d.]+)", analyze("security", "--offline=true", unit)
    )
    assert found is not None
    return float(found[1])


@pytest.mark.requires("systemd-analyze")
def test_the_units_are_as_hard_as_the_documentation_says(tmp_path: Path) -> None:
    service = SERVICE.read_text()
    ratings = [rating(service, tmp_path), rating(f"{service}\n{NO_CAPABILITIES.read_text()}", tmp_path)]
    assert max(ratings) <= WORST
    page = (TREE / "docs" / "how-to" / "systemd.md").read_text()
    documented = re.search(r"gets ([\d.]+) \(systemd (\d+)\), and ([\d.]+) with", page)
    assert documented is not None
    if analyze("--version").startswith(f"systemd {documented[2]} "):
        assert ratings == [float(documented[1]), float(documented[3])]


def test_the_socket_unit_has_addresses_of_a_frontend() -> None:
    lines = [line for line in SOCKET.read_text().splitlines() if line.startswith("ListenStream=")]
    addresses = [Address.parse(line.removeprefix("ListenStream=")) for line in lines]
    assert [str(address) for address in addresses] == ["0.0.0.0:80", "[::]:80"]
    unit = configparser.ConfigParser(strict=False)
    unit.read(SOCKET)
    assert unit["Socket"]["FileDescriptorName"] == "web"
    assert unit["Socket"]["BindIPv6Only"] == "ipv6-only"
    assert unit["Socket"]["Service"] == SERVICE.name


@pytest.mark.requires("systemd-tmpfiles")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders to root")
def test_the_folder_of_unix_sockets_is_made(tmp_path: Path) -> None:
    command = [str(find("systemd-tmpfiles")), "--create", f"--root={tmp_path}"]
    subprocess.run([*command, str(DEPLOY / "tcpbalance.tmpfiles")], check=True)
    folder = tmp_path / "run" / "tcpbalance-sockets"
    assert (folder.is_dir(), folder.stat().st_mode & 0o777) == (True, 0o755)
