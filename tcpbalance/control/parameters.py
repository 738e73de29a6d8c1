"""The parameters of a request's query."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TypeVar

from tcpbalance.admission.networks import NetworkSet
from tcpbalance.config.addresses import Network
from tcpbalance.config.messages import unknown_key, value_text
from tcpbalance.config.quantities import Duration, Size
from tcpbalance.control.api_request import ApiError
from tcpbalance.errors import SettingError

DEFAULT_LIMIT = 100

MAX_LIMIT = 1000
"""Entries of one answer."""

T = TypeVar("T")


def check_parameters(query: Mapping[str, str], known: Collection[str]) -> None:
    """Refuse parameters that are not known.

    :raises ApiError: there is one.
    """
    for name in query:
        if name not in known:
            raise ApiError(400, "unknown_parameter", f"{name[:60]}: {unknown_key(name, known)}")


def read_parameter(query: Mapping[str, str], name: str, read: Callable[[str], T], otherwise: T) -> T:
    """Read one parameter.

    :param read: raises SettingError where the value makes no sense.
    :param otherwise: the value where there is none.
    :raises ApiError: it makes no sense.
    """
    try:
        return read(query[name]) if name in query else otherwise
    except SettingError as error:
        raise ApiError(400, "bad_parameter", f"{name} {error}") from error


def read_limit(text: str, max_limit: int = MAX_LIMIT) -> int:
    """Read how many entries a page may have.

    :raises SettingError: it is no number from 1 to *max_limit*.
    """
    limit = int(text) if text.isdecimal() and len(text) < 10 else 0
    if not 0 < limit <= max_limit:
        raise SettingError(f"must be a whole number from 1 to {max_limit}, got {value_text(text)}")
    return limit


def read_truth(text: str) -> bool:
    """Read whether something is so.

    :raises SettingError: it is neither ``true`` nor ``false``.
    """
    if text not in ("true", "false"):
        raise SettingError(f"must be true or false, got {value_text(text)}")
    return text == "true"


def _number(text: str) -> str | float | int:
    """Give a bare number as one: a query has only text."""
    if text.isdecimal() and len(text) < 20:
        return int(text)
    try:
        return float(text)
    except ValueError:
        return text


def read_duration(text: str) -> float:
    """Read a duration, or a number of seconds.

    :raises SettingError: it is none.
    """
    return Duration.parse(_number(text))


def read_size(text: str) -> int:
    """Read a size, or a number of bytes.

    :raises SettingError: it is none.
    """
    return Size.parse(_number(text))


def read_networks(text: str) -> NetworkSet:
    """Read a network, or an address.

    :raises SettingError: it is none.
    """
    return NetworkSet([Network.parse(text).network])
