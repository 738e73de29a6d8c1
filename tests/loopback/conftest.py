"""How the workers of supervisors in the tests' own process come to be."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.forked_nursery import IMPORTED
from support.forker import Forker
from support.process import forking
from support.supervised import SupervisedCase

BY_THE_PROGRAM = {"SupervisorTests"}
"""Classes whose nurseries are run; those of the others are forked, because most of a start are imports."""


@pytest.fixture(scope="session")
def forker() -> Iterator[Forker]:
    """What forks nurseries."""
    with forking(*IMPORTED) as forker:
        yield forker


@pytest.fixture(autouse=True, scope="class")
def forked(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fork the nurseries of a class that need not be run."""
    with pytest.MonkeyPatch.context() as patch:
        case = request.cls
        if case is not None and issubclass(case, SupervisedCase) and case.__name__ not in BY_THE_PROGRAM:
            patch.setattr(case, "forker", request.getfixturevalue("forker"))
        yield
