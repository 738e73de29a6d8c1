"""Balancing policies: each puts a pool's backends in order for one connection after the other."""

from __future__ import annotations

from tcpbalance.pool.policies.base import Policy, PolicyFactory, PolicyTools

__all__ = ["Policy", "PolicyFactory", "PolicyTools"]
