"""The descriptor that is held back: one at most, and none where there was none to be had."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest

from tcpbalance.net.spare_descriptor import SpareDescriptor


@pytest.fixture
def spare() -> Iterator[SpareDescriptor]:
    spare = SpareDescriptor()
    yield spare
    spare.release()


def test_it_is_given_up_once(spare: SpareDescriptor) -> None:
    spare.reserve()
    assert [spare.release(), spare.release()] == [True, False]


def test_where_none_is_to_be_had_none_is_held(
    spare: SpareDescriptor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> NoReturn:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refuse)
        spare.reserve()
    assert not spare.release()
