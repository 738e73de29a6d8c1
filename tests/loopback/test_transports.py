"""What a transport knows of the bytes that its peer has not fetched yet."""

from __future__ import annotations

import select
import socket
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.trial.unittest import TestCase

from support.sockets import Recorder, until
from tcpbalance.net.addresses import peer_address
from tcpbalance.net.roads import PortableRoad, begin
from tcpbalance.net.transports import in_flight

reactor: Any = global_reactor

MORE_THAN_KERNELS_HOLD = 16 * 1024 * 1024


class InFlightTests(TestCase):
    """Whatever is not acknowledged counts, in the kernel or before it."""

    async def test_bytes_that_the_kernel_has_no_room_for_count_too(self) -> None:
        ours, theirs = self.pair()
        protocol = Recorder()
        begin(PortableRoad(reactor), ours, protocol, peer_address(ours.family, ours.getpeername()))
        transport: Any = protocol.transport
        assert in_flight(transport) == 0
        transport.write(bytes(MORE_THAN_KERNELS_HOLD))
        await until(reactor, lambda: not self.writable(ours))
        before = in_flight(transport)
        transport.write(bytes(1000))
        assert in_flight(transport) == before + 1000
        theirs.close()
        await until(reactor, lambda: protocol.lost)

    def pair(self) -> tuple[socket.socket, socket.socket]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            theirs = socket.create_connection(listener.getsockname())
            ours, _ = listener.accept()
        ours.setblocking(False)
        return ours, theirs

    def writable(self, sock: socket.socket) -> bool:
        poll = select.poll()
        poll.register(sock, select.POLLOUT)
        return bool(poll.poll(0))
