"""What a program gives a frontend to listen on: which text is an address, and which describes an endpoint."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.internet.testing import MemoryReactorClock
from zope.interface import implementer

from tcpbalance import Address, Backend, Balancer, Frontend, Pool, SettingError
from tcpbalance.services import listen as listen_module
from tcpbalance.services.listen import EndpointString, listens_on


class Parser:
    """A plugin that brings a kind of endpoint of its own."""

    prefix = "tunnel"


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Give the plugins that are installed, and note each look at them."""
    looks: list[Any] = []

    def get_plugins(interface: Any) -> list[Any]:
        looks.append(interface)
        return [Parser()]

    monkeypatch.setattr(listen_module, "getPlugins", get_plugins)
    return looks


@implementer(IStreamServerEndpoint)
class OwnEndpoint:
    """An endpoint of the application's own."""

    def listen(self, factory: Any) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize(
    "text",
    [
        "0.0.0.0:80",
        "[::]:80",
        "localhost:80",
        "unix:/run/web.sock",
        "unix:/run/a:b.sock",
        "tunnel:80",
        "tcp.example.com:80",
        "tcp6.internal:80",
    ],
)
def test_an_address(text: str, plugins: list[Any]) -> None:
    assert listens_on(text) == (Address.parse(text),)
    assert not plugins, "none is looked for where the text is an address"


@pytest.mark.parametrize(
    "text",
    [
        "tcp:8080",
        "tcp:8080:interface=127.0.0.1",
        "tcp6:8080",
        "ssl:443:privateKey=/etc/ssl/key.pem",
        "systemd:domain=INET:index=0",
        "haproxy:tcp:80",
        "unix:/run/web.sock:mode=660",
        "unix:/run/web.sock:backlog=10:lockfile=0",
        "unix:address=/run/web.sock:mode=660",
        "tunnel:host=a.example.com",
    ],
)
def test_the_description_of_an_endpoint(text: str) -> None:
    assert listens_on(text) == (EndpointString(text),)
    assert str(EndpointString(text)) == text


@pytest.mark.parametrize("text", ["127.0.0.1", "other:host=a.example.com", "", "unix:", "web:99999"])
def test_what_is_neither_is_refused_as_an_address(text: str) -> None:
    with pytest.raises(SettingError, match="must be an address such as"):
        listens_on(text)


def test_all_kinds_in_one_list_keep_their_order() -> None:
    own = OwnEndpoint()
    given: Any = ["127.0.0.1:80", own, "tcp:81", Address("::1", 82)]
    assert listens_on(given) == (Address("127.0.0.1", 80), own, EndpointString("tcp:81"), Address("::1", 82))


def test_one_endpoint_needs_no_list() -> None:
    own = OwnEndpoint()
    assert listens_on(own) == (own,)


@pytest.mark.parametrize("value", [8080, None, object()])
def test_anything_else_in_a_list_is_refused(value: Any) -> None:
    with pytest.raises(SettingError, match="must be an address such as"):
        listens_on(["127.0.0.1:80", value])


@pytest.mark.parametrize(
    ("text", "kind"), [("tcp:80:interface=127.0.0.1", TCP4ServerEndpoint), ("tcp6:80", TCP6ServerEndpoint)]
)
def test_the_endpoint_of_a_description(text: str, kind: type) -> None:
    assert isinstance(EndpointString(text).endpoint(MemoryReactorClock()), kind)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tcp:http-alt-not-a-port", "invalid literal"),
        ("tcp:80:interfaces=127.0.0.1", "unexpected keyword"),
        ("ssl:443:privateKey=/nonexistent/key.pem", "No such file"),
        ("systemd:domain=INET:name=web", "web"),
        ("tcp4:80", "Unknown endpoint type"),
    ],
)
def test_a_description_that_twisted_does_not_take_is_refused_when_the_balancer_is_built(
    text: str, said: str
) -> None:
    frontend = Frontend("web", text, Pool("web", [Backend("127.0.0.1:1")]))
    with pytest.raises(SettingError) as caught:
        Balancer(MemoryReactorClock(), [frontend])
    assert str(caught.value).startswith(f"frontend web: listen {text}: ")
    assert said in str(caught.value)
