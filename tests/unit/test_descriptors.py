"""What is left open is seen."""

from __future__ import annotations

import socket

from support.descriptors import open_descriptors, opened_since


def test_an_open_socket_is_reported_until_it_is_closed() -> None:
    before = open_descriptors()
    with socket.socket() as held:
        assert held.fileno() in opened_since(before)
    assert not opened_since(before)
