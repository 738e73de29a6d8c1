"""Connections for each client, which are counted on when a worker is replaced.

A worker that drains has sessions of clients that belong to its successor from then on. It reports their
number when it has accepted the last one, and each that ends after that. So the limit on connections of a
client holds for both together.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Any

from twisted.internet.interfaces import IReactorTime

from tcpbalance.admission.control import AdmissionControl
from tcpbalance.workers.messages import Message
from tcpbalance.workers.open_clients import OpenClients, in_messages
from tcpbalance.workers.shared_state import ToWorker


class ClientCounts:
    """See ``SharedState``: what processes of one place report goes to those that came after them."""

    words: Collection[str] = ("clients",)

    def __init__(self) -> None:
        # By place, the processes in the order in which they came, each with what it has reported.
        self._reported: dict[int, dict[ToWorker, OpenClients]] = {}

    def greet(self, worker: ToWorker) -> None:
        """Send a process what those before it have reported."""
        of_place = self._reported.setdefault(worker.place, {})
        for reported in of_place.values():
            for frontend, counts in reported.all():
                for content in in_messages(frontend, counts):
                    worker.send(content)
        of_place[worker] = OpenClients()

    def note(self, worker: ToWorker, message: Message) -> None:
        """Take a report: connections that the process has, or that have ended."""
        of_place = self._reported.get(worker.place, {})
        content = message.content["clients"]
        made = of_place[worker].change(content["frontend"], content["changes"])
        self._send_later_ones(worker, content["frontend"], made)

    def has_ended(self, worker: ToWorker) -> None:
        """Take off what has not been reported as ended."""
        of_place = self._reported.get(worker.place, {})
        if worker not in of_place:
            return
        for frontend, counts in of_place[worker].all():
            self._send_later_ones(worker, frontend, counts, -1)
        del of_place[worker]

    def _send_later_ones(
        self, worker: ToWorker, frontend: str, changes: Mapping[str, int], sign: int = 1
    ) -> None:
        processes = list(self._reported[worker.place])
        for content in in_messages(frontend, changes, sign):
            for later in processes[processes.index(worker) + 1 :]:
                later.send(content)


class ClientsOfPlace:
    """See ``WorkerSharedState``: counts connections that older processes of the place have, and reports
    its own once another one comes after it.

    :param controls: gives what admits the clients, by frontend; of those that have limits.
    :param say: sends the supervisor a message.
    :param clock: for what is reported a little later.
    """

    words: Collection[str] = ("clients",)

    def __init__(
        self,
        controls: Callable[[], Mapping[str, AdmissionControl]],
        say: Callable[[dict[str, Any]], object],
        clock: IReactorTime,
    ) -> None:
        self._controls = controls
        self._say = say
        self._clock = clock
        self._elsewhere = OpenClients()
        self._counted_by: dict[str, AdmissionControl] = {}
        self._changes: dict[tuple[str, bytes], int] = {}

    def note(self, message: Message) -> None:
        """Count connections that older processes have, or have no more."""
        content = message.content["clients"]
        frontend = content["frontend"]
        control = self._controls().get(frontend)
        if control is not self._counted_by.get(frontend):
            # After a reload it counts anew.
            self._elsewhere.forget(frontend)
        if control is None:
            self._counted_by.pop(frontend, None)
            return
        self._counted_by[frontend] = control
        for client, change in self._elsewhere.change(frontend, content["changes"]).items():
            control.count_elsewhere(bytes.fromhex(client), change)

    def report(self) -> None:
        """Report the connections that this process has, and from now on each that ends."""
        for frontend, control in self._controls().items():
            is_counted = control is self._counted_by.get(frontend)
            for content in in_messages(frontend, dict(self._own(frontend, control, is_counted))):
                self._say(content)
            control.watch(partial(self._on_change, frontend))

    def _own(self, frontend: str, control: AdmissionControl, is_counted: bool) -> Iterator[tuple[str, int]]:
        for key, count in control.clients.open_counts():
            client = key.hex()
            own = count - self._elsewhere.count(frontend, client) if is_counted else count
            if own:
                yield client, own

    def _on_change(self, frontend: str, key: bytes, change: int) -> None:
        if not self._changes:
            self._clock.callLater(0, self._report_changes)
        self._changes[frontend, key] = self._changes.get((frontend, key), 0) + change

    def _report_changes(self) -> None:
        """Report what has changed in this turn of the reactor."""
        changes, self._changes = self._changes, {}
        by_frontend: dict[str, dict[str, int]] = {}
        for (frontend, key), change in changes.items():
            by_frontend.setdefault(frontend, {})[key.hex()] = change
        for frontend, of_clients in by_frontend.items():
            for content in in_messages(frontend, of_clients):
                self._say(content)
