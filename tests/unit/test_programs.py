"""A missing program skips a test outside CI and fails it in CI, each time with its name."""

from __future__ import annotations

import pytest

from support import programs

NOWHERE = "no-such-program"


def test_a_program_that_is_there_is_found_with_its_folder() -> None:
    (shell,) = programs.require("sh")
    assert shell.endswith("/sh")


def test_outside_ci_a_missing_program_skips_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=NOWHERE):
        programs.require("sh", NOWHERE)


def test_in_ci_a_missing_program_fails_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=NOWHERE):
        programs.require("sh", NOWHERE)
