"""What has come is shown before it is read: all of it, its end behind it, and nothing once that is over."""

from __future__ import annotations

from support.memory_stage import MemoryStage
from support.network import Network, no_logged_failure
from support.transport_scripts import HalfCloseRecorder, Recorder


def previewed(protocol: type[Recorder] = HalfCloseRecorder) -> MemoryStage:
    stage = MemoryStage(protocol, network=Network(data_path="copying"))
    stage.transport.look()
    return stage


def test_an_end_that_came_with_the_last_bytes_is_reported() -> None:
    stage = previewed()
    stage.peer.send(b"hello")
    stage.peer.finish()
    stage.settle()
    assert stage.protocol.story == ["data 5", "read closed"]


def test_no_read_is_worth_it_until_something_comes() -> None:
    stage = previewed()
    stage.peer.send(b"hello")
    stage.settle()
    assert (stage.protocol.story, stage.transport.input.readable) == (["data 5"], False)


def test_a_protocol_that_closes_at_what_it_is_shown() -> None:
    class Closing(HalfCloseRecorder):
        def dataReceived(self, data: bytes) -> None:
            super().dataReceived(data)
            self.transport.abortConnection()

    with no_logged_failure():
        stage = previewed(Closing)
        stage.peer.send(b"hello")
        stage.settle()
    assert stage.protocol.story == ["data 5", "lost ConnectionAborted"]
