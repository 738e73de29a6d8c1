"""Bytes go both ways unchanged, wait for a backend within a bound, and are never kept without one."""

from __future__ import annotations

import random
from typing import Any

import pytest

from support.scene import ONE, TWO

KIB = 1024
MIB = 1024 * KIB
BOUND = 512 * KIB
"""What one session may keep in memory, whatever its two sides do."""


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def test_both_ways(make_scene: Any) -> None:
    scene = make_scene()
    client, backend = scene.joined()
    client.send(b"question")
    scene.run()
    assert backend.received == b"question"
    backend.send(b"answer")
    scene.run()
    assert client.received == b"answer"
    assert (client.saw, backend.saw) == ("open", "open")


def test_the_backend_may_speak_first(make_scene: Any) -> None:
    scene = make_scene()
    scene.backends[ONE].on_accept = lambda peer: peer.send(b"220 welcome")
    client = scene.connect()
    scene.run()
    assert client.received == b"220 welcome"


def test_much_in_both_directions_at_once(make_scene: Any) -> None:
    scene = make_scene()
    client, backend = scene.joined()
    up, down = noise(5 * MIB + 1), noise(3 * MIB + 7)
    client.send(up)
    backend.send(down)
    scene.run()
    assert backend.received == up
    assert client.received == down
    assert (client.unsent, backend.unsent, scene.kept) == (0, 0, 0)


def test_clients_do_not_get_each_others_bytes(make_scene: Any) -> None:
    scene = make_scene([ONE, TWO])
    clients = [scene.connect() for _ in range(6)]
    for number, client in enumerate(clients):
        client.send(b"%d" % number)
    scene.run()
    arrived = [peer.received for backend in scene.backends.values() for peer in backend.connections]
    assert sorted(arrived) == [b"%d" % number for number in range(6)]
    for backend in scene.backends.values():
        for peer in backend.connections:
            peer.send(b"for " + peer.received)
    scene.run()
    assert [client.received for client in clients] == [b"for %d" % number for number in range(6)]


# Before a backend is there


def test_early_bytes_are_delivered_once_connected(make_scene: Any) -> None:
    scene = make_scene({ONE: "hangs"})
    client = scene.connect(early=b"early ")
    client.send(b"bird")
    scene.run()
    assert scene.kept == (0 if scene.begins_bare else len(b"early bird"))
    scene.backends[ONE].behaviour = "accepts"
    scene.run()
    assert scene.backends[ONE].connection.received == b"early bird"
    client.send(b", late worm")
    scene.run()
    assert scene.backends[ONE].connection.received == b"early bird, late worm"


def test_early_bytes_of_a_client_that_has_finished(make_scene: Any) -> None:
    scene = make_scene({ONE: "hangs"})
    client = scene.connect()
    client.send(b"question")
    client.finish()
    scene.run()
    assert client.saw == "open"
    scene.backends[ONE].behaviour = "accepts"
    scene.run()
    backend = scene.backends[ONE].connection
    assert (backend.received, backend.saw) == (b"question", "fin")
    backend.send(b"answer")
    backend.finish()
    scene.run()
    assert (client.received, client.saw) == (b"answer", "fin")
    assert scene.ended == "client_closed"


def test_a_client_that_finished_without_a_byte_still_reaches_a_backend(make_scene: Any) -> None:
    scene = make_scene({ONE: "hangs"})
    client = scene.connect()
    client.finish()
    scene.run()
    scene.backends[ONE].behaviour = "accepts"
    scene.run()
    backend = scene.backends[ONE].connection
    assert (backend.received, backend.saw) == (b"", "fin")
    backend.send(b"banner")
    backend.finish()
    scene.run()
    assert (client.received, client.saw) == (b"banner", "fin")


def test_early_bytes_are_bounded(make_scene: Any) -> None:
    scene = make_scene({ONE: "hangs"})
    client = scene.connect()
    data = noise(4 * MIB)
    client.send(data)
    client.finish()
    scene.run()
    assert (0 if scene.begins_bare else 64 * KIB) <= scene.kept <= 128 * KIB
    assert client.unsent > 3 * MIB, "the client is not read any further"
    scene.backends[ONE].behaviour = "accepts"
    scene.run()
    backend = scene.backends[ONE].connection
    assert (backend.received, backend.saw) == (data, "fin")


# Nobody's stall is another's


def pour(scene: Any, sender: Any, size: int) -> int:
    """Let *sender* send all that is taken, and tell the most that was kept on the way."""
    sender.send(bytes(size))
    most = 0
    for _ in range(100_000):
        if not scene.network.step():
            break
        most = max(most, scene.kept)
    return most


@pytest.mark.parametrize("stalled", ["client", "backend"])
def test_a_peer_that_stops_reading_is_given_a_bound(make_scene: Any, stalled: str) -> None:
    scene = make_scene()
    client, backend = scene.joined()
    receiver, sender = (client, backend) if stalled == "client" else (backend, client)
    receiver.stop_reading()
    most = pour(scene, sender, 8 * MIB)
    assert most < BOUND
    assert max(transport.peak for transport in scene.network.transports) < BOUND
    assert sender.unsent > 7 * MIB
    receiver.start_reading()
    scene.run()
    assert len(receiver.received) == 8 * MIB
    assert scene.kept == 0


def test_two_peers_that_stop_reading_are_given_a_bound(make_scene: Any) -> None:
    scene = make_scene()
    client, backend = scene.joined()
    client.stop_reading()
    backend.stop_reading()
    most = max(pour(scene, client, 4 * MIB), pour(scene, backend, 4 * MIB))
    assert most < BOUND
    client.start_reading()
    scene.run()
    assert len(client.received) == 4 * MIB, "one direction does not wait for the other"
    assert len(backend.received) == 0
    backend.start_reading()
    scene.run()
    assert len(backend.received) == 4 * MIB


def test_a_stalled_session_does_not_slow_another(make_scene: Any) -> None:
    scene = make_scene()
    stalled, its_backend = scene.joined()
    stalled.stop_reading()
    its_backend.stop_reading()
    its_backend.send(bytes(4 * MIB))
    stalled.send(bytes(4 * MIB))
    client, backend = scene.joined()
    up, down = noise(2 * MIB), noise(3 * MIB)
    client.send(up)
    backend.send(down)
    scene.run()
    assert (backend.received, client.received) == (up, down)
    assert (stalled.received, its_backend.received) == (b"", b"")


def test_a_slow_reader_gets_all_of_it(make_scene: Any) -> None:
    scene = make_scene()
    client, backend = scene.joined()
    client.stop_reading()
    data = noise(2 * MIB)
    backend.send(data)
    backend.finish()
    scene.run()
    while client.read(30_000):
        scene.run()
        assert scene.kept < BOUND
    assert client.received == data
    assert client.saw == "fin"


def test_pausing_again_and_again_loses_nothing(make_scene: Any) -> None:
    scene = make_scene()
    client, backend = scene.joined()
    data = noise(3 * MIB)
    client.send(data)
    for _ in range(40):
        backend.stop_reading()
        scene.run()
        backend.start_reading()
        scene.network.step()
    scene.run()
    assert backend.received == data
