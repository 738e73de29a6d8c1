"""Backends and clients: both play the plan of a session, and check what they receive."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from random import Random

from bench.soak.streams import NEVER, PIECE, PLAN_SIZE, Plan, Stream
from bench.soak.verdict import Account, Fault, Session, Side
from tcpbalance.workers.owner import owner

_RESETS = struct.pack("ii", 1, 0)

SESSION_WITHIN = 60.0
"""Seconds after which a session that has not ended hangs."""


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with a reset."""
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESETS)
    writer.transport.abort()


async def send(writer: asyncio.StreamWriter, stream: Stream, until: int) -> None:
    """Send a stream up to a position."""
    while stream.position < until:
        writer.write(stream.next(until - stream.position))
        await writer.drain()


async def receive(reader: asyncio.StreamReader, stream: Stream, side: Side, until: int) -> bool:
    """Receive a stream up to a position.

    :returns: whether it has come so far.
    """
    while stream.position < until:
        data = await reader.read(min(PIECE, until - stream.position))
        if not data:
            return False
        side.is_right = side.is_right and stream.follows(data)
        side.received = stream.position
    return True


async def receive_all(reader: asyncio.StreamReader, stream: Stream, side: Side, size: int) -> None:
    """Receive a stream and its end."""
    if await receive(reader, stream, side, size):
        more = await reader.read(1)
        side.is_right = side.is_right and not more
        side.has_all = not more


class Backend:
    """A server that may end and begin again, on one port.

    :param number: of the backend.
    :param account: of all sessions.
    :ivar port: the same each time; 0 before the first start.
    :ivar is_up: whether it accepts connections.
    """

    def __init__(self, number: int, account: Account) -> None:
        self._number = number
        self._account = account
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.is_up = False

    async def start(self) -> None:
        """Accept connections."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.is_up = True
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Reset all connections and refuse others."""
        assert self._server is not None
        began = time.monotonic()
        self.is_up = False
        self._server.close()
        for writer in self._open:
            reset(writer)
        self._account.faults.append(
            Fault("a backend that ended", began, time.monotonic(), backend=self._number)
        )

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            plan = Plan.unpacked(await reader.readexactly(PLAN_SIZE))
            await self._play(plan, reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            reset(writer)
        finally:
            self._open.discard(writer)
            writer.close()

    async def _play(self, plan: Plan, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = self._account.sessions.get(plan.number)
        if session is None or session.backend is not None:
            self._account.strange.append(f"a backend has got {plan}, which is unknown or at another one, too")
            return
        session.backend = self._number
        try:
            sending = self._send(plan, writer)
            await asyncio.gather(sending, self._receive(plan, session.backend_side, reader))
        finally:
            session.backend_ended.set()

    async def _receive(self, plan: Plan, side: Side, reader: asyncio.StreamReader) -> None:
        stream = Stream(plan.number, is_up=True)
        if plan.backend_stalls and await receive(reader, stream, side, plan.up // 2):
            await asyncio.sleep(plan.backend_stalls)
        await receive_all(reader, stream, side, plan.up)

    async def _send(self, plan: Plan, writer: asyncio.StreamWriter) -> None:
        stream = Stream(plan.number, is_up=False)
        await send(writer, stream, min(plan.down, plan.backend_resets_at))
        if plan.backend_resets_at != NEVER:
            raise ConnectionAbortedError
        writer.write_eof()


class Client:
    """Clients from many addresses, one session after the other.

    :param port: of the balancer.
    :param workers: how many it has.
    :param account: of all sessions.
    :param rng: makes the plans.
    """

    def __init__(self, port: int, workers: int, account: Account, rng: Random) -> None:
        self._port = port
        self._workers = workers
        self._account = account
        self._rng = rng

    async def come(self, over: asyncio.Event) -> None:
        """Have sessions until it is over."""
        while not over.is_set():
            await self.session()

    async def session(self) -> Session:
        """Have one session."""
        rng = self._rng
        source = f"127.0.{rng.randrange(1, 4)}.{rng.randrange(1, 255)}"
        plan, resets_at, stalls = self._plan()
        session = Session(
            number=plan.number,
            place=owner(socket.inet_aton(source), self._workers),
            began=time.monotonic(),
            is_cut_by_plan=min(resets_at, plan.backend_resets_at) != NEVER,
        )
        self._account.sessions[plan.number] = session
        try:
            playing = self._play(plan, session.client_side, source, resets_at, stalls)
            await asyncio.wait_for(playing, SESSION_WITHIN)
        except OSError as error:
            session.error = repr(error)
        if session.backend is not None:
            # What the client has sent may be on its way still.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(session.backend_ended.wait(), SESSION_WITHIN)
        waited = time.monotonic() - session.began
        session.ended = None if waited >= SESSION_WITHIN else time.monotonic()
        return session

    def _plan(self) -> tuple[Plan, int, float]:
        """Make a plan.

        :returns: with the position at which the client resets, and the seconds for which it reads nothing.
        """
        rng = self._rng
        up, down = (int(rng.lognormvariate(9, 3)) % 20_000_000 for _ in range(2))
        kind = rng.random()
        plan = Plan(
            number=len(self._account.sessions),
            up=up,
            down=down,
            backend_resets_at=rng.randrange(down + 1) if kind < 0.04 else NEVER,
            backend_stalls=rng.uniform(0.1, 2) if 0.04 <= kind < 0.1 else 0.0,
        )
        resets_at = rng.randrange(up + 1) if 0.1 <= kind < 0.14 else NEVER
        stalls = rng.uniform(0.1, 2) if 0.14 <= kind < 0.2 else 0.0
        return plan, resets_at, stalls

    async def _play(self, plan: Plan, side: Side, source: str, resets_at: int, stalls: float) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, local_addr=(source, 0))
        try:
            writer.write(plan.packed())
            sending = self._send(plan, writer, resets_at)
            await asyncio.gather(sending, self._receive(plan, side, reader, stalls))
        except OSError:
            reset(writer)
            raise
        finally:
            writer.close()

    async def _send(self, plan: Plan, writer: asyncio.StreamWriter, resets_at: int) -> None:
        await send(writer, Stream(plan.number, is_up=True), min(plan.up, resets_at))
        if resets_at != NEVER:
            raise ConnectionAbortedError
        writer.write_eof()

    async def _receive(self, plan: Plan, side: Side, reader: asyncio.StreamReader, stalls: float) -> None:
        stream = Stream(plan.number, is_up=False)
        if stalls and await receive(reader, stream, side, plan.down // 2):
            await asyncio.sleep(stalls)
        await receive_all(reader, stream, side, plan.down)


class Holder:
    """One client with a limit on its connections, which tries to have more.

    :param port: of the balancer.
    :param limit: of connections.
    :ivar mistakes: more were served at the same time, or fewer with nothing that explains it.
    """

    SOURCE = "127.0.9.9"

    def __init__(self, port: int, limit: int) -> None:
        self._port = port
        self._limit = limit
        self._held: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.tries = 0
        self.full = 0
        self.mistakes: list[str] = []

    async def come(self, over: asyncio.Event, rng: Random) -> None:
        """Hold connections until it is over."""
        while not over.is_set():
            await self.try_more(rng.randrange(1, 4))
            for _ in range(rng.randrange(self._limit)):
                self._close(rng.randrange(len(self._held)) if self._held else 0)
            await asyncio.sleep(rng.uniform(0.05, 0.3))

    async def try_more(self, too_many: int) -> None:
        """Have more connections than there may be."""
        for _ in range(self._limit + too_many - len(self._held)):
            with contextlib.suppress(OSError):
                pair = await asyncio.open_connection("127.0.0.1", self._port, local_addr=(self.SOURCE, 0))
                self._held.append(pair)
        # Those that were cut are found by asking all of them, twice: some end in between.
        for _ in range(2):
            served = await asyncio.gather(*(self._is_served(*pair) for pair in self._held))
            for index in reversed([index for index, it in enumerate(served) if not it]):
                self._close(index)
        self.tries += 1
        self.full += len(self._held) == self._limit
        if len(self._held) > self._limit:
            self.mistakes.append(
                f"{len(self._held)} connections of one client, with a limit of {self._limit}"
            )

    async def _is_served(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        try:
            writer.write(b"x")
            return await asyncio.wait_for(reader.read(1), SESSION_WITHIN) == b"x"
        except (TimeoutError, OSError):
            return False

    def _close(self, index: int) -> None:
        if index < len(self._held):
            _, writer = self._held.pop(index)
            reset(writer)

    def close(self) -> None:
        """Hold none."""
        while self._held:
            self._close(0)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Be the backend of a `Holder`."""
    with contextlib.suppress(OSError):
        while data := await reader.read(100):
            writer.write(data)
    writer.close()
