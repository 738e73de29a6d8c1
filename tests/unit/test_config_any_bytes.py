"""Whatever a file contains, loading it gives a configuration or a list of problems, never another error."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.configs import EVERYTHING, POLICIES, PROBES, SMALLEST
from support.toml_writer import TomlWriter
from tcpbalance.config.errors import ConfigError
from tcpbalance.config.loader import load
from tcpbalance.config.models import Config

VALID = (SMALLEST, EVERYTHING, SMALLEST + '[pools.db.health]\ncheck = "full"\ntext = "x"\nargv = ["a"]\n')
PIECES = st.one_of(
    st.sampled_from(
        [
            "[",
            "]",
            "{",
            "}",
            '"',
            "'",
            '"""',
            "=",
            ".",
            ",",
            "\n",
            "#",
            "\\",
            "-",
            "true",
            "1",
            "0",
            "nan",
            "[[",
            "x",
        ]
    ),
    st.text(max_size=3),
)
EDITS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 12), PIECES), min_size=1, max_size=4)

# Values of every type below the names of real keys, so that each reader meets what it was not made for.
NAMES = """
    frontends pools access_log data_path shutdown_grace web db listen pool socket backlog backends address
    name weight backup balance bounded_load affinity health check text argv port nested path format 0
    accept_proxy_protocol preread_timeout sni_routes names send_proxy_protocol pass_tlvs access
    allow deny deny_file dry_run limits connections connect_rate_per_client burst_per_client ban_after ban_for
    bandwidth_per_connection min_rate mode http head_size forwarded trust send routes hosts paths methods
    headers redirect to status answer file strip_prefix request_headers set remove response_timeout upgrade
    stall_timeout error_pages 404 502-504 idle retry_on
"""
KEYS = st.sampled_from(NAMES.split())
SCALARS = st.one_of(
    st.sampled_from(
        [
            "db",
            "web",
            "0.0.0.0:1",
            "unix:a",
            "source_hash",
            "full",
            "1s",
            "1KiB",
            "",
            "\0",
            "-",
            "10.0.0.0/8",
            "*.a.b",
            "v2",
            "ssl",
            "5/m",
            "5KiB/s",
            "http",
            "/api/*",
            "GET",
            "X-Env",
            "https://{host}{target}",
            "a.html",
            "x-forwarded",
        ]
    ),
    st.sampled_from(["10.0.0.0/8", "*.a.b", "v2", "ssl"]),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.dates(),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=5)),
    max_leaves=20,
)

# One folder for all examples; each writes its file anew.
shared_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def outcome(folder: Path, content: bytes) -> Config | ConfigError:
    """Load a file with this content, and look at what is said of it."""
    file = folder / "any.toml"
    file.write_bytes(content)
    try:
        return load(file, policies=POLICIES, probes=PROBES)
    except ConfigError as error:
        check(error, str(file), content.count(b"\n") + 1)
        return error


def check(error: ConfigError, file: str, last: int) -> None:
    """See that every problem is one printable line of bounded length, on a line that there is."""
    assert error.problems
    lines = [problem.line for problem in error.problems]
    assert lines == sorted(lines)
    for problem in error.problems:
        assert 1 <= problem.line <= last
        assert str(problem).startswith(f"{file}:{problem.line}: ")
        assert str(problem).isprintable()
        assert len(str(problem)) < len(file) + 1500


@shared_folder
@given(content=st.binary(max_size=200))
def test_random_bytes(tmp_path: Path, content: bytes) -> None:
    assert isinstance(outcome(tmp_path, content), ConfigError)


@shared_folder
@given(content=st.text(max_size=200))
def test_random_text(tmp_path: Path, content: str) -> None:
    assert isinstance(outcome(tmp_path, content.encode("utf-8", "surrogatepass")), ConfigError)


@pytest.mark.parametrize("text", VALID, ids=["smallest", "everything", "probe"])
@shared_folder
@given(edits=EDITS)
def test_a_configuration_with_slips(tmp_path: Path, text: str, edits: list[tuple[float, int, str]]) -> None:
    for place, length, piece in edits:
        start = int(place * len(text))
        text = text[:start] + piece + text[start + length :]
    outcome(tmp_path, text.encode("utf-8", "surrogatepass"))


@shared_folder
@given(document=st.dictionaries(KEYS, VALUES, max_size=5), seed=st.integers())
def test_anything_below_real_keys(tmp_path: Path, document: dict[str, Any], seed: int) -> None:
    writer = TomlWriter(random.Random(seed))
    writer.document(document)
    outcome(tmp_path, writer.text.encode())
