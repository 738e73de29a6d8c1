"""The options of all commands that ask the admin side, and the client that they make."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from tcpbalance.cli.command_parser import CommandParser, Commands

if TYPE_CHECKING:
    from tcpbalance.cli.admin_client import AdminClient

ADMIN_GROUP = "admin side"
"""The heading of the options."""


def add_admin_command(commands: Commands, name: str, help: str) -> CommandParser:  # noqa: A002  # argparse's word
    """Add a command that asks the admin side.

    :param help: one line.
    """
    command = commands.add_parser(name, help=help, description=f"{help.capitalize()}.", allow_abbrev=False)
    where = command.add_argument_group(ADMIN_GROUP)
    where.add_argument(
        "--admin",
        metavar="URL|SOCKET",
        help="where it is, such as http://127.0.0.1:9000 or unix:/run/tcpbalance/admin.sock",
    )
    where.add_argument("--config", metavar="FILE", help="the file of the balancer, whose [admin] says where")
    where.add_argument("--token-file", metavar="FILE", help="file with the token, where one is needed")
    return command


def client_of(arguments: argparse.Namespace, silent_for: float | None = None) -> AdminClient:
    """Make the client.

    :param silent_for: see ``AdminClient``; None for its own choice.
    :raises CommandError: it is not known where the admin side is, or the token cannot be read.
    """
    from tcpbalance.cli.admin_address import find_admin
    from tcpbalance.cli.admin_client import SILENT_FOR, AdminClient

    address = find_admin(arguments.admin, arguments.config, arguments.token_file)
    return AdminClient(address, SILENT_FOR if silent_for is None else silent_for)
