"""What the fields of the models carry for the reference that is made of them."""

from __future__ import annotations


def doc(doc: str, **more: str) -> dict[str, str]:
    """Make a field's metadata.

    :param doc: what the key does, in Markdown.
    :param more: ``example``, a value as written in TOML; ``default``, the default in words where it depends.
    """
    return {"doc": doc, **more}


HIDDEN = "(hidden)"
"""What is shown in the place of a value that may be secret; see ``shown``."""


def hidden(_: object) -> str:
    """Show nothing of a value, as the ``shown`` of a field's metadata."""
    return HIDDEN
