"""Access to a unix socket: the mode and the owner of its file."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import socket
import stat
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
from attrs import field, frozen

from tcpbalance.errors import SettingError
from tcpbalance.net.binding import ListenError

MAX_MODE = 0o777

UNCHANGED = -1
"""For ``chown``: the owner that the file has already."""


def _permissions(_: SocketFile, key: attrs.Attribute[int | None], value: Any) -> None:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if value is not None and not (is_number and 0 <= value <= MAX_MODE):
        raise SettingError(
            f"socket file: {key.name} must be permissions from 0 to {MAX_MODE:#o}, such as 0o660, "
            f"got {value!r}"
        )


@frozen
class SocketFile:
    """What the file of a unix socket is given; None leaves what the system gives a new file.

    :param mode: permissions, such as 0o660; to connect is to write: unix(7).
    :param user: the name of its owner.
    :param group: the name of its group.
    :raises SettingError: for another mode.
    """

    mode: int | None = field(default=None, validator=_permissions)
    user: str | None = None
    group: str | None = None

    def give_to(self, sock: socket.socket) -> None:
        """Set them for a socket that is bound and does not listen yet, so that no client could connect
        before.

        :raises ListenError: they may not be set; the socket is closed then, and its file removed.
        """
        path = sock.getsockname()
        try:
            self._set(path)
        except (OSError, KeyError) as error:
            sock.close()
            with contextlib.suppress(OSError):
                os.unlink(path)
            raise ListenError(f"cannot listen on unix:{path}: {self._advice(error)}") from error

    def check(self, path: str) -> None:
        """Look whether the file of an inherited socket has them already; nothing is changed.

        :raises ListenError: it has not.
        """
        try:
            status = os.stat(path)
            uid, gid = self._ids()
        except (OSError, KeyError) as error:
            raise ListenError(f"its file cannot be checked: {self._advice(error)}") from error
        asked = [
            ("listen_mode", self.mode, stat.S_IMODE(status.st_mode), "SocketMode="),
            ("listen_user", uid, status.st_uid, "SocketUser="),
            ("listen_group", gid, status.st_gid, "SocketGroup="),
        ]
        for key, wanted, found, setting in asked:
            if wanted not in (None, UNCHANGED, found):
                raise ListenError(
                    f"its file is not as {key} says: use {setting} in the socket unit, or restart the "
                    "program where it made the file itself"
                )

    def change(self, path: str, before: SocketFile) -> Callable[[], None]:
        """Set what differs on a file that clients may connect to; what is absent, as a new file has it.

        In between, it has no permission that it lacks before or after.

        :param before: what was set on it.
        :returns: gives the file back what it had.
        :raises ListenError: it may not be set; the file is as it was then.
        """
        try:
            status = os.stat(path)
            restore = partial(_hand, path, stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)
            mode, uid, gid = self._of_new(path)
            mode = stat.S_IMODE(status.st_mode) if self.mode == before.mode else mode
            uid = status.st_uid if self.user == before.user else uid
            gid = status.st_gid if self.group == before.group else gid
        except (OSError, KeyError) as error:
            raise ListenError(f"the file of unix:{path} cannot be changed: {self._advice(error)}") from error
        try:
            _hand(path, mode, uid, gid)
        except OSError as error:
            with contextlib.suppress(OSError):
                restore()
            raise ListenError(f"the file of unix:{path} cannot be changed: {self._advice(error)}") from error
        return restore

    def _of_new(self, path: str) -> tuple[int, int, int]:
        """Give the mode and owner of a new file.

        :raises KeyError: there is no such user or group.
        :raises OSError: its folder is gone.
        """
        uid, gid = self._ids()
        folder = os.stat(os.path.dirname(path) or ".")
        own_gid = folder.st_gid if folder.st_mode & stat.S_ISGID else os.getegid()
        return (
            MAX_MODE & ~_umask() if self.mode is None else self.mode,
            os.geteuid() if self.user is None else uid,
            own_gid if self.group is None else gid,
        )

    def _ids(self) -> tuple[int, int]:
        """Give the numbers of user and group, as ``chown`` takes them.

        :raises KeyError: there is none of that name.
        """
        uid = UNCHANGED if self.user is None else pwd.getpwnam(self.user).pw_uid
        gid = UNCHANGED if self.group is None else grp.getgrnam(self.group).gr_gid
        return uid, gid

    def _set(self, path: str) -> None:
        if self.user is not None or self.group is not None:
            os.chown(path, *self._ids(), follow_symlinks=False)
        if self.mode is not None:
            os.chmod(path, self.mode)

    def _advice(self, error: Exception) -> str:
        owners = [("user", self.user), ("group", self.group)]
        owner = " and ".join(f"{kind} {name}" for kind, name in owners if name is not None)
        if isinstance(error, KeyError):
            return f"there is no {owner} on this machine"
        if isinstance(error, PermissionError) and owner:
            return (
                f"its file cannot be given to {owner}: only root may give a file to another user, or to a "
                "group that it does not belong to itself"
            )
        return f"its file cannot be given mode and owner: {error}"


def _umask() -> int:
    # It can only be read by setting it. A file that another thread makes meanwhile is for its owner only.
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


def _hand(path: str, mode: int, uid: int, gid: int) -> None:
    """Change the mode and the owner of a file, without a permission in between that it is not to have."""
    status = os.stat(path)
    os.chmod(path, mode & status.st_mode)
    if (uid, gid) != (status.st_uid, status.st_gid):
        os.chown(path, uid, gid, follow_symlinks=False)
    os.chmod(path, mode)
