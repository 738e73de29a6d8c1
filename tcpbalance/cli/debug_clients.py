"""``tcpbalance debug-clients``: whose connections are logged step by step; others, or none."""

from __future__ import annotations

import argparse

from tcpbalance.cli.admin_options import add_admin_command, client_of
from tcpbalance.cli.command_parser import Commands


def add_debug_clients(commands: Commands) -> None:
    """Add the command to a parser."""
    debug = add_admin_command(
        commands, "debug-clients", "show the clients whose connections are logged step by step, or set them"
    )
    debug.add_argument(
        "networks", metavar="NETWORK", nargs="*", help="log the clients in these networks, and no others"
    )
    debug.add_argument("--none", action="store_true", help="log those of no client")
    debug.set_defaults(run=lambda arguments: _debug_clients(arguments, debug))


def _debug_clients(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from tcpbalance.cli.terminal import say

    networks: list[str] = arguments.networks
    if networks and arguments.none:
        parser.error("give networks, or --none")
    client, lasts = client_of(arguments), ""
    if networks or arguments.none:
        answer = client.change("PUT", "debug_clients", content={"debug_clients": networks})
        lasts = f" ({answer['lasts']})"
    else:
        answer = client.get("debug_clients")
    say(f"{', '.join(answer['debug_clients']) or 'no clients'}{lasts}")
    return 0
