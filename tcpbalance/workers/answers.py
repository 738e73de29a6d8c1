"""What a worker answers when the supervisor asks."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from typing import Any

from twisted.logger import Logger

from tcpbalance.balancer import Balancer
from tcpbalance.control.in_pieces import at_once, in_pieces
from tcpbalance.control.report import Report, report_of
from tcpbalance.workers.messages import Message
from tcpbalance.workers.questions import REPORT, write_answer

SayWith = Callable[[Mapping[str, Any], Iterable[int]], object]
"""Sends the supervisor a message, with descriptors."""


class WorkerAnswers:
    """See ``WorkerSharedState``.

    :param reactor: IReactorTime.
    :param balancer: that is asked about.
    :param say: see above.
    """

    words: Collection[str] = ("question",)

    _log = Logger()

    def __init__(self, reactor: Any, balancer: Balancer, say: SayWith) -> None:
        self._reactor = reactor
        self._balancer = balancer
        self._say = say

    def note(self, message: Message) -> None:
        """See ``WorkerSharedState``."""
        match message.content:
            case {"question": int(number), "about": str(about)}:
                answer = in_pieces(self._reactor, _ANSWERS[about](self._balancer))
                answer.addCallback(lambda content: self._send({"answer": number, "about": about}, content))
                answer.addErrback(lambda failure: self._log.failure("a question has no answer", failure))

    def send_last_report(self) -> None:
        """Report once more, at the end."""
        self._send({"last_report": True}, at_once(_report(self._balancer)))

    def _send(self, content: Mapping[str, Any], answer: object) -> None:
        descriptor = write_answer(answer)
        try:
            self._say(content, [descriptor])
        finally:
            os.close(descriptor)


def _report(balancer: Balancer) -> Generator[None, None, Report]:
    return report_of(balancer.factories, balancer.pools)


_ANSWERS: dict[str, Callable[[Balancer], Generator[None, None, Any]]] = {REPORT: _report}
"""What is done for a question, by what it is about."""
