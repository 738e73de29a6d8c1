"""Both directions of one session: which may still send, and how each side's end reaches the other.

==========================================  =========================================================
event                                       what follows
==========================================  =========================================================
A finished sending (FIN)                    once A's bytes are out, B's write side is closed;
                                            B may go on sending
both finished and all bytes are out         both are closed, in order
A finished, B cannot be half-closed (TLS)   B gets A's bytes, then both are closed
A sent a reset (RST)                        B gets what A had sent before, and then a reset; what
                                            B has sent to A and is still under way is dropped
A is gone in order, without half-close      A's bytes go out to B, then B is closed
B takes nothing                             A is not read while B's buffer is full (64 KiB)
==========================================  =========================================================

The rules are decided in ``phases`` and ``session``, and carried out here and in ``peer``.
"""

from __future__ import annotations

from tcpbalance.net.wheel import Wheel
from tcpbalance.proxy.peer import Peer


def join(client: Peer, backend: Peer) -> None:
    """Make each side slow the other down when it takes bytes more slowly than they come."""
    client.transport.registerProducer(backend, True)
    backend.transport.registerProducer(client, True)


def carry(client: Peer, backend: Peer, wheel: Wheel) -> None:
    """Let the bytes go from transport to transport, past both protocols, where the two can do that.

    :param wheel: has the time of the last byte.
    """
    pumps = client.transport.relay_with(backend.transport, wheel)
    if pumps is not None:
        client.pump, backend.pump = pumps


def part(client: Peer) -> None:
    """Undo ``join`` for a client whose backend is lost, so that it can be joined to another."""
    if not client.gone:
        client.transport.unregisterProducer()
