"""A health check that asks an agent on the backend's host, which listens on its own port."""

from __future__ import annotations

from attrs import evolve, field, frozen

from tcpbalance import ExpectProbe, ProbeFailed, Target


@frozen
class AgentProbe:
    """Passes when the agent sends an expected text."""

    agent_port: int = field(metadata={"doc": "The port of the agent on each backend's host."})
    says: str = field(
        default="up\n", metadata={"doc": "Text that the agent sends while the backend may serve."}
    )

    async def check(self, target: Target) -> None:
        """Ask the agent of one backend."""
        if target.address.is_unix:
            raise ProbeFailed("no agent for a unix socket")
        agent = evolve(target.address, port=self.agent_port)
        await ExpectProbe(contains=self.says).check(evolve(target, address=agent))
