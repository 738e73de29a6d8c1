"""The expressions of the Grafana dashboard and the alert rules parse, and ask for what a balancer shows."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import pytest
from prometheus_client.parser import text_string_to_metric_families

from support.admin import LOOPBACK, Admin, Stage
from support.certificates import self_signed
from support.clients import ask
from support.ports import refusing
from support.waiting import until

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
DASHBOARD = DEPLOY / "grafana" / "tcpbalance.json"

ONE_PROCESS = pytest.mark.parametrize("workers", [1], indirect=True)


class Expression(NamedTuple):
    """One of them.

    :ivar text: in PromQL.
    :ivar shown: texts with labels of its results in braces, such as legends.
    """

    text: str
    shown: tuple[str, ...] = ()


Labels: TypeAlias = Mapping[str, Mapping[str, set[str]]]
"""By the name of a metric, the values of each of its labels."""

OF_SCRAPES = {"instance": {""}, "job": {"", "tcpbalance"}}
"""Labels that Prometheus itself gives."""


def of_alerts() -> list[Expression]:
    """Read the rules. A rule begins with its name; its expression is in the same line, or in those below."""
    found = []
    for rule in ALERTS.read_text().split("- alert: ")[1:]:
        text = re.search(r"\n +expr: (?:>\n((?: {10}.*\n)+)|(.*)\n)", rule)
        assert text, rule
        annotations = rule.partition("annotations:")[2]
        found.append(Expression(" ".join((text[1] or text[2]).split()), (annotations,)))
    return found


def of_dashboard(part: Any = None) -> Iterator[Expression]:
    """Find all targets, wherever they are."""
    part = json.loads(DASHBOARD.read_text()) if part is None else part
    if isinstance(part, dict):
        if "expr" in part:
            yield Expression(part["expr"].replace("$__rate_interval", "5m"), (part["legendFormat"],))
        part = list(part.values())
    for each in part if isinstance(part, list) else ():
        yield from of_dashboard(each)


def mistakes(expression: Expression, there: Labels) -> Iterator[str]:
    """Say what an expression asks for that is not there."""
    selectors = re.findall(r"\b(up|tcpbalance_\w+)\b(?:{([^{}]*)})?", expression.text)
    missing = [f"no metric {name}" for name, _ in selectors if name not in there]
    if missing or not selectors:
        yield from missing or ["no metric"]
        return
    in_all = {*OF_SCRAPES, *set.intersection(*({*there[name]} for name, _ in selectors))}
    for name, matchers in selectors:
        yield from _wrong_matchers(name, matchers, {**there[name], **OF_SCRAPES})
    grouped = re.findall(r"\bby *\(([^)]*)\)", expression.text)
    by = {label.strip() for labels in grouped for label in labels.split(",")}
    yield from (f"no label {label} to group by" for label in by - in_all)
    # The bounds of a histogram are used up by its quantile.
    kept = by - ({"le"} if "histogram_quantile" in expression.text else set()) if grouped else in_all
    shown = re.findall(r"{{ *(?:\$labels\.)?(\w+) *}}", " ".join(expression.shown))
    yield from (f"no label {label} to show" for label in shown if label not in kept)


def _wrong_matchers(name: str, matchers: str, labels: Mapping[str, set[str]]) -> Iterator[str]:
    for label, operator, value in re.findall(r'(\w+) *(=~|!~|!=|=) *"([^"]*)"', matchers):
        if label not in labels:
            yield f"{name} has no label {label}"
        elif operator == "=" and value not in labels[label]:
            yield f"{name} has no {label} {value}"


CONFIG = """
[frontends.refusing]
listen = "127.0.0.1:0"
pool = "web"
[frontends.refusing.limits]
connections_per_client = 1
[frontends.site]
listen = "127.0.0.1:0"
mode = "http"
pool = "down"
[frontends.secure]
listen = "127.0.0.1:0"
pool = "web"
[frontends.secure.tls]
certificates = [{{ cert = "{cert}", key = "{key}" }}]
[frontends.to_secure]
listen = "127.0.0.1:0"
pool = "secure"
[pools.down]
backends = ["{down}"]
[pools.secure]
backends = ["{plain}"]
retries = 0
[pools.secure.tls]
verify = false
"""


@pytest.fixture
def there(stage: Stage) -> Iterator[Labels]:
    """What a balancer shows in which something of each kind has happened."""
    cert, key = self_signed(stage.folder, "web.example")
    with refusing() as down:
        tables = CONFIG.format(cert=cert, key=key, down=down, plain=stage.a.address)
        with stage.daemon(LOOPBACK, tables) as daemon:
            admin = Admin(daemon)
            assert ask(daemon.ports["web"]) in (b"a", b"b")
            admin.ask("POST", "/api/v1/bans", {"client": "127.0.0.9", "for": "1h"})
            with suppress(ConnectionError):
                assert ask(daemon.ports["refusing"], source="127.0.0.9") == b""
            with closing(HTTPConnection("127.0.0.1", daemon.ports["site"], timeout=20)) as connection:
                connection.request("GET", "/")
                assert connection.getresponse().status == 502
            ask(daemon.ports["secure"], b"GET / HTTP/1.0\r\n\r\n")  # Without TLS.
            with suppress(ConnectionError):
                assert ask(daemon.ports["to_secure"]) == b""

            until(
                lambda: {*labels_of(admin)} >= HAPPENED,
                lambda: f"samples of {HAPPENED - {*labels_of(admin)}}",
            )
            yield {**labels_of(admin), "up": {}}


HAPPENED = {
    "tcpbalance_frontend_sessions_ended_total",
    "tcpbalance_frontend_requests_ended_total",
    "tcpbalance_frontend_refused_total",
    "tcpbalance_frontend_responses_total",
    "tcpbalance_frontend_tls_handshake_failures_total",
    "tcpbalance_backend_tls_handshake_failures_total",
}
"""Metrics that have samples once something has happened."""


def labels_of(admin: Admin) -> dict[str, dict[str, set[str]]]:
    """Scrape a balancer."""
    connection = admin.connection()
    connection.request("GET", "/metrics")
    found: dict[str, dict[str, set[str]]] = {}
    for family in text_string_to_metric_families(connection.getresponse().read().decode()):
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    return found


@ONE_PROCESS
def test_each_expression_asks_for_what_a_balancer_shows(there: Labels) -> None:
    expressions = [*of_alerts(), *of_dashboard()]
    assert len(expressions) > 20
    wrong = {it.text: list(mistakes(it, there)) for it in expressions}
    assert {text: found for text, found in wrong.items() if found} == {}


@ONE_PROCESS
def test_the_choice_of_balancers_asks_for_what_there_is(there: Labels) -> None:
    variables = json.loads(DASHBOARD.read_text())["templating"]["list"]
    queries = [it["query"] for it in variables if it["type"] == "query"]
    assert queries == ["label_values(tcpbalance_build_info, instance)"]
    assert "tcpbalance_build_info" in there


FRONTEND: Labels = {
    "tcpbalance_frontend_refused_total": {"frontend": {"web"}, "rule": {"banned", "denied"}},
    "tcpbalance_frontend_sessions": {"frontend": {"web"}},
}


@pytest.mark.parametrize(
    ("text", "shown", "found"),
    [
        ("sum by (rule) (rate(tcpbalance_frontend_refused_total[5m]))", "{{rule}}", []),
        ('tcpbalance_frontend_sessions{frontend=~"$x"}', "{{ $labels.frontend }}", []),
        ("tcpbalance_frontend_sesions", "", ["no metric tcpbalance_frontend_sesions"]),
        ("vector(1)", "", ["no metric"]),
        ("sum by (rules) (tcpbalance_frontend_refused_total)", "", ["no label rules to group by"]),
        (
            "sum by (rule) (tcpbalance_frontend_refused_total / tcpbalance_frontend_sessions)",
            "",
            ["no label rule to group by"],
        ),
        ('tcpbalance_frontend_sessions{rule="x"}', "", ["tcpbalance_frontend_sessions has no label rule"]),
        (
            'tcpbalance_frontend_refused_total{rule="ban"}',
            "",
            ["tcpbalance_frontend_refused_total has no rule ban"],
        ),
        (
            "sum by (rule) (tcpbalance_frontend_refused_total)",
            "{{frontend}}",
            ["no label frontend to show"],
        ),
    ],
)
def test_what_is_not_there_is_found(text: str, shown: str, found: list[str]) -> None:
    assert list(mistakes(Expression(text, (shown,)), FRONTEND)) == found


def check_rules(file: Path, expressions: list[Expression]) -> str:
    """Have Prometheus parse expressions, as rules that record their results."""
    rules = [{"record": f"tcpbalance:{n}", "expr": it.text} for n, it in enumerate(expressions)]
    file.write_text(json.dumps({"groups": [{"name": "all", "rules": rules}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", file], capture_output=True, check=False, text=True, timeout=50
    )
    return done.stdout + done.stderr


@pytest.mark.requires("promtool")
def test_prometheus_parses_each_expression(tmp_path: Path) -> None:
    expressions = [*of_alerts(), *of_dashboard()]
    shown = check_rules(tmp_path / "rules.yml", expressions)
    assert f"SUCCESS: {len(expressions)} rules found" in shown, shown
    shown = check_rules(tmp_path / "rules.yml", [*expressions, Expression("sum by frontend (up)")])
    assert "parse error" in shown, shown
