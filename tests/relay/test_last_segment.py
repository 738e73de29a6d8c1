"""Legs send the end of a stream in one segment with the bytes before it, where both come at once."""

from __future__ import annotations

import pytest

from support.memory_socket import MemorySocket
from support.network import no_logged_failure
from support.scene import CopyingScene

Arrivals = list[tuple[int, bool]]


@pytest.mark.parametrize("messages_before", [0, 3], ids=["through the session", "from leg to leg"])
@pytest.mark.parametrize("side", ["client", "backend"])
def test_the_end_travels_with_the_last_bytes(side: str, messages_before: int) -> None:
    with no_logged_failure():
        scene = CopyingScene()
        peers = dict(zip(("client", "backend"), scene.joined(), strict=True))
        sender, receiver = peers.pop(side), *peers.values()
        for _ in range(messages_before):
            sender.send(b"more")
            scene.run()
        arrivals = note_arrivals(receiver.socket)
        sender.send(b"last")
        sender.finish()
        scene.run()
        assert (4, True) in arrivals
        assert (4, False) not in arrivals, "the last byte came without the end"
        scene.leave()


def note_arrivals(sock: MemorySocket) -> Arrivals:
    """List, from now on, the bytes that wait at each arrival, and whether the end came with them."""
    arrivals: Arrivals = []
    pipe = sock.incoming
    tell = pipe.on_arrival

    def note() -> None:
        arrivals.append((len(pipe.unread), pipe.fin_arrived))
        tell()

    pipe.on_arrival = note
    return arrivals


def test_a_reader_that_had_stopped_gets_the_last_byte_and_the_end() -> None:
    with no_logged_failure():
        scene = CopyingScene(network={"send_buffer": 4000, "receive_buffer": 4000})
        client, backend = scene.joined()
        backend.stop_reading()
        client.send(bytes(700_000))
        client.finish()
        scene.run()
        backend.start_reading()
        scene.run()
        assert (len(backend.received), backend.saw) == (700_000, "fin")
        scene.leave()
