"""Which clients may have tunnels: by network, and by name and password."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen
from twisted.internet.defer import Deferred

from tcpbalance.admission.password_checks import PasswordChecks, TooManyChecks
from tcpbalance.http.connect.refusals import ConnectRefusal, ConnectRefused
from tcpbalance.http.connect.settings import ConnectSettings
from tcpbalance.threads import InThread
from tcpbalance.wire.http.authorization import BasicCredentials, read_basic
from tcpbalance.wire.http.head import RequestHead


@frozen(eq=False)
class Permission:
    """What was found out of a client that may have tunnels, if its password is right.

    :param user: the name, where there is such a user; None where none is needed, or known.
    :param is_right: whether the password is right; fires with that where it has to be found out, and may be
        cancelled.
    """

    user: bytes | None = None
    is_right: bool | Deferred[bool] = True


class ConnectAccess:
    """Lets clients have tunnels, or refuses them.

    :param settings: of the frontend.
    :param in_thread: calls what works for long.
    :param clock: seconds on a monotonic clock.
    :ivar settings: the same.
    """

    def __init__(self, settings: ConnectSettings, in_thread: InThread, clock: Callable[[], float]) -> None:
        self.settings = settings
        users = settings.users
        self._passwords = None if users is None else PasswordChecks(users, in_thread, clock)

    def refusal(self, head: RequestHead, client: bytes | None) -> ConnectRefusal | None:
        """Find out why a client may not have tunnels, whatever its password; None where it may.

        :param head: see ``ask``.
        :param client: see ``ask``.
        """
        clients = self.settings.clients
        if clients is not None and client not in clients:
            return ConnectRefusal.CLIENT
        if self._passwords is not None and _given(head) is None:
            return ConnectRefusal.NO_CREDENTIALS
        return None

    def ask(self, head: RequestHead, client: bytes | None) -> Permission:
        """Find out whether a client may have tunnels.

        :param head: of its request.
        :param client: its packed address; None where it has none, as at a unix socket.
        :raises ConnectRefused: it may not, whatever it has for a password.
        """
        refusal = self.refusal(head, client)
        if refusal is not None:
            raise ConnectRefused(refusal)
        passwords = self._passwords
        if passwords is None:
            return Permission()
        given = _given(head)
        assert given is not None
        # A name that is none of them may be a password in the wrong place, which no log is to have.
        user = given.name if passwords.has_user(given.name) else None
        try:
            return Permission(user, passwords.check(given.name, given.password, client))
        except TooManyChecks:
            raise ConnectRefused(ConnectRefusal.TOO_MANY_CHECKS) from None


def _given(head: RequestHead) -> BasicCredentials | None:
    """Give the name and password of a client; None where it has sent none."""
    return read_basic(head.special.get(b"proxy-authorization"))
