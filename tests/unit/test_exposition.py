"""Metrics as Prometheus reads them, held to the parsers of prometheus-client."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families

from tcpbalance.control.exposition import (
    Metric,
    expose,
    label_end,
    label_text,
    wants_openmetrics,
)

LABELS = st.dictionaries(st.sampled_from(["pool", "backend", "state"]), st.text(max_size=8), max_size=2).map(
    lambda labels: dict(sorted(labels.items()))
)
"""In one order: the same labels in another one are the same sample."""


def samples_of(samples: list[tuple[dict[str, str], int]]) -> Callable[[str], Iterator[str]]:
    """Give what gives their lines."""

    def lines(name: str) -> Iterator[str]:
        for labels, value in samples:
            yield f"{name}{label_text(labels)} {value}\n"

    return lines


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
    metric = Metric("a_name", kind, words, samples_of(samples))  # type: ignore[arg-type]
    (family,) = text_string_to_metric_families(text_of([metric], openmetrics=False))
    assert (family.name, family.type) == ("a_name", kind)
    assert [(sample.labels, sample.value) for sample in family.samples] == samples


@given(st.lists(st.tuples(LABELS, st.integers(0, 1 << 53)), max_size=4, unique_by=lambda it: str(it[0])))
def test_openmetrics_reads_what_is_written(samples: list[tuple[dict[str, str], int]]) -> None:
    written = samples_of(samples)
    metrics = [Metric("a", "counter", "What it is.", written), Metric("b", "gauge", 'A "b".', written)]
    families = list(openmetrics_parser.text_string_to_metric_families(text_of(metrics, openmetrics=True)))
    assert [(family.name, family.type, family.documentation) for family in families] == [
        ("a", "counter", "What it is."),
        ("b", "gauge", 'A "b".'),
    ]
    for family in families:
        assert [(sample.labels, sample.value) for sample in family.samples] == samples


def test_the_last_label_follows_on_others() -> None:
    begin = label_text({"a": "1"})[:-1]
    assert begin + label_end({"b": 'x"\\\n', "c": "2"}) == label_text({"a": "1", "b": 'x"\\\n', "c": "2"})


def test_metrics_come_in_pieces() -> None:
    metric = Metric("a", "counter", "A.", lambda name: (f"{name} {number}\n" for number in range(3)))
    pieces = list(expose([None, metric, None], openmetrics=False))
    assert pieces == [
        b"",
        b"# HELP a_total A.\n# TYPE a_total counter\n",
        b"a_total 0\n",
        b"a_total 1\n",
        b"a_total 2\n",
        b"",
    ]


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
