"""``tcpbalance init``: a first configuration, of options or of answers to a few questions."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from tcpbalance.cli.command_error import CommandError
from tcpbalance.cli.command_parser import Commands
from tcpbalance.errors import SettingError

if TYPE_CHECKING:
    from tcpbalance.cli.first_config import FirstConfig

PRINTED = "-"


def add_init(commands: Commands) -> None:
    """Add the command to a parser."""
    init = commands.add_parser(
        "init",
        help="write a first configuration",
        description="Write a first configuration, with comments. Without options, ask a few questions.",
        allow_abbrev=False,
    )
    init.add_argument(
        "--listen",
        metavar="ADDRESS",
        action="append",
        help="where clients connect: :443; can be repeated",
    )
    init.add_argument(
        "--backend",
        metavar="ADDRESS",
        action="append",
        help="a server: 10.0.0.11:80; can be repeated",
    )
    init.add_argument("--tls", metavar=("CERT", "KEY"), nargs=2, help="files of the certificate and its key")
    init.add_argument(
        "--output",
        metavar="FILE",
        default="tcpbalance.toml",
        help="tcpbalance.toml by default; - to print it",
    )
    init.add_argument("--force", action="store_true", help="replace FILE where there is one")
    init.set_defaults(run=lambda arguments: _init(arguments, init))


def _init(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from tcpbalance.cli.first_config import mistakes_in, text_of

    prints = arguments.output == PRINTED
    if not prints and not arguments.force and os.path.lexists(arguments.output):
        raise CommandError(f"{arguments.output} is there already; --force replaces it")
    text = text_of(_wanted(arguments, parser))
    mistakes = mistakes_in(text, "the configuration" if prints else arguments.output)
    for line in mistakes:
        print(line, file=sys.stderr)
    if mistakes:
        return 1
    if prints:
        print(text, end="")
    else:
        _write(arguments.output, text, replaces=arguments.force)
        print(f"{arguments.output} is written; next: tcpbalance run {arguments.output}")
    return 0


def _wanted(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> FirstConfig:
    from tcpbalance.cli.first_config import FirstConfig, backend_address, listen_address

    if not (arguments.listen or arguments.backend or arguments.tls):
        if not sys.stdin.isatty():
            parser.error("--listen and --backend are needed where no terminal can be asked")
        return _ask()
    if not (arguments.listen and arguments.backend):
        parser.error("--listen and --backend are needed, both")
    return FirstConfig(
        [_valid("--listen", listen_address, text) for text in arguments.listen],
        [_valid("--backend", backend_address, text) for text in arguments.backend],
        tuple(arguments.tls or ()),
    )


def _valid(option: str, read: Callable[[str], str], text: str) -> str:
    try:
        return read(text)
    except SettingError as error:
        raise CommandError(f"{option}: {error}") from error


def _ask() -> FirstConfig:
    from tcpbalance.cli.first_config import FirstConfig, backend_address, listen_address

    listen = _answers("Where do clients connect, such as :8080? ", listen_address)
    backends = _answers("Servers, such as 10.0.0.11:80 10.0.0.12:80: ", backend_address)
    cert = _answer("File of the certificate for TLS (empty for no TLS): ")
    key = _answer("File of its key: ") if cert else ""
    return FirstConfig(listen, backends, (cert, key) if cert else ())


def _answers(question: str, read: Callable[[str], str]) -> list[str]:
    """Ask until each word of the answer can be read."""
    while True:
        words = _answer(question).replace(",", " ").split()
        try:
            answers = [read(word) for word in words]
        except SettingError as error:
            print(error, file=sys.stderr)
            continue
        if answers:
            return answers


def _answer(question: str) -> str:
    # Standard output may be the file.
    print(question, end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    if not line:
        raise CommandError("the answers have ended; nothing is written")
    return line.strip()


def _write(file: str, text: str, *, replaces: bool) -> None:
    try:
        with open(file, "w" if replaces else "x", encoding="utf-8") as output:
            output.write(text)
    except OSError as error:
        raise CommandError(f"{file}: cannot be written: {error.strerror}") from error
