"""What a frontend listens on: addresses, and the endpoints of Twisted."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from attrs import frozen
from twisted.internet.interfaces import IStreamServerEndpoint, IStreamServerEndpointStringParser
from twisted.plugin import getPlugins

from tcpbalance.config.addresses import ENDPOINT_KINDS, NOT_AN_ENDPOINT, Address
from tcpbalance.config.messages import value_text
from tcpbalance.errors import SettingError

# A path may have colons; these words behind one are what only Twisted's endpoint has.
_UNIX_OPTION = re.compile(r"unix:.+:(address|backlog|lockfile|mode)=")


@frozen
class EndpointString:
    """The description of an endpoint, such as ``"tcp:8080:interface=127.0.0.1"``.

    :param text: as ``serverFromString`` takes it.
    """

    text: str

    def endpoint(self, reactor: Any) -> IStreamServerEndpoint:
        """Make the endpoint.

        :raises SettingError: Twisted does not take the description.
        """
        # Only a frontend that listens on an endpoint needs all kinds of them.
        from twisted.internet.endpoints import serverFromString

        try:
            endpoint: IStreamServerEndpoint = serverFromString(reactor, self.text)  # type: ignore[no-untyped-call]  # Twisted's
        except Exception as error:
            # Parsers of endpoints raise what they like: KeyError, TypeError, ValueError, OSError.
            raise SettingError(f"listen {self.text}: {error}") from error
        return endpoint

    def __str__(self) -> str:
        return self.text


ListensOn = Address | EndpointString | IStreamServerEndpoint


def listens_on(given: Iterable[ListensOn | str] | ListensOn | str) -> tuple[ListensOn, ...]:
    """Read what a program gives a frontend to listen on: one thing, or several.

    :raises SettingError: for what is neither an address nor an endpoint.
    """
    if isinstance(given, Address | EndpointString | str) or IStreamServerEndpoint.providedBy(given):
        return (_read(given),)
    if not isinstance(given, Iterable):
        raise SettingError(
            f"listen must be an address, an endpoint or a list of these, got {value_text(given)}"
        )
    return tuple(_read(value) for value in given)


def _read(value: object) -> ListensOn:
    if isinstance(value, Address) and value.is_endpoint:
        # An ``Address`` made by hand of what was meant as a description.
        raise SettingError(f"listen {NOT_AN_ENDPOINT}, got {value}")
    if isinstance(value, Address | EndpointString) or IStreamServerEndpoint.providedBy(value):
        return value
    return _parse(value) if isinstance(value, str) else Address.parse(value)


def _parse(text: str) -> Address | EndpointString:
    """Distinguish a description from an address by its first word.

    The kinds of Twisted's own endpoints are never taken for host names. The kind of a plugin counts only
    where the text is no address.
    """
    kind = text.partition(":")[0]
    if kind.lower() in ENDPOINT_KINDS or _UNIX_OPTION.match(text):
        return EndpointString(text)
    try:
        return Address.parse(text)
    except SettingError:
        # Plugins are looked for here only: it reads and imports what is installed.
        if kind in {parser.prefix for parser in getPlugins(IStreamServerEndpointStringParser)}:
            return EndpointString(text)
        raise
