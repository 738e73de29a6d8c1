"""The wall clock of a process, which a test sets."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path


class WallClock:
    """The wall clock of a process, set by libfaketime: faketime(1), "Advanced time specification options"."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "faketime"
        self._offset = timedelta()
        self.step(timedelta())
        self.environment = {
            "LD_PRELOAD": str(libfaketime()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def step(self, by: timedelta) -> None:
        """Set the clock forward, or back."""
        self._offset += by
        written = self._file.with_suffix(".new")
        written.write_text(f"{self._offset.total_seconds():+.0f}\n")
        written.replace(self._file)

    def shows(self, moment: datetime) -> bool:
        """Tell whether a moment is less than a minute from what the clock shows now."""
        return abs(datetime.now(moment.tzinfo) + self._offset - moment) < timedelta(minutes=1)


def libfaketime() -> Path:
    return next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
