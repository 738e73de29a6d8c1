"""Pools: their backends, the policy that orders them, and what is known of each."""
