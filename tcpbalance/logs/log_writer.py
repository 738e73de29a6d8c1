"""The thread that turns session records into lines and writes them: the reactor never waits for a disk."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final

from tcpbalance.logs.log_file import AccessLogError, LinesLostError, LogFile

if TYPE_CHECKING:
    from tcpbalance.proxy.record import SessionRecord

# Formatting holds the interpreter's lock and writing gives it away: so many records take under a millisecond.
_BATCH: Final = 64


class LogWriter:
    """One thread and the queue before it; orders are carried out in the order given.

    The thread starts with the first order: a daemon forks after it has opened its files, and a thread does
    not outlive a fork.

    :param file: where lines go; closed by `close`.
    :param line: what makes a line of a record, an empty one where it has none.
    :param bound: records that may wait; more are refused.
    :param on_trouble: called in the thread, with what went wrong and how many records were lost.
    :param on_end: called, in the thread, as its last act.
    """

    def __init__(
        self,
        file: LogFile,
        line: Callable[[SessionRecord], str],
        bound: int,
        on_trouble: Callable[[str, int], None],
        on_end: Callable[[], None],
    ) -> None:
        self._file = file
        self._line = line
        self._bound = bound
        self._on_trouble = on_trouble
        self._on_end = on_end
        self._orders: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        # Each of these counts is written by one thread only and read by the other, so they need no lock.
        self._given = 0
        self._done = 0
        self._done_at_refusal = -1
        self._started = False
        self._thread = threading.Thread(target=self._run, name="tcpbalance access log", daemon=True)

    @property
    def waiting(self) -> int:
        """Records given and not yet written."""
        return self._given - self._done

    @property
    def stalled(self) -> bool:
        """Whether nothing at all was written since records were last refused."""
        return self._done == self._done_at_refusal

    def give(self, records: list[SessionRecord]) -> int:
        """Take records for writing, as many as there is space for.

        :returns: how many were refused.
        """
        refused = max(0, len(records) - (self._bound - self.waiting))
        if refused:
            self._done_at_refusal = self._done
        taken = records[: len(records) - refused]
        self._given += len(taken)
        self._order(functools.partial(self._write, taken))
        return refused

    def reopen(self) -> None:
        """Open the file anew after all that was given before, and before all that comes later."""
        self._order(functools.partial(self._try, self._file.reopen))

    def finish(self) -> None:
        """End the thread after all that was given."""
        self._order(None)

    def give_up(self) -> None:
        """Let the thread drop what it cannot write at once."""
        self._file.give_up()

    def close(self) -> None:
        """Wait for the thread, which has reported its end, and close the file."""
        self._thread.join()
        self._file.close()

    def _order(self, order: Callable[[], None] | None) -> None:
        self._orders.put(order)
        if not self._started:
            self._started = True
            self._thread.start()

    def _run(self) -> None:
        for order in iter(self._orders.get, None):
            order()
        self._on_end()

    def _write(self, records: list[SessionRecord]) -> None:
        for start in range(0, len(records), _BATCH):
            batch = records[start : start + _BATCH]
            self._try(functools.partial(self._write_batch, batch), len(batch))
            self._done += len(batch)

    def _write_batch(self, batch: list[SessionRecord]) -> None:
        if self._file.vanished():
            self._file.reopen()
            self._on_trouble("it was deleted and has been created anew", 0)
        lines = [self._line(record) for record in batch]
        self._file.write("".join([f"{line}\n" for line in lines if line]).encode("ascii"))

    def _try(self, work: Callable[[], None], records: int = 0) -> None:
        """Do something, and report what goes wrong.

        :param records: how many are lost where the work does not say how many it has written.
        """
        try:
            work()
        except LinesLostError as error:
            self._on_trouble(str(error), error.lines)
        except AccessLogError as error:
            self._on_trouble(error.what, records)
        except Exception as error:
            # Whatever else went wrong costs these records, never the thread.
            self._on_trouble(str(error) or repr(error), records)
