"""While the supervisor lacks descriptors, a worker that ends waits; it is replaced when there are some."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from twisted.internet import reactor as global_reactor

from support.descriptors import no_descriptor_free
from support.sockets import until
from support.supervised import SupervisedCase
from tcpbalance.workers.shared_counts import can_count

reactor: Any = global_reactor


@pytest.mark.skipif(not can_count(), reason="needs Linux on x86_64")
class OutOfDescriptorsTests(SupervisedCase):
    """Two workers, and a supervisor without a descriptor."""

    async def test_the_place_of_a_worker_has_another_one_when_there_are_descriptors_again(self) -> None:
        supervisor = await self.supervised(self.config())
        with no_descriptor_free():
            killed = self.send_signal(supervisor, 1, signal.SIGKILL)
            await until(reactor, lambda: any("cannot be started" in line for line in self.lines))
            assert self.pids(supervisor)[1] == 0
        await until(reactor, lambda: self.pids(supervisor)[1] not in {0, killed})
        client = self.connected(supervisor, self.sources()[1])
        assert await self.answer(client) == "a"
        (line,) = (line for line in self.lines if "cannot be started" in line)
        assert line.startswith(
            "worker 1 cannot be started: too many open files: raise the limit of open files"
        )
        assert not [line for line in self.lines if "Traceback" in line]

    async def test_workers_are_not_replaced_then_and_go_on(self) -> None:
        supervisor = await self.supervised(self.config())
        before = self.pids(supervisor)
        with no_descriptor_free():
            assert supervisor._nurseries.present is not None
            failure = supervisor._places[0].replace(supervisor._nurseries.present)
            failed: list[Any] = []
            failure.addErrback(failed.append)
            assert "too many open files" in str(failed[0].value)
        assert self.pids(supervisor) == before
