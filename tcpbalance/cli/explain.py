"""``tcpbalance explain``: what would become of a client's next connection or request, and why."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tcpbalance.cli.admin_options import add_admin_command, client_of
from tcpbalance.cli.command_parser import Commands

if TYPE_CHECKING:
    from tcpbalance.cli.table import Paint

_OUTCOMES = {
    "connects": "is served",
    "waits": "waits until it is accepted",
    "refused": "is refused",
    "no_route": "is closed, no_route: no route is for its server name, and there is no default pool",
    "requests": "is served; the route of each request says where it goes",
    "no_backend": "is closed, no_backend: no backend is available",
    "queued": "waits in the queue of the pool",
    "queue_full": "is closed, queue_full: each backend that is available is full, and the queue, too",
}

_REQUEST_OUTCOMES = {
    "connects": "goes to a backend",
    "waits": "waits until its connection is accepted",
    "refused": "does not come: its connection is refused",
    "no_backend": "is answered with 503, no_backend: no backend is available",
    "tunnels": "gets a tunnel to what it names, if its password is right where it needs one",
    "queued": "waits in the queue of the pool",
    "queue_full": "is answered with 503, queue_full: each backend that may serve is full, and the queue, too",
}


def add_explain(commands: Commands) -> None:
    """Add the command to a parser."""
    explain = add_admin_command(
        commands, "explain", "show what would become of the next connection or request of a client, and why"
    )
    explain.add_argument(
        "frontend",
        metavar="FRONTEND",
        nargs="?",
        help="the name of the frontend that it comes to; a request needs none where it fits one alone",
    )
    explain.add_argument(
        "client",
        metavar="CLIENT",
        nargs="?",
        help="the IP address of the client, or unix; by default, a request comes from 127.0.0.1",
    )
    explain.add_argument(
        "--request", metavar="REQUEST", help='what the client asks: "GET https://www.example.com/api"'
    )
    explain.add_argument(
        "--header",
        metavar="LINE",
        action="append",
        default=[],
        help='a header of the request, such as "Accept: */*"; several times for several',
    )
    explain.add_argument("--server-name", metavar="NAME", help="what the client asks for by TLS")
    explain.add_argument("--json", action="store_true", help="show it as JSON")
    explain.set_defaults(run=_explain)


def _explain(arguments: argparse.Namespace) -> int:
    from tcpbalance.cli.terminal import paint_of_output, show, table_width

    answer = client_of(arguments).get(
        "explain",
        frontend=arguments.frontend,
        client=arguments.client,
        server_name=arguments.server_name,
        request=arguments.request,
        headers="\n".join(arguments.header) or None,
    )
    if arguments.json:
        import json

        print(json.dumps(answer))
        return 0
    show(explain_lines(answer, table_width(), paint_of_output()))
    return 0


def explain_lines(answer: Mapping[str, Any], width: int | None, paint: Paint) -> list[str]:
    """Word an answer, with a table of the backends."""
    from tcpbalance.cli.table import wrapped_lines

    lines = [
        _outcome_line(answer),
        f"accepted by {_by(answer)}{_waits_for(answer)}",
    ]
    if answer["proxy_header"]:
        lines.append("a connection from this address must begin with a PROXY header, which names the client")
    lines += _admission_lines(answer["admission"])
    lines += _request_lines(answer)
    pool = answer["pool"]
    if pool is None:
        return wrapped_lines(lines, width)
    route = f", by the route {answer['route']}" if answer["route"] else ""
    others = "requests that no route takes go to " if answer["outcome"] == "requests" else ""
    lines.append(f"{others}pool {pool['name']}{route}: {pool['by'] or 'it has no backends'}")
    if not pool["exact"]:
        lines.append("the order of the backends is not known beforehand; these are possible")
    lines = [*wrapped_lines(lines, width), "", *_backend_lines(pool, width, paint)]
    sent = answer["request"] and answer["request"]["sent"]
    return [*lines, "", "the first backend gets", *(f"  {line}" for line in sent)] if sent else lines


def _outcome_line(answer: Mapping[str, Any]) -> str:
    outcome, request = answer["outcome"], answer["request"]
    if request is None:
        return f"{answer['client']} at frontend {answer['frontend']} {_OUTCOMES[outcome]}"
    words = _REQUEST_OUTCOMES.get(outcome)
    if words is None:
        because = f", {request['cause']}" if request["cause"] else ""
        words = f"is answered with {request['status']}, {outcome}{because}: {request['meaning']}"
    return f"the request of {answer['client']} at frontend {answer['frontend']} {words}"


def _request_lines(answer: Mapping[str, Any]) -> Iterator[str]:
    request = answer["request"]
    if request is None:
        return
    if request["client"] not in (None, answer["client"]):
        yield f"the client that is reported is {request['client']}"
    if request["limits"]:
        yield from _request_limit_lines(request["limits"])
    if answer["pool"] is None and answer["route"]:
        yield f"the route {answer['route']} answers"
    if request["location"]:
        yield f"Location: {request['location']}"
    if request["mirror"]:
        yield f"pool {request['mirror']} gets a copy"
    if request["shares"]:
        shares = ", ".join(f"{name}: {weight}" for name, weight in request["shares"].items())
        yield f"the clients of the route are shared by weight ({shares})"


def _request_limit_lines(limits: Mapping[str, Any]) -> Iterator[str]:
    if limits["would_refuse"]:
        yield f"without dry_run, it would be refused: {limits['would_refuse']}"
    under_way, rate = limits["under_way"], limits["rate"]
    if under_way:
        yield f"{under_way['used']} of {under_way['limit']} requests of all clients are under way"
    if rate:
        wait = f", the next in {limits['next_in']:.3g} s" if limits["next_in"] else ""
        yield f"{rate['left']} of {rate['limit']} requests of the client may come at once by the rate{wait}"


def _by(answer: Mapping[str, Any]) -> str:
    if answer["worker"] is None:
        return "any worker"
    handed_over = "any worker, and handed over to " if answer["any_worker_accepts"] else ""
    return f"{handed_over}worker {answer['worker']}"


def _waits_for(answer: Mapping[str, Any]) -> str:
    open_now, limit = answer["connections"]["open"], answer["connections"]["limit"]
    of_all = "" if limit is None else f"; {open_now} of {limit} connections of all clients are open"
    reasons = ", ".join(answer["waits_for"])
    return f"{of_all}; waits because of {reasons}" if reasons else of_all


def _admission_lines(admission: Mapping[str, Any] | None) -> Iterator[str]:
    if admission is None:
        yield "admitted: there are no lists and no limits on clients"
        return
    if admission["refused"]:
        yield f"refused, {admission['refused']}: {admission['meaning']}"
    else:
        yield "admitted"
    if admission["would_refuse"]:
        yield f"without dry_run, it would be refused: {admission['would_refuse']}"
    if admission["list"]:
        yield f"the list {admission['list']} decides"
    yield from _limit_lines(admission)


def _limit_lines(admission: Mapping[str, Any]) -> Iterator[str]:
    from tcpbalance.cli.amounts import time_text

    if admission["banned_for"]:
        yield f"banned for {time_text(admission['banned_for'])} more"
    connections, rate, refusals = (admission[key] for key in ("connections", "rate", "refusals"))
    if connections:
        yield f"{connections['used']} of {connections['limit']} connections of the client are open"
    if rate:
        wait = f", the next in {admission['next_in']:.3g} s" if admission["next_in"] else ""
        yield f"{rate['left']} of {rate['limit']} connections may come at once by the rate{wait}"
    if refusals:
        yield f"{refusals['used']} of {refusals['limit']} refusals that lead to a ban"


def _backend_lines(pool: Mapping[str, Any], width: int | None, paint: Paint) -> Sequence[str]:
    from tcpbalance.cli.table import FAINT, GOOD, Cell, Column, table_lines

    columns = [
        Column("TRY", right=True),
        Column("BACKEND", shrinks_to=12),
        Column("ADDRESS", optional=2),
        Column("OPEN", right=True, optional=1),
        Column("WHY", shrinks_to=20),
    ]
    numbered = [(str(number), GOOD, it) for number, it in enumerate(pool["candidates"], start=1)]
    skipped = [("-", FAINT, it) for it in pool["skipped"]]
    rows = [
        [
            Cell(number, style),
            Cell(it["backend"]),
            Cell(it["address"]),
            Cell(_of(it["connections"], it["max_connections"])),
            Cell(f"{'backup, ' if it['backup'] else ''}{it['meaning']}"),
        ]
        for number, style, it in (*numbered, *skipped)
    ]
    return table_lines(columns, rows, width, paint)


def _of(count: int, limit: int | None) -> str:
    return str(count) if limit is None else f"{count}/{limit}"
