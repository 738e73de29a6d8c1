"""The configurations in `examples/`, with the addresses of this machine put in place of those they name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str, replacements: Mapping[str, str]) -> str:
    """Give a configuration with other values in it.

    :param name: the file's.
    :param replacements: what to put in place of what; each has to be there exactly once.
    """
    return replaced((EXAMPLES / name).read_text(), replacements, name)


def replaced(text: str, replacements: Mapping[str, str], name: str) -> str:
    """Put other values into a configuration.

    :param replacements: what to put in place of what; each has to be there exactly once.
    :param name: where the configuration is from.
    """
    for old, new in replacements.items():
        assert text.count(f'"{old}"') == 1, f'"{old}" is {text.count(old)} times in {name}'
        text = text.replace(f'"{old}"', f'"{new}"')
    return text
