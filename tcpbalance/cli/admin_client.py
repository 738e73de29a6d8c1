"""Asks the admin side over HTTP, one connection a request."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from http.client import (
    HTTPConnection,
    HTTPException,
    HTTPResponse,
    HTTPSConnection,
    IncompleteRead,
    RemoteDisconnected,
)
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from tcpbalance.cli.admin_address import TOKEN_VARIABLE, AdminAddress
from tcpbalance.cli.answer_shape import answer_schema, has_shape
from tcpbalance.cli.command_error import UNREACHABLE, CommandError
from tcpbalance.config.messages import one_line
from tcpbalance.control.openapi_schemas import SCHEMAS, Schema

CONNECTED_WITHIN = 5.0
"""Seconds."""

SILENT_FOR = 65.0
"""Seconds; the admin side gives up after 60."""

API = "/api/v1"

NOT_AN_ADMIN_SIDE = "what answers there is not a balancer's admin side"


class _UnixConnection(HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=CONNECTED_WITHIN)
        self._path = path

    def connect(self) -> None:
        """Connect; the library's call."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class AnswerObject(dict[str, Any]):
    """An object of an answer; looking for a key that it lacks says that no admin side has made it.

    :param error: that is raised then.
    """

    def __init__(self, content: Mapping[str, Any], error: CommandError) -> None:
        super().__init__(content)
        self._error = error

    def __missing__(self, key: str) -> Any:
        """Python's call: there is no such key."""
        raise self._error


class AdminClient:
    """See above.

    :param address: where the admin side is.
    :param silent_for: seconds without a byte of an answer after which there will be none.
    :raises CommandError: the token cannot be read; likewise from every method, where the admin side cannot
        be reached or refuses.
    """

    def __init__(self, address: AdminAddress, silent_for: float = SILENT_FOR) -> None:
        self.address = address
        self._silent_for = silent_for
        self._authorization = _authorization(address.token_file)

    def get(self, *path: str, **query: object) -> Any:
        """Ask for something.

        :param path: its parts below ``/api/v1``, not escaped.
        :param query: what is None is left out.
        """
        return self._ask("GET", path, query)

    def change(self, method: str, *path: str, content: Mapping[str, object] = {}, **query: object) -> Any:
        """Have something changed.

        :param content: the body.
        """
        return self._ask(method, path, query, json.dumps(content))

    def stream(self, *path: str, **query: object) -> Iterator[tuple[str, Any]]:
        """Ask for server-sent events, and give the name and the data of each as it comes.

        :raises CommandError: the stream has ended, too.
        """
        schema = SCHEMAS["Event"]
        with self._answer("GET", path, query, None, "text/event-stream") as response:
            for name, data in _server_sent(response):
                yield name, self._read(data, schema)
        raise self._unreachable("the stream has ended")

    def _ask(
        self, method: str, path: tuple[str, ...], query: Mapping[str, object], body: str | None = None
    ) -> Any:
        schema = answer_schema(method, [*API.strip("/").split("/"), *path])
        with self._answer(method, path, query, body) as response:
            return self._read(response.read() or "{}", schema)

    def _read(self, text: str | bytes, schema: Schema) -> Any:
        """Read an object of an answer.

        :raises ValueError: it is not JSON.
        :raises CommandError: it is not what an admin side answers.
        """
        no_admin_side = self._unreachable(NOT_AN_ADMIN_SIDE)
        answer = json.loads(text, object_hook=lambda content: AnswerObject(content, no_admin_side))
        if not (isinstance(answer, AnswerObject) and has_shape(answer, schema)):
            raise no_admin_side
        return answer

    @contextmanager
    def _answer(
        self,
        method: str,
        path: tuple[str, ...],
        query: Mapping[str, object],
        body: str | None,
        accept: str = "application/json",
    ) -> Iterator[HTTPResponse]:
        """Ask, and give an answer that is no error."""
        with closing(self._connection()) as connection:
            try:
                with self._begin(connection, method, _target(path, query), body, accept) as response:
                    if response.status >= 400:
                        raise CommandError(_reason(response, response.read()))
                    yield response
            except (OSError, HTTPException) as error:
                raise self._unreachable(_cause(error)) from error
            except (ValueError, RecursionError) as error:
                raise self._unreachable(NOT_AN_ADMIN_SIDE) from error

    def _begin(
        self, connection: HTTPConnection, method: str, target: str, body: str | None, accept: str
    ) -> HTTPResponse:
        connection.connect()
        connection.sock.settimeout(self._silent_for)
        of_body = {} if body is None else {"Content-Type": "application/json"}
        headers = {"Accept": accept, **of_body, **self._authorization}
        # It may have answered before it had read everything.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.request(method, target, body, headers)
        return connection.getresponse()

    def _connection(self) -> HTTPConnection:
        address = self.address
        if address.path:
            return _UnixConnection(address.path)
        if address.tls:
            context = ssl.create_default_context()
            return HTTPSConnection(address.host, address.port, timeout=CONNECTED_WITHIN, context=context)
        return HTTPConnection(address.host, address.port, timeout=CONNECTED_WITHIN)

    def _unreachable(self, cause: str) -> CommandError:
        return CommandError(f"cannot ask the admin side at {self.address.text}: {cause}", UNREACHABLE)


def _target(path: tuple[str, ...], query: Mapping[str, object]) -> str:
    given = {name: value for name, value in query.items() if value is not None}
    target = "/".join([API, *(quote(part, safe="") for part in path)])
    return f"{target}?{urlencode(given)}" if given else target


def _server_sent(lines: Iterable[bytes]) -> Iterator[tuple[str, str]]:
    """Read server-sent events, each with data in one line: the HTML standard, section 9.2."""
    name = data = ""
    for line in lines:
        field, _, value = line.decode().rstrip("\r\n").partition(":")
        if field == "event":
            name = value.strip()
        elif field == "data":
            data = value
        elif not line.strip():
            if data:
                yield name, data
            name = data = ""


def _authorization(file: Path | None) -> dict[str, str]:
    if file is None:
        return {}
    try:
        token = file.read_text().strip()
    except (OSError, ValueError) as error:
        raise CommandError(f"cannot read the token: {file}: {_cause(error)}") from error
    if not token.isascii() or not token.isprintable():
        raise CommandError(f"cannot read the token: {file}: must be one line of ASCII")
    return {"Authorization": f"Bearer {token}"}


def _reason(response: HTTPResponse, content: bytes) -> str:
    """Give the message of an error, and what to do about a token."""
    try:
        lines = str(json.loads(content)["error"]["message"]).splitlines()
        message = "; ".join(one_line(line) for line in lines)
    except (ValueError, LookupError, TypeError, RecursionError):
        message = f"it answered {response.status} {one_line(response.reason)}"
    hint = f"; see --token-file and {TOKEN_VARIABLE}" if response.status == http.client.UNAUTHORIZED else ""
    return f"{message}{hint}"


def _cause(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, IncompleteRead):
        return "the answer was cut short"
    if isinstance(error, RemoteDisconnected):
        return "it has closed the connection without an answer"
    if isinstance(error, HTTPException):
        return f"it has not answered as HTTP does: {one_line(str(error))}"
    return one_line(str(getattr(error, "strerror", None) or error)).lower()
