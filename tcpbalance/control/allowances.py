"""What limits leave, as answers show it."""

from __future__ import annotations

from tcpbalance.admission.answer import Allowance


def shown_allowance(allowance: Allowance | None) -> dict[str, int] | None:
    """Show what is used of a limit, and what is left; None without one."""
    if allowance is None:
        return None
    return {"used": allowance.used, "limit": allowance.limit, "left": allowance.left}
