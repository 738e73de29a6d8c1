"""``tcpbalance man``: the manual page, made from the parser."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from tcpbalance.cli.admin_options import ADMIN_GROUP
from tcpbalance.cli.command_parser import Commands

if TYPE_CHECKING:
    from tcpbalance.cli.description import DescribedArgument, DescribedCommand

_HEAD = """\
.\\" Made by `tcpbalance man`.
.TH TCPBALANCE 1 "" "tcpbalance {version}"
.SH NAME
tcpbalance \\- TCP reverse proxy and load balancer
.SH SYNOPSIS
.nf
{synopsis}
.fi
.SH DESCRIPTION
tcpbalance runs a TCP load balancer, looks at its configuration, and steers one that runs.
.SH COMMANDS
"""

_TAIL = """\
.SH EXIT STATUS
.TP
0
It is done. For run: the balancer has ended after SIGTERM or SIGINT.
.TP
1
The balancer has refused, or something is wrong: standard error says what.
.TP
2
The arguments make no sense. For plan: there are changes, and arguments that make no sense end with 1.
.TP
3
The admin side cannot be reached, or is not found.
.TP
130, 141
Ctrl\\-C; the reader of the output has closed its pipe.
.SH ENVIRONMENT
.TP
TCPBALANCE_ADMIN
Where the admin side is, as for \\-\\-admin.
.TP
TCPBALANCE_TOKEN_FILE
File with the token for the admin side, as for \\-\\-token\\-file.
.TP
NO_COLOR
Where it is set, tables have no colours.
.SH FILES
.TP
/run/tcpbalance/admin.sock
The admin side, where nothing else is said.
.TP
/etc/tcpbalance/tcpbalance.toml
The configuration whose table [admin] says where the admin side is, where there is no such socket.
"""


def add_man(commands: Commands) -> None:
    """Add the command to a parser."""
    man = commands.add_parser(
        "man",
        help="print the manual page",
        description="Print the manual page, for: tcpbalance man > /usr/local/share/man/man1/tcpbalance.1",
        allow_abbrev=False,
    )
    man.set_defaults(run=_man)


def _man(arguments: argparse.Namespace) -> int:
    from tcpbalance.cli.version import installed_version

    print(manual_page(installed_version()), end="")
    return 0


def manual_page(version: str) -> str:
    """Write the page in the language of man(7)."""
    from tcpbalance.cli.description import described_program

    program, commands = described_program()
    of_admin = {
        argument.flags: argument
        for command in commands
        for argument in command.arguments
        if argument.group == ADMIN_GROUP
    }
    synopsis = "\n".join(_escaped(_usage(command)) for command in commands)
    return "".join(
        [
            _HEAD.format(version=_escaped(version), synopsis=synopsis),
            *map(_command, commands),
            ".SH OPTIONS\n",
            *map(_argument, program.arguments),
            ".SH ADMIN SIDE\nOptions of the commands that ask a balancer that runs:\n",
            *map(_argument, of_admin.values()),
            _TAIL,
        ]
    )


def _usage(command: DescribedCommand) -> str:
    operands = [" ".join(operand.values) for operand in command.operands]
    return " ".join(["tcpbalance", command.name, "[options]", *operands])


def _command(command: DescribedCommand) -> str:
    own = [
        _argument(argument)
        for argument in command.arguments
        if argument.group != ADMIN_GROUP and "--help" not in argument.flags
    ]
    return "".join([f".SS {_escaped(_usage(command))}\n{_escaped(_sentence(command.help))}\n", *own])


def _argument(argument: DescribedArgument) -> str:
    values = " ".join(argument.values)
    shown = " ".join(
        filter(None, [", ".join(argument.flags), f"[{values}]" if argument.optional else values])
    )
    return f".TP\n.B {_escaped(shown)}\n{_escaped(_sentence(argument.help))}\n"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _escaped(text: str) -> str:
    """Let nothing in a text be a request or an escape."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped
