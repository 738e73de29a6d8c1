"""Checks of passwords, which take long by design: in threads, few at once, and their answers are remembered.

1. One check serves all that bring the same name and password meanwhile, as the connections of a browser do.
2. Few run at once; a bounded number waits, and of each client fewer, so that a client that guesses does
   not keep others out.
3. An answer is remembered for a while by a keyed hash of name and password. Right ones are as many as there
   are users; of wrong ones, a bounded number is remembered, and for less time.
4. Answers of an earlier reading of the file are forgotten, and those that come late are not remembered.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from os import urandom

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpbalance.admission.clients import group
from tcpbalance.admission.users_file import Users, UsersFile
from tcpbalance.threads import InThread

CHECKS_AT_ONCE = 2
"""Checks that run at once: each takes a processor for its time."""

MAX_WAITING_CHECKS = 64
"""Checks that wait for their turn, some seconds' work."""

MAX_CHECKS_OF_CLIENT = 4
"""Of one client's, with those that run."""

RIGHT_FOR = 300.0
"""Seconds for which a right password is remembered."""

WRONG_FOR = 10.0
"""Seconds for which a wrong one is: programs send theirs again and again."""

MAX_WRONG = 1000
"""Wrong ones that are remembered."""


class TooManyChecks(Exception):
    """More passwords wait to be checked than may."""


@define(eq=False)
class _Check:
    """One check, and those that wait for it.

    :ivar key: what the answer is remembered by.
    :ivar users: by which it is decided.
    """

    key: bytes
    users: Users
    name: bytes
    password: bytes = field(repr=False)
    client: bytes | None
    waiting: dict[Deferred[bool], None] = field(factory=dict)


class PasswordChecks:
    """Says whether names and passwords are those of a file.

    :param file: the users, which may become others at any time.
    :param in_thread: calls what works for long.
    :param clock: seconds on a monotonic clock.
    """

    _log = Logger()

    def __init__(self, file: UsersFile, in_thread: InThread, clock: Callable[[], float]) -> None:
        self._file = file
        self._in_thread = in_thread
        self._clock = clock
        self._users = file.users
        self._key = urandom(32)
        self._right: OrderedDict[bytes, float] = OrderedDict()
        self._wrong: OrderedDict[bytes, float] = OrderedDict()
        self._checks: dict[bytes, _Check] = {}
        self._queue: deque[_Check] = deque()
        self._running = 0
        self._of_client: Counter[bytes | None] = Counter()

    def check(self, name: bytes, password: bytes, client: bytes | None) -> bool | Deferred[bool]:
        """Find out whether a name and a password belong together.

        :param client: the packed address of the client that brings them; None where it has none.
        :returns: the answer where it is remembered; else it fires with that, and may be cancelled.
        :raises TooManyChecks: see above.
        """
        self._follow_file()
        key = blake2b(b"%d:%b%b" % (len(name), name, password), key=self._key, digest_size=32).digest()
        now = self._clock()
        if self._right.get(key, now) > now:
            return True
        if self._wrong.get(key, now) > now:
            return False
        check = self._checks.get(key)
        if check is None:
            check = self._queued(key, name, password, None if client is None else group(client))
        answer: Deferred[bool] = Deferred(check.waiting.pop)
        check.waiting[answer] = None
        self._go_on()
        return answer

    def has_user(self, name: bytes) -> bool:
        """Whether there is a user of a name."""
        return name in self._file.users

    def _follow_file(self) -> None:
        """Forget what was found out by another reading of the file."""
        if self._users is not self._file.users:
            self._users = self._file.users
            self._right.clear()
            self._wrong.clear()
            self._checks.clear()

    def _queued(self, key: bytes, name: bytes, password: bytes, client: bytes | None) -> _Check:
        if self._of_client[client] >= MAX_CHECKS_OF_CLIENT or len(self._queue) >= MAX_WAITING_CHECKS:
            raise TooManyChecks
        check = self._checks[key] = _Check(key, self._users, name, password, client)
        self._of_client[client] += 1
        self._queue.append(check)
        return check

    def _go_on(self) -> None:
        while self._queue and self._running < CHECKS_AT_ONCE:
            check = self._queue.popleft()
            if check.waiting:
                self._running += 1
                work = partial(check.users.has, check.name, check.password)
                self._in_thread(work).addBoth(self._ended, check)
            else:
                # Those that have asked are gone.
                self._forget(check)

    def _forget(self, check: _Check) -> None:
        if self._checks.get(check.key) is check:
            del self._checks[check.key]
        self._of_client[check.client] -= 1
        if not self._of_client[check.client]:
            del self._of_client[check.client]

    def _ended(self, outcome: bool | Failure, check: _Check) -> None:
        self._running -= 1
        self._forget(check)
        if isinstance(outcome, Failure):
            # Nothing of the password is in it: bcrypt's messages are about its form.
            self._log.failure("a password could not be checked", outcome)
        is_right = outcome is True
        if check.users is self._users and not isinstance(outcome, Failure):
            self._remember(check.key, is_right)
        self._go_on()
        while check.waiting:
            check.waiting.popitem()[0].callback(is_right)

    def _remember(self, key: bytes, is_right: bool) -> None:
        answers, until = self._wrong, self._clock() + WRONG_FOR
        if is_right:
            answers, until = self._right, self._clock() + RIGHT_FOR
        answers[key] = until
        answers.move_to_end(key)
        if answers is self._wrong and len(answers) > MAX_WRONG:
            answers.popitem(last=False)
