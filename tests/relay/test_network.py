"""The memory network does what real transports and kernels do; tests/loopback holds real ones to the same."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.interfaces import IHalfCloseableDescriptor, ISSLTransport, ITCPTransport
from twisted.python.failure import Failure

from support.memory_stage import MemoryStage, OneProtocol
from support.network import Network, no_logged_failure
from support.transport_scripts import (
    SCRIPTS,
    HalfCloseRecorder,
    Recorder,
    Script,
    Source,
    outcome,
    reset_mistaken_for_the_end,
)
from tcpbalance.config.addresses import Address
from tcpbalance.net.connect_errors import ConnectFailed


class Dialler:
    """Writes down how a dial ended."""

    def __init__(self, protocol: Any = None) -> None:
        self.outcome = ""
        self._protocol = protocol

    def buildProtocol(self, addr: Any) -> Any:
        self.outcome = f"connected to {addr.host}:{addr.port}"
        return self._protocol

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        reason.trap(ConnectFailed)
        self.outcome = reason.value.cause


def dial(network: Network, factory: Any, address: str = "10.0.0.1:80", timeout: float = 3.0) -> Any:
    return network.connector.connect(Address.parse(address), factory, timeout)


@pytest.mark.parametrize(
    ("script", "protocol", "story"), [pytest.param(*row, id=row[0].__name__) for row in SCRIPTS]
)
def test_transport_behaves_as_the_stock_one(
    script: Script, protocol: type[Recorder], story: list[str]
) -> None:
    stage = MemoryStage(protocol)
    with no_logged_failure():
        script(stage)
    assert outcome(stage) == story


def test_a_reset_can_be_mistaken_for_the_end() -> None:
    consumer = MemoryStage(HalfCloseRecorder)
    producer = MemoryStage(HalfCloseRecorder, network=consumer.network)
    reset_mistaken_for_the_end(consumer, producer)
    assert producer.protocol.story == ["read closed"]


def test_transport_says_what_it_can_do() -> None:
    transport = MemoryStage(Recorder).transport
    able = [i.providedBy(transport) for i in (ITCPTransport, IHalfCloseableDescriptor, ISSLTransport)]
    assert able == [True, True, False]
    transport.setTcpNoDelay(True)
    assert transport.getTcpNoDelay()
    assert transport.getPeer().host == "198.51.100.7"
    assert transport.getHost().port == 80


def test_a_peer_that_does_not_read_fills_the_pipe() -> None:
    network = Network(send_buffer=1000, receive_buffer=2000)
    protocol = Recorder([])
    client = network.connect_client(OneProtocol(protocol))
    client.stop_reading()
    protocol.transport.write(bytes(5000))
    network.run()
    (transport,) = network.transports
    assert transport.kept == 5000, (
        "the stock transport gives a partly sent buffer back only when all of it is sent"
    )
    assert client.read(500) == 500
    assert client.read(9999) == 2000 - 500 + 500
    network.run()
    client.start_reading()
    network.run()
    assert client.received == bytes(5000)
    assert (transport.kept, transport.peak) == (0, 5000)


def test_a_paused_transport_holds_the_peer_up() -> None:
    network = Network(send_buffer=1000, receive_buffer=2000)
    protocol = Recorder([])
    client = network.connect_client(OneProtocol(protocol))
    protocol.transport.pauseProducing()
    client.send(bytes(5000))
    network.run()
    assert client.unsent == 2000
    protocol.transport.resumeProducing()
    network.run()
    assert (client.unsent, protocol.story) == (0, ["data 5000"])


def test_bytes_sent_before_the_accept_are_read_after_it() -> None:
    network = Network()
    protocol = Recorder([])
    network.connect_client(OneProtocol(protocol), early=b"early")
    assert protocol.story == []
    network.run()
    assert protocol.story == ["data 5"]


def test_a_refused_client_sees_a_reset() -> None:
    network = Network()
    client = network.connect_client(OneProtocol(None))
    assert client.saw == "reset"
    assert network.leftovers() == []


def test_a_protocol_that_raises_is_found_out() -> None:
    class Broken(Recorder):
        def dataReceived(self, data: bytes) -> None:
            raise RuntimeError("broken")

    network = Network()
    client = network.connect_client(OneProtocol(Broken([])))
    client.send(b"x")
    with pytest.raises(AssertionError, match="RuntimeError: broken"), no_logged_failure():
        network.run()
    assert client.saw == "reset"


def test_something_called_again_and_again_is_found_out() -> None:
    network = Network()

    def again() -> None:
        network.clock.callLater(0, again)

    again()
    with pytest.raises(AssertionError, match="not quiet"):
        network.run(limit=50)


def test_time_stops_at_each_delayed_call() -> None:
    network = Network()
    seen: list[float] = []
    network.clock.callLater(
        1, lambda: network.clock.callLater(1, lambda: seen.append(network.clock.seconds()))
    )
    network.advance(5)
    assert seen == [2]
    assert network.clock.seconds() == 5


def test_what_is_left_is_told() -> None:
    network = Network()
    network.backend("10.0.0.1:80", "hangs")
    network.connect_client(OneProtocol(Recorder([])))
    dial(network, Dialler())
    network.run()
    kinds = {line.split(":")[0] for line in network.leftovers()}
    assert kinds == {"open", "read", "dialled", "delayed"}


# Dialling


def test_a_backend_that_accepts() -> None:
    network = Network()
    backend = network.backend("10.0.0.1:80")
    protocol = Recorder([])
    dialler = Dialler(protocol)
    dial(network, dialler)
    assert dialler.outcome == "", "nothing is told within the call"
    network.run()
    assert dialler.outcome == "connected to 10.0.0.1:80"
    backend.connection.send(b"hello")
    protocol.transport.write(b"hi")
    network.run()
    assert (protocol.story, backend.connection.received) == (["data 5"], b"hi")
    assert network.clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("behaviour", "cause"), [("refuses", "refused"), ("lacks_descriptor", "too many open files")]
)
def test_a_dial_that_fails(behaviour: Any, cause: str) -> None:
    network = Network()
    network.backend("10.0.0.1:80", behaviour)
    dialler = Dialler()
    dial(network, dialler)
    assert dialler.outcome == ""
    network.run()
    assert dialler.outcome == cause
    assert network.leftovers() == []


def test_nobody_listens() -> None:
    network = Network()
    dialler = Dialler()
    dial(network, dialler, "10.0.0.9:80")
    network.run()
    assert dialler.outcome == "refused"


def test_a_backend_that_hangs() -> None:
    network = Network()
    backend = network.backend("10.0.0.1:80", "hangs")
    dialler = Dialler()
    dial(network, dialler, timeout=3)
    network.advance(2.9)
    assert dialler.outcome == ""
    network.advance(0.2)
    assert dialler.outcome == "timed out after 3 s"
    assert (backend.dials, backend.connections, network.leftovers()) == (1, [], [])


def test_a_backend_that_accepts_late() -> None:
    network = Network()
    backend = network.backend("10.0.0.1:80", "hangs")
    dialler = Dialler(Recorder([]))
    dial(network, dialler)
    network.run()
    backend.behaviour = "accepts"
    network.run()
    assert dialler.outcome == "connected to 10.0.0.1:80"


def test_a_cancelled_dial_is_silent() -> None:
    network = Network()
    network.backend("10.0.0.1:80")
    dialler = Dialler()
    dial(network, dialler).cancel()
    network.advance(10)
    assert (dialler.outcome, network.leftovers()) == ("", [])


def test_a_backend_that_resets_at_once() -> None:
    network = Network()
    network.backend("10.0.0.1:80", "resets_at_once")
    protocol = Recorder([])
    dial(network, Dialler(protocol))
    network.run()
    assert protocol.story == ["lost ConnectionLost"]


def test_a_dial_that_nobody_wants_is_closed() -> None:
    network = Network()
    backend = network.backend("10.0.0.1:80")
    dial(network, Dialler(None))
    network.run()
    assert backend.connection.saw == "fin"
    assert network.leftovers() == []


# TLS


def test_tls_says_what_it_can_do() -> None:
    """It shows the half-close of the transport beneath it and has none: the trap that a relay must know."""
    transport = MemoryStage(HalfCloseRecorder, tls=True).transport
    assert ISSLTransport.providedBy(transport)
    assert IHalfCloseableDescriptor.providedBy(transport)


def test_tls_carries_bytes_and_ends_with_a_close_notify() -> None:
    stage = MemoryStage(HalfCloseRecorder, tls=True)
    stage.peer.send(b"hello")
    stage.transport.write(b"answer")
    stage.settle()
    stage.peer.finish()
    stage.settle()
    assert stage.protocol.story == ["data 5", "lost ConnectionDone"]
    assert (stage.peer.received, stage.peer.saw) == (b"answer", "fin")


def test_tls_closed_from_here_waits_for_the_close_notify() -> None:
    stage = MemoryStage(HalfCloseRecorder, tls=True)
    stage.peer.answers = False
    stage.transport.write(b"last")
    stage.transport.loseConnection()
    stage.settle()
    assert (stage.peer.received, stage.peer.saw, stage.protocol.story) == (b"last", "fin", [])
    stage.peer.finish()
    stage.settle()
    assert stage.protocol.story == ["lost ConnectionDone"]


def test_tls_never_closes_while_a_producer_is_registered() -> None:
    stage = MemoryStage(HalfCloseRecorder, tls=True)
    stage.settle()
    stage.transport.registerProducer(Source(stage), True)
    stage.transport.loseConnection()
    stage.settle()
    assert (stage.protocol.story, stage.peer.saw) == ([], "open")
    stage.transport.unregisterProducer()
    stage.settle()
    assert (stage.protocol.story, stage.peer.saw) == (["lost ConnectionDone"], "fin")


def test_tls_without_close_notify_is_a_loss() -> None:
    stage = MemoryStage(HalfCloseRecorder, tls=True)
    stage.peer.send(b"hello")
    stage.peer.close_without_close_notify()
    stage.settle()
    assert stage.protocol.story == ["data 5", "lost ConnectionLost"]


def test_tls_half_closed_beneath_truncates() -> None:
    stage = MemoryStage(HalfCloseRecorder, tls=True)
    stage.transport.write(b"last")
    stage.transport.loseWriteConnection()
    stage.settle()
    assert stage.peer.saw == "truncated"


def test_tls_abort_is_a_reset_without_close_notify() -> None:
    stage = MemoryStage(HalfCloseRecorder, tls=True)
    stage.transport.abortConnection()
    stage.settle()
    assert (stage.peer.saw, stage.peer.complete) == ("reset", False)
    assert stage.protocol.story == ["lost ConnectionLost"]
