"""``tcpbalance completion``: what a shell needs to complete the command line, made from the parser."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from tcpbalance.cli.command_parser import Commands

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tcpbalance.cli.description import DescribedArgument, DescribedCommand

SHELLS = ("bash", "fish", "zsh")


def add_completion(commands: Commands) -> None:
    """Add the command to a parser."""
    completion = commands.add_parser(
        "completion",
        help="print what a shell needs to complete commands and options",
        description="Print what a shell needs to complete commands and options. bash and zsh: "
        "source <(tcpbalance completion SHELL); fish: tcpbalance completion fish | source",
        allow_abbrev=False,
    )
    completion.add_argument("shell", choices=SHELLS, help="the shell")
    completion.set_defaults(run=_completion)


def _completion(arguments: argparse.Namespace) -> int:
    from tcpbalance.cli.description import described_program

    program, commands = described_program()
    print({"bash": bash, "fish": fish, "zsh": zsh}[arguments.shell](program, commands), end="")
    return 0


def bash(program: DescribedCommand, commands: Sequence[DescribedCommand]) -> str:
    """Write a function for bash's ``complete``."""
    first = " ".join([*(command.name for command in commands), *_flags(program.options)])
    after = "\n".join(_bash_after_options(command) for command in commands if _with_values(command))
    words = "\n".join(
        f"        {command.name}) words='{_words(command)}' files={int(_takes_files(command))} ;;"
        for command in commands
    )
    return f"""\
# Made by `tcpbalance completion bash`.
_tcpbalance() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} words='' files=0
    COMPREPLY=()
    if [ "$COMP_CWORD" = 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W '{first}' -- "$current")
        return
    fi
    case "${{COMP_WORDS[1]}} $before" in
{after}
    esac
    case "${{COMP_WORDS[1]}}" in
{words}
    esac
    if [ "$files" = 1 ] && [[ $current != -* ]]; then
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
    else
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
    fi
}}
complete -o filenames -F _tcpbalance tcpbalance
"""


def _bash_after_options(command: DescribedCommand) -> str:
    """Complete the values of options: files, or nothing."""
    lines = []
    for option in _with_values(command):
        patterns = "|".join(f'"{command.name} {flag}"' for flag in option.flags)
        files = 'mapfile -t COMPREPLY < <(compgen -f -- "$current"); ' if option.is_file else ""
        lines.append(f"        {patterns}) {files}return ;;")
    return "\n".join(lines)


def _with_values(command: DescribedCommand) -> list[DescribedArgument]:
    return [option for option in command.options if option.values and not option.optional]


def _words(command: DescribedCommand) -> str:
    return " ".join(
        [*(word for operand in command.operands for word in operand.words), *_flags(command.options)]
    )


def _flags(options: Iterable[DescribedArgument]) -> list[str]:
    return [flag for option in options for flag in option.flags]


def _takes_files(command: DescribedCommand) -> bool:
    return any(operand.is_file for operand in command.operands)


def fish(program: DescribedCommand, commands: Sequence[DescribedCommand]) -> str:
    """Write the completions for fish's ``complete``."""
    lines = ["# Made by `tcpbalance completion fish`.", "complete -c tcpbalance -f"]
    lines += [
        f"complete -c tcpbalance -n __fish_use_subcommand -a {command.name} -d {_quoted(command.help)}"
        for command in commands
    ]
    lines += [
        f"complete -c tcpbalance -n __fish_use_subcommand {_fish_option(its)}" for its in program.options
    ]
    for command in commands:
        chosen = f"complete -c tcpbalance -n '__fish_seen_subcommand_from {command.name}'"
        lines += [f"{chosen} {_fish_option(option)}" for option in command.options]
        lines += [
            f"{chosen} -a {_quoted(' '.join(operand.words))}" for operand in command.operands if operand.words
        ]
        if _takes_files(command):
            lines.append(f"{chosen} -F")
    return "\n".join(lines) + "\n"


def _fish_option(option: DescribedArgument) -> str:
    flags = [f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags]
    takes = ([] if option.optional or not option.values else ["-r"]) + (["-F"] if option.is_file else [])
    return " ".join([*flags, *takes, "-d", _quoted(option.help)])


def zsh(program: DescribedCommand, commands: Sequence[DescribedCommand]) -> str:
    """Write a function for zsh's ``compdef``."""
    names = "\n".join(f"        {_quoted(f'{command.name}:{command.help}')}" for command in commands)
    cases = "\n".join(
        f"        {command.name}) _arguments {' '.join(_zsh_arguments(command))} ;;" for command in commands
    )
    flags = " ".join(_flags(program.options))
    return f"""\
#compdef tcpbalance
# Made by `tcpbalance completion zsh`.
_tcpbalance() {{
    local -a commands
    commands=(
{names}
    )
    if (( CURRENT == 2 )); then
        _describe command commands
        compadd -- {flags}
        return
    fi
    local command=$words[2]
    shift words
    (( CURRENT-- ))
    case $command in
{cases}
    esac
}}
if [ "$funcstack[1]" = _tcpbalance ]; then
    _tcpbalance "$@"
else
    compdef _tcpbalance tcpbalance
fi
"""


def _zsh_arguments(command: DescribedCommand) -> list[str]:
    specs = []
    for option in command.options:
        values = "".join(f":{_zsh_name(value)}:{_zsh_action(option)}" for value in option.values)
        if option.optional:
            values = f":{values}"
        specs += [_quoted(f"{flag}[{_zsh_text(option.help)}]{values}") for flag in option.flags]
    specs += [
        _quoted(f":{_zsh_name(' '.join(operand.values))}:{_zsh_action(operand)}")
        for operand in command.operands
    ]
    return specs


def _zsh_action(argument: DescribedArgument) -> str:
    if argument.words:
        return f"({' '.join(argument.words)})"
    return "_files" if argument.is_file else " "


def _zsh_name(text: str) -> str:
    return text.replace(":", "\\:")


def _zsh_text(text: str) -> str:
    return text.replace("[", "\\[").replace("]", "\\]").replace(":", "\\:")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
