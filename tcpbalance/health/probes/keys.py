"""Validators for the keys of probes."""

from __future__ import annotations

import re

import attrs

from tcpbalance.config.checks import Validator
from tcpbalance.config.errors import InvalidValue
from tcpbalance.config.messages import value_text


def matching(pattern: str, must_be: str) -> Validator[str]:
    """Allow text that matches a regular expression from beginning to end.

    :param must_be: the message for any other value.
    """

    def check(_: object, key: attrs.Attribute[str], value: str) -> None:
        if not re.fullmatch(pattern, value, re.DOTALL):
            raise InvalidValue(key.name, f"{must_be}, got {value_text(value)}")

    return check


some_text = matching(".+", "must have at least one character")
