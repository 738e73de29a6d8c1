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
        groups: tuple[int, ...] = ()
        try:
            if config.user is not None:
                entry = pwd.getpwnam(config.user)
                uid, gid = entry.pw_uid, entry.pw_gid
                groups = tuple(os.getgrouplist(config.user, gid))
            if config.group is not None:
                gid = grp.getgrnam(config.group).gr_gid
        except KeyError as error:
            raise IdentityError(f"user, group: {error.args[0]}") from error
        groups = tuple(sorted({gid, *groups}))
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
