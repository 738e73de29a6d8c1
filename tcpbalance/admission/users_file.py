"""Files of users and the hashes of their passwords, as ``htpasswd -B`` of Apache writes them.

Each line has a name, a colon and a hash by bcrypt; empty lines and those that begin with ``#`` say nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from tcpbalance.config.connect import ConnectConfig
from tcpbalance.config.errors import KeyPath, Mistake
from tcpbalance.errors import Fault, TcpbalanceError

MAX_USERS_FILE = 2**20
"""Bytes of a file: more than ten thousand users need."""

MAX_COST = 14
"""Of bcrypt, in powers of two: a check takes one to three seconds of a processor then."""

MAX_PASSWORD = 72
"""Bytes: bcrypt does not look at more."""

_HASH = re.compile(rb"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}")


class UsersFileError(TcpbalanceError):
    """A file of users cannot be used."""

    fault = Fault.CONFIGURATION


class Users:
    """The users of one reading of a file. It is not changed.

    :param hashes: of their passwords, by name; at least one.
    """

    __slots__ = ("_hashes", "_other")

    def __init__(self, hashes: Mapping[bytes, bytes]) -> None:
        self._hashes = hashes
        self._other = next(iter(hashes.values()))

    def __contains__(self, name: bytes) -> bool:
        """Whether there is such a user."""
        return name in self._hashes

    def has(self, name: bytes, password: bytes) -> bool:
        """Whether that is the password of a user; it takes as long for a name that there is not.

        It works for a large part of a second, in which it does not hold the interpreter's lock.
        """
        import bcrypt  # noqa: PLC0415 - of the extra `passwords`

        is_right = bcrypt.checkpw(password[:MAX_PASSWORD], self._hashes.get(name, self._other))
        return is_right and name in self._hashes and len(password) <= MAX_PASSWORD


def read_users(path: str) -> Users:
    """Read a file of users.

    :raises UsersFileError: it cannot be read, is too large or has no user, a line is none, or bcrypt is not
        installed.
    """
    try:
        import bcrypt  # noqa: F401, PLC0415 - of the extra `passwords`
    except ImportError:
        raise UsersFileError(
            f"{path}: passwords need bcrypt, which is not installed: pip install 'tcpbalance[passwords]'"
        ) from None
    hashes: dict[bytes, bytes] = {}
    for number, line in enumerate(_content(path).splitlines(), start=1):
        if not line.strip() or line.startswith(b"#"):
            continue
        name, _, code = line.rstrip().partition(b":")
        if wrong := _wrong_with(name, code, hashes):
            # The line itself may hold a password, and is not shown.
            raise UsersFileError(f"{path}:{number}: {wrong}")
        hashes[name] = code
    if not hashes:
        raise UsersFileError(f"{path} has no user, add one: htpasswd -B {path} NAME")
    return Users(hashes)


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_USERS_FILE + 1)
    except OSError as error:
        raise UsersFileError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    if len(content) > MAX_USERS_FILE:
        raise UsersFileError(f"{path} is larger than {MAX_USERS_FILE >> 20} MiB")
    return content


def _wrong_with(name: bytes, code: bytes, hashes: Mapping[bytes, bytes]) -> str:
    """Say what is wrong with a line, nothing where it is a user."""
    found = _HASH.fullmatch(code)
    if not name or found is None:
        return "must be a name, a colon and a hash by bcrypt, as htpasswd -B writes it"
    if not 4 <= int(found[1]) <= MAX_COST:
        return f"the cost of a hash must be 4 to {MAX_COST}, got {int(found[1])}"
    return "the user stands above already" if name in hashes else ""


class UsersFile:
    """Keeps the users of a file up to date; see ``reload.Part``.

    :param path: of the file.
    :ivar users: those of the last reading.
    :raises UsersFileError: the file cannot be used.
    """

    warnings: tuple[str, ...] = ()

    def __init__(self, path: str) -> None:
        self.files = (path,)
        self.users = read_users(path)

    def is_outdated(self) -> bool:
        """Never: there is no time in it."""
        return False

    def prepare(self) -> Callable[[], None]:
        """Read it again.

        :returns: puts the users of now in the place of those before.
        :raises UsersFileError: it cannot be used; the users stay as they were.
        """
        users = read_users(self.files[0])
        return lambda: setattr(self, "users", users)


def mistakes_in_users_file(path: KeyPath, config: ConnectConfig) -> Iterator[Mistake]:
    """Try the file of users that a table names.

    :param path: where the table stands.
    """
    if config.users_file is None:
        return
    try:
        read_users(config.users_file)
    except UsersFileError as error:
        yield Mistake((*path, "users_file"), str(error))
