"""Changes that are refused before what they are is known are lines in the log, too."""

from __future__ import annotations

import re
from typing import Any

import pytest

from support.admin import BACKEND_A, LOOPBACK, Admin, Stage
from support.waiting import until

TOKEN = "0123456789abcdef-full"
JSON_TYPE = {"Content-Type": "application/json"}

pytestmark = pytest.mark.parametrize("workers", [1], indirect=True)


@pytest.mark.parametrize(
    ("status", "content", "headers", "why"),
    [
        (400, {"weight": 300}, {}, "weight must be a whole number from 1 to 256"),
        (400, {"state": "gone"}, {}, "state must be "),
        (415, {"weight": 3}, {"Content-Type": "text/plain"}, "a change needs the header Content-Type: "),
        (403, {"weight": 3}, {"Origin": "http://other.example"}, "a page of another site may not change"),
        (401, {"weight": 3}, {"Authorization": "Bearer 0123456789abcdef-nope"}, "the token is not one of"),
    ],
)
def test_it_says_who_wanted_what_and_why_not(
    stage: Stage, status: int, content: object, headers: dict[str, str], why: str
) -> None:
    (stage.folder / "full").write_text(TOKEN)
    (stage.folder / "full").chmod(0o600)
    with stage.daemon(f'{LOOPBACK}\ntoken_file = "full"') as daemon:
        admin = Admin(daemon, TOKEN)
        assert admin.ask("PATCH", BACKEND_A, content, headers)[0] == status
        daemon.wait_for_log(
            rf"warn\] admin: 127\.0\.0\.1:\d+ PATCH {BACKEND_A}: refused: {re.escape(why)}.*\n"
        )
        assert admin.ask("GET", f"{BACKEND_A}?nope=1")[0] == 400
        assert "0123456789abcdef" not in daemon.log
    assert daemon.log.count("refused: ") == 1


def test_many_at_once_are_few_lines_and_all_are_counted(stage: Stage) -> None:
    with stage.daemon() as daemon:
        admin = Admin(daemon)
        for _ in range(50):
            assert admin.ask("PATCH", BACKEND_A, {"weight": 300})[0] == 400

        def lines() -> list[Any]:
            return re.findall(r"PATCH .*: refused: .*?(?:, (\d+) more before that)?\n", daemon.log)

        until(lambda: sum(int(more or 0) + 1 for more in lines()) == 50, "50 are counted")
        assert len(lines()) < 25


def test_one_that_is_refused_when_it_is_made_has_one_line(stage: Stage) -> None:
    with stage.daemon() as daemon:
        admin = Admin(daemon)
        path = "/api/v1/pools/web/backends/nope"
        assert admin.ask("DELETE", path, headers=JSON_TYPE)[0] == 404
        daemon.wait_for_log(r"removes backend nope of pool web: refused: no backend is named")
    assert daemon.log.count("refused: ") == 1
