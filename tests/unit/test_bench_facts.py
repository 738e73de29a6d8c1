"""A report says how its Python was built, and how long the machine takes for a system call."""

from __future__ import annotations

import sysconfig

import pytest

pytest.importorskip("bench", reason="bench/ is in the tree, not in the wheel")

from bench import facts

WITH = "built with profile-guided optimisation"
WITHOUT = "built without profile-guided optimisation"


@pytest.mark.parametrize(
    ("options", "flag", "said"),
    [
        ("'--enable-shared' '--enable-optimizations'", "-fprofile-use", WITH),
        ("'--enable-shared'", "-fprofile-use -fprofile-correction", WITHOUT),
        ("'--enable-shared' '--with-dtrace'", "", WITH),
        (None, None, WITHOUT),
    ],
    ids=["asked for", "not asked for", "Debian's", "not known"],
)
def test_how_the_interpreter_was_built(
    monkeypatch: pytest.MonkeyPatch, options: str | None, flag: str | None, said: str
) -> None:
    values = {"CONFIG_ARGS": options, "PGO_PROF_USE_FLAG": flag}
    monkeypatch.setattr(sysconfig, "get_config_var", values.__getitem__)
    assert facts.build() == said


def test_how_long_a_system_call_takes() -> None:
    assert 1e-9 < facts.system_call() < 1e-3
    assert facts.machine()["a system call from Python"].endswith(" ns")
