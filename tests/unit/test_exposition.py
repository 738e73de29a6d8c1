"""Metrics as Prometheus reads them, held to the parsers of prometheus-client."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families

from tcpbalance.control.exposition import (
    LINES_A_PIECE,
    Metric,
    expose,
    label_text,
    wants_openmetrics,
    with_label,
)

LABELS = st.dictionaries(st.sampled_from(["pool", "backend", "state"]), st.text(max_size=8), max_size=2)


def text_of(metrics: list[Metric], *, openmetrics: bool) -> str:
    return b"".join(expose(metrics, openmetrics=openmetrics)).decode()


@given(
    st.sampled_from(["counter", "gauge"]),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20),
    st.lists(st.tuples(LABELS, st.integers(0, 1 << 53)), max_size=4, unique_by=lambda it: str(it[0])),
)
def test_prometheus_reads_what_is_written(
    kind: str, words: str, samples: list[tuple[dict[str, str], int]]
) -> None:
    metric = Metric("a_name", kind, words, [(label_text(labels), value) for labels, value in samples])  # type: ignore[arg-type]
    (family,) = text_string_to_metric_families(text_of([metric], openmetrics=False))
    assert (family.name, family.type) == ("a_name", kind)
    assert [(sample.labels, sample.value) for sample in family.samples] == samples


@given(st.lists(st.tuples(LABELS, st.integers(0, 1 << 53)), max_size=4, unique_by=lambda it: str(it[0])))
def test_openmetrics_reads_what_is_written(samples: list[tuple[dict[str, str], int]]) -> None:
    written = [(label_text(labels), value) for labels, value in samples]
    metrics = [Metric("a", "counter", "What it is.", written), Metric("b", "gauge", 'A "b".', written)]
    families = list(openmetrics_parser.text_string_to_metric_families(text_of(metrics, openmetrics=True)))
    assert [(family.name, family.type, family.documentation) for family in families] == [
        ("a", "counter", "What it is."),
        ("b", "gauge", 'A "b".'),
    ]
    for family in families:
        assert [(sample.labels, sample.value) for sample in family.samples] == samples


def test_a_label_is_added_to_others() -> None:
    assert with_label(label_text({"a": "1"}), "b", 'x"\\\n') == label_text({"a": "1", "b": 'x"\\\n'})


def test_a_long_metric_comes_in_pieces() -> None:
    metric = Metric("a", "gauge", "A.", (("", number) for number in range(2 * LINES_A_PIECE)))
    pieces = list(expose([metric], openmetrics=False))
    assert max(piece.count(b"\n") for piece in pieces) == LINES_A_PIECE


def test_what_has_no_sample_is_a_part_of_a_piece_all_the_same() -> None:
    metric = Metric("a", "counter", "A.", (None for _ in range(3 * LINES_A_PIECE)))
    pieces = list(expose([None, metric, None], openmetrics=False))
    assert len(pieces) == 6
    assert b"".join(pieces) == b"# HELP a_total A.\n# TYPE a_total counter\n"


def test_all_of_a_long_metric_comes() -> None:
    metric = Metric("a", "gauge", "A.", (("", number) for number in range(2 * LINES_A_PIECE)))
    pieces = list(expose([metric], openmetrics=False))
    assert b"".join(pieces).count(b"\n") == 2 * LINES_A_PIECE + 2


@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        ("application/openmetrics-text; version=1.0.0", True),
        ("application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", True),
        ("application/openmetrics-text;q=0.2,text/plain;q=0.5", False),
        ("application/openmetrics-text;q=x", True),
        ("application/openmetrics-text;q=0", False),
    ],
)
def test_the_client_chooses_the_format(accept: str, openmetrics: bool) -> None:
    assert wants_openmetrics(accept) is openmetrics
