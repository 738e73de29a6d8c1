"""Rights that the program has at the start and gives up: it runs as another user from then on."""

from __future__ import annotations

import grp
import os
import pwd

from attrs import frozen

from tcpbalance.config.models import Config
from tcpbalance.errors import Fault, TcpbalanceError


class IdentityError(TcpbalanceError):
    """The program cannot run as a user or group; the text says why and what to do."""

    fault = Fault.CONFIGURATION


@frozen
class Identity:
    """A user and groups.

    :param uid: the user.
    :param gid: its group.
    :param groups: the other groups.
    """

    uid: int
    gid: int
    groups: tuple[int, ...]

    @classmethod
    def of(cls, config: Config) -> Identity | None:
        """Find the one that a configuration names.

        :returns: None where it names none, or what the process is already.
        :raises IdentityError: there is no such user or group, or this process may not become it.
        """
        if config.user is None and config.group is None:
            return None
        uid, gid = os.geteuid(), os.getegid()
        groups: tuple[int, ...] = tuple(os.getgroups())
        if config.user is not None:
            entry = _user(config.user)
            uid, gid = entry.pw_uid, entry.pw_gid
            groups = tuple(os.getgrouplist(config.user, gid))
        if config.group is not None:
            gid = _group(config.group)
            groups = (gid, *(other for other in groups if other != gid)) if config.user else (gid,)
        if (uid, gid) == (os.geteuid(), os.getegid()):
            return None
        if os.geteuid() != 0:
            raise IdentityError(
                "user, group: only root may become another user: start the program as root, or leave the "
                "keys out"
            )
        return cls(uid, gid, groups)

    def become(self) -> None:
        """Give up what this process may, for good; its children have no more rights, either.

        :raises OSError: the system refuses.
        """
        os.setgroups(self.groups)
        os.setresgid(self.gid, self.gid, self.gid)
        os.setresuid(self.uid, self.uid, self.uid)


def _user(name: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        raise IdentityError(
            f"user: there is no user {name} on this machine: make it with useradd --system, or name another"
        ) from None


def _group(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise IdentityError(
            f"group: there is no group {name} on this machine: make it with groupadd --system, or name "
            "another"
        ) from None
