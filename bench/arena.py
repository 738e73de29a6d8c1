"""Where contestants meet: the backends, and in front of them every contestant that could be started."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

from attrs import frozen

from bench import usage
from bench.contestants.proxy import Place, Proxy
from bench.errors import Failed
from bench.ports import free_port
from bench.process import Child
from bench.web import wait_for_answer


@frozen
class Running:
    """A contestant that answers.

    :param port: where clients connect.
    :param process: its process; None where there is no proxy.
    """

    port: int
    process: Child | None = None

    @property
    def pid(self) -> int | None:
        """The id of its process."""
        return None if self.process is None else self.process.pid

    def cpu(self) -> int:
        """Give the processor time it has used so far, in nanoseconds; 0 where there is no proxy."""
        return 0 if self.pid is None else usage.cpu(self.pid)

    def memory(self) -> int:
        """Give its resident memory in bytes; 0 where there is no proxy."""
        return 0 if self.pid is None else usage.memory(self.pid)

    def explain(self, failed: Failed) -> Failed:
        """Give a failure of its turn, with the end of the process where that has ended unasked."""
        ending = "" if self.process is None else self.process.ending()
        return Failed(f"{failed}; the proxy {ending}") if ending else failed


class Arena:
    """The contestants, all of them running from `with` to its end.

    :param folder: for the files of all.
    :param backends: the ports of the backends.
    :param certificate: with what everyone terminates TLS, with its key; None where they pass on what comes.
    :param http: whether they serve requests, and not connections.
    :ivar running: those that answer, by key.
    :ivar absent: why others do not, by key.
    """

    def __init__(
        self,
        folder: Path,
        backends: tuple[int, ...],
        certificate: Path | None = None,
        *,
        http: bool = False,
    ) -> None:
        self.folder = folder
        self.backends = backends
        self.certificate = certificate
        self.http = http
        self.running: dict[str, Running] = {}
        self.absent: dict[str, str] = {}
        self._numbers = count(1)

    @property
    def tls(self) -> bool:
        """Whether clients have to speak TLS."""
        return self.certificate is not None

    @contextmanager
    def proxies(self, wanted: Mapping[str, Proxy]) -> Iterator[None]:
        """Run those of `wanted` that can be run, and note why others cannot."""
        with ExitStack() as stack:
            for key, proxy in wanted.items():
                try:
                    self.running[key] = stack.enter_context(self.fresh(proxy))
                except Failed as failed:
                    self.absent[key] = str(failed)
            yield

    @contextmanager
    def fresh(self, proxy: Proxy, *, limits: bool = False, workers: int = 1) -> Iterator[Running]:
        """Run a proxy once more.

        :param limits: whether it is to limit each client.
        :param workers: how many threads or processes are to carry its traffic.
        :raises Failed: when it is not installed or does not answer.
        """
        folder = self.folder / f"proxy-{next(self._numbers)}"
        folder.mkdir()
        place = Place(folder, free_port(), self.backends, self.certificate, limits, workers, self.http)
        with Child(proxy.command(place), folder / "output.log", folder) as child:
            wait_for_answer(place.port, child, tls=self.tls)
            running = Running(place.port, child)
            try:
                yield running
            except Failed as failed:
                raise running.explain(failed) from None
