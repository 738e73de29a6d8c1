"""What happens at a stock transport when its peer or its protocol does this or that: scripts with outcomes.

The memory network and real sockets are held to the same outcomes, so that a test over the one speaks for the
other. A script gets a ``Stage``: a protocol that writes down what it is told, on a transport whose peer does
as it is told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from support.memory_peers import Peer

BUFFER = 64 * 1024
MORE_THAN_KERNELS_HOLD = 16 * 1024 * 1024


class Recorder(TwistedProtocol):
    """Writes down what it is told; bytes that come in one after the other count together."""

    def __init__(self, story: list[str]) -> None:
        self.story = story
        self._bytes = 0

    def dataReceived(self, data: bytes) -> None:
        if self.story and self.story[-1] == f"data {self._bytes}" and self._bytes:
            self.story.pop()
        else:
            self._bytes = 0
        self._bytes += len(data)
        self.story.append(f"data {self._bytes}")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.story.append(f"lost {type(reason.value).__name__}")


@implementer(IHalfCloseableProtocol)
class HalfCloseRecorder(Recorder):
    """The same for a protocol that knows half-close."""

    def readConnectionLost(self) -> None:
        self.story.append("read closed")

    def writeConnectionLost(self) -> None:
        self.story.append("write closed")


@implementer(IPushProducer)
class Source:
    """A streaming producer that writes down when it is turned off and on."""

    def __init__(self, stage: Stage) -> None:
        self._story = stage.protocol.story

    def pauseProducing(self) -> None:
        if self._story[-1:] != ["pause"]:
            self._story.append("pause")

    def resumeProducing(self) -> None:
        self._story.append("resume")

    def stopProducing(self) -> None:
        self._story.append("stop")


class PullSource:
    """A pull producer with so many pieces to give."""

    def __init__(self, stage: Stage, pieces: int) -> None:
        self._stage = stage
        self._pieces = pieces

    def resumeProducing(self) -> None:
        self._pieces -= 1
        self._stage.transport.write(b"x" * 1000)
        if not self._pieces:
            self._stage.transport.unregisterProducer()

    def stopProducing(self) -> None:
        self._stage.protocol.story.append("stop")


class Stage(Protocol):
    """Where a script is played."""

    protocol: Recorder
    peer: Peer

    @property
    def transport(self) -> Any:
        """The transport under test."""

    def turn(self) -> None:
        """Let the reactor have one look at what is ready."""

    def await_reset(self) -> None:
        """Wait until the peer's reset has come in, without a look by the reactor."""

    def settle(self) -> None:
        """Let happen what follows by itself."""


Script = Callable[[Stage], None]
SCRIPTS: list[tuple[Script, type[Recorder], list[str]]] = []
"""Each script, its protocol and the outcome: the story of the protocol, then what the peer saw and read."""


def outcome(stage: Stage) -> list[str]:
    """The story so far, with the peer's part."""
    peer = stage.peer
    seen = (
        f"peer closed, {len(peer.received)}"
        if peer.socket.closed
        else f"peer {peer.saw}, {len(peer.received)}"
    )
    return [*stage.protocol.story, seen]


def _script(*story: str, protocol: type[Recorder] = HalfCloseRecorder) -> Callable[[Script], Script]:
    def register(script: Script) -> Script:
        SCRIPTS.append((script, protocol, list(story)))
        return script

    return register


@_script("data 5", "lost ConnectionDone", "peer fin, 5", protocol=Recorder)
def end_without_half_close(stage: Stage) -> None:
    stage.peer.send(b"hello")
    stage.settle()
    stage.transport.write(b"world")
    stage.settle()
    stage.peer.finish()
    stage.settle()


@_script("lost ConnectionDone", "peer fin, 0", protocol=Recorder)
def end_without_half_close_drops_what_waits(stage: Stage) -> None:
    stage.peer.finish()
    stage.transport.write(b"too late: the end is read before this is written")
    stage.settle()


@_script("data 5", "read closed", "lost ConnectionDone", "peer fin, 6")
def peer_finishes_and_gets_an_answer(stage: Stage) -> None:
    stage.peer.send(b"hello")
    stage.peer.finish()
    stage.settle()
    stage.transport.write(b"answer")
    stage.settle()
    stage.transport.loseConnection()
    stage.settle()


@_script("read closed", "read closed", "read closed", "peer open, 0")
def resuming_after_the_end_reports_it_again(stage: Stage) -> None:
    stage.peer.finish()
    stage.settle()
    for _ in range(2):
        stage.transport.resumeProducing()
        stage.settle()


@_script("write closed", "data 4", "read closed", "lost ConnectionDone", "called", "peer fin, 4")
def half_close_from_here(stage: Stage) -> None:
    stage.transport.write(b"last")
    stage.transport.loseWriteConnection()
    stage.settle()
    stage.transport.write(b"dropped")
    stage.peer.send(b"more")
    stage.settle()
    stage.peer.finish()
    stage.settle()
    stage.transport.loseConnection()
    stage.protocol.story.append("called")


@_script("write closed", "called", "peer fin, 16777216")
def half_close_waits_for_the_last_byte(stage: Stage) -> None:
    stage.peer.stop_reading()
    stage.transport.write(bytes(MORE_THAN_KERNELS_HOLD))
    stage.transport.loseWriteConnection()
    stage.settle()
    assert stage.protocol.story == []
    stage.peer.start_reading()
    stage.settle()
    stage.protocol.story.append("called")


@_script("called", "lost ConnectionDone", "peer fin, 16777216")
def closing_flushes_first(stage: Stage) -> None:
    stage.peer.stop_reading()
    stage.transport.write(bytes(MORE_THAN_KERNELS_HOLD))
    stage.transport.loseConnection()
    stage.settle()
    stage.protocol.story.append("called")
    stage.peer.start_reading()
    stage.settle()


@_script("pause", "resume", "called", "lost ConnectionDone", "peer fin, 16777216")
def closing_waits_for_a_producer_that_was_paused(stage: Stage) -> None:
    stage.transport.registerProducer(Source(stage), True)
    stage.transport.write(bytes(MORE_THAN_KERNELS_HOLD))
    stage.transport.loseConnection()
    stage.settle()
    stage.protocol.story.append("called")
    stage.transport.unregisterProducer()
    stage.settle()


@_script("stop", "lost ConnectionDone", "peer fin, 4")
def closing_does_not_wait_for_a_producer_that_was_not_paused(stage: Stage) -> None:
    stage.transport.registerProducer(Source(stage), True)
    stage.transport.write(b"data")
    stage.transport.loseConnection()
    stage.settle()


@_script("peer reset, 0")
def closing_with_unread_bytes_resets(stage: Stage) -> None:
    stage.transport.pauseProducing()
    stage.peer.send(b"unread")
    stage.settle()
    stage.transport.loseConnection()
    stage.settle()
    assert stage.protocol.story == ["lost ConnectionDone"]
    stage.protocol.story.clear()


@_script("called", "lost ConnectionAborted", "peer reset, 0")
def aborting_drops_everything(stage: Stage) -> None:
    stage.peer.stop_reading()
    stage.transport.write(b"dropped")
    stage.transport.abortConnection()
    stage.protocol.story.append("called")
    stage.settle()
    stage.peer.start_reading()
    stage.settle()


@_script("stop", "lost ConnectionAborted", "peer reset, 0")
def aborting_stops_the_producer(stage: Stage) -> None:
    stage.transport.registerProducer(Source(stage), True)
    stage.transport.abortConnection()
    stage.settle()


@_script("read closed", "lost ConnectionAborted", "peer reset, 0")
def aborting_after_the_peer_has_finished(stage: Stage) -> None:
    stage.peer.finish()
    stage.settle()
    stage.transport.abortConnection()
    stage.settle()


@_script("write closed", "lost ConnectionAborted", "peer reset, 0")
def aborting_after_half_close(stage: Stage) -> None:
    stage.transport.loseWriteConnection()
    stage.settle()
    stage.transport.abortConnection()
    stage.settle()


@_script("data 5", "lost ConnectionLost", "peer closed, 0")
def reset_after_bytes(stage: Stage) -> None:
    stage.peer.send(b"hello")
    stage.peer.reset()
    stage.settle()


@_script("called", "lost ConnectionLost", "peer closed, 0")
def reset_while_paused_shows_on_resuming(stage: Stage) -> None:
    stage.transport.pauseProducing()
    stage.peer.reset()
    stage.settle()
    stage.protocol.story.append("called")
    stage.transport.resumeProducing()
    stage.settle()


@_script("called", "lost ConnectionLost", "peer closed, 0")
def reset_while_paused_shows_on_writing(stage: Stage) -> None:
    stage.transport.pauseProducing()
    stage.peer.reset()
    stage.settle()
    stage.protocol.story.append("called")
    stage.transport.write(b"anybody there?")
    stage.settle()


@_script("called", "lost ConnectionLost", "peer closed, 0")
def reset_while_paused_shows_when_bytes_wait(stage: Stage) -> None:
    stage.transport.pauseProducing()
    stage.peer.stop_reading()
    stage.transport.write(bytes(MORE_THAN_KERNELS_HOLD))
    stage.settle()
    stage.protocol.story.append("called")
    stage.peer.reset()
    stage.settle()


@_script("data 5", "read closed", "called", "lost ConnectionLost", "peer closed, 0")
def end_and_reset_while_paused(stage: Stage) -> None:
    stage.transport.pauseProducing()
    stage.peer.send(b"hello")
    stage.peer.finish()
    stage.settle()
    stage.peer.reset()
    stage.settle()
    stage.transport.resumeProducing()
    stage.settle()
    stage.protocol.story.append("called")
    stage.transport.write(b"anybody there?")
    stage.settle()


@_script("read closed", "called", "called", "lost ConnectionLost", "peer closed, 0")
def peer_closes_whole_and_is_written_to(stage: Stage) -> None:
    stage.peer.close()
    stage.settle()
    for _ in range(2):
        stage.protocol.story.append("called")
        stage.transport.write(b"anybody there?")
        stage.settle()


@_script("pause", "called", "resume", "peer open, 16777216")
def a_full_buffer_pauses_the_producer(stage: Stage) -> None:
    stage.transport.registerProducer(Source(stage), True)
    stage.peer.stop_reading()
    for _ in range(MORE_THAN_KERNELS_HOLD // BUFFER):
        stage.transport.write(bytes(BUFFER))
    stage.settle()
    stage.protocol.story.append("called")
    stage.peer.start_reading()
    stage.settle()


@_script("called", "pause", "peer open, 0")
def a_buffer_is_full_above_64_kib(stage: Stage) -> None:
    stage.transport.registerProducer(Source(stage), True)
    stage.transport.write(bytes(BUFFER))
    stage.protocol.story.append("called")
    stage.transport.write(b"x")


@_script("lost ConnectionDone", "peer fin, 5000")
def a_pull_producer_is_asked_until_it_is_done(stage: Stage) -> None:
    stage.transport.registerProducer(PullSource(stage, 5), False)
    stage.transport.loseConnection()
    stage.settle()


@_script("lost ConnectionAborted", "stop", "peer reset, 0")
def registering_on_a_lost_transport_stops_the_producer(stage: Stage) -> None:
    transport = stage.transport
    transport.abortConnection()
    stage.settle()
    transport.registerProducer(Source(stage), True)


@_script("data 3", "peer open, 0")
def paused_means_unread(stage: Stage) -> None:
    stage.peer.send(b"one")
    stage.settle()
    stage.transport.pauseProducing()
    stage.peer.send(b"two")
    stage.settle()


@_script("data 16777216", "read closed", "peer open, 0")
def a_stream_arrives_whole(stage: Stage) -> None:
    stage.transport.pauseProducing()
    stage.peer.send(bytes(MORE_THAN_KERNELS_HOLD))
    stage.peer.finish()
    stage.settle()
    assert stage.peer.unsent
    stage.transport.resumeProducing()
    stage.settle()


@_script("read closed", "write closed", "read closed", "lost ConnectionDone", "peer fin, 0")
def nothing_is_called_again_after_both_have_finished(stage: Stage) -> None:
    stage.transport.loseWriteConnection()
    stage.peer.finish()
    stage.settle()
    stage.transport.resumeProducing()
    stage.settle()
    stage.transport.loseConnection()
    stage.settle()


def reset_mistaken_for_the_end(consumer: Stage, producer: Stage) -> None:
    """A fault of Twisted's: a reset seen just when reading goes on is reported as the end of the stream.

    The producer is paused and waits to write, so the poll asks for room only and answers with room and a
    hang-up. Served first in the same turn, the consumer has its buffer emptied and lets the producer go on;
    then ``_PollLikeMixin._doReadOrWrite`` finds a hang-up without input at a transport that reads, and takes
    it for a clean end. What had come in before is lost as well.
    """
    producer.peer.stop_reading()
    producer.transport.write(bytes(MORE_THAN_KERNELS_HOLD))
    producer.settle()
    consumer.transport.registerProducer(producer.transport, True)
    consumer.transport.write(bytes(BUFFER + 1))
    producer.peer.send(b"never read")
    producer.peer.reset()
    producer.await_reset()
    consumer.turn()
