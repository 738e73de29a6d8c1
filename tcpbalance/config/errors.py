"""What is wrong with a configuration, and where."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from typing import TypeAlias

from attrs import frozen

from tcpbalance.config.messages import quoted
from tcpbalance.errors import Fault, SettingError, TcpbalanceError

KeyPath: TypeAlias = tuple[str | int, ...]
"""The way to a value: keys of tables and indexes of lists, from the root."""

_SHORT_KEY = re.compile(r"[A-Za-z0-9_-]{1,60}")


def key_text(path: KeyPath) -> str:
    """Word a path as the operator would: ``pools.web.backends[1].weight``."""
    return "".join(_step(part) for part in path).removeprefix(".")


def _step(part: str | int) -> str:
    if isinstance(part, int):
        return f"[{part}]"
    return f".{part if _SHORT_KEY.fullmatch(part) else quoted(part)}"


class Severity(enum.Enum):
    """What a mistake in a configuration prevents."""

    FATAL = "fatal"
    """The balancer does not start, and ``tcpbalance check`` exits with 1."""
    ERROR = "error"
    """``tcpbalance check`` exits with 1. The balancer starts, warns, and serves all that it can."""
    WARNING = "warning"
    """The balancer starts and warns; ``tcpbalance check`` prints it and exits with 0."""


@frozen
class Mistake:
    """One mistake, before anyone has looked up its line.

    :param path: the key; empty when it is the file as a whole.
    :param message: what must be, and what was got.
    :param severity: what it prevents.
    """

    path: KeyPath
    message: str
    severity: Severity = Severity.FATAL


@frozen
class Problem:
    """One mistake in a file.

    :param file: the name as the operator gave it.
    :param line: counted from 1.
    :param path: the key; empty when it is the file as a whole.
    :param message: what must be, and what was got.
    :param severity: what it prevents.
    """

    file: str
    line: int
    path: KeyPath
    message: str
    severity: Severity = Severity.FATAL

    def __str__(self) -> str:
        key = f"{key_text(self.path)}: " if self.path else ""
        mark = "warning: " if self.severity is Severity.WARNING else ""
        return f"{self.file}:{self.line}: {mark}{key}{self.message}"


class ConfigError(TcpbalanceError):
    """The configuration cannot be used; the text is one line for each mistake.

    :ivar problems: all mistakes, in the order of their lines; at least one of them is fatal.
    """

    fault = Fault.CONFIGURATION

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line))
        super().__init__("\n".join(map(str, self.problems)))

    @classmethod
    def of(cls, file: str, line: int, message: str) -> ConfigError:
        """Make the error for a file that cannot be read at all."""
        return cls([Problem(file, line, (), message)])


class InvalidValue(SettingError):
    """A value that its key does not take; what the validators of the models raise.

    :ivar key: the key.
    :ivar message: what must be, and what was got.
    """

    def __init__(self, key: str, message: str) -> None:
        super().__init__(f"{key} {message}")
        self.key = key
        self.message = message


class BrokenRules(SettingError):
    """Parts of a configuration that are each valid contradict each other.

    :ivar mistakes: the rules that they break.
    """

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__(
            "; ".join(f"{key_text(mistake.path)}: {mistake.message}" for mistake in self.mistakes)
        )
