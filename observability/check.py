#!/usr/bin/env python3
"""Checks the alert rules for Prometheus, and the dashboard for Prometheus and Grafana.

A test that runs the programs checks that the series exist (cli/tests/cli/metrics.rs).
embedded/contracts.py fetches the required packages. Exits with 1 if anything is wrong.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import promql_parser
import yaml

HERE = Path(__file__).resolve().parent

FIELDS = {"alert", "expr", "for", "labels", "annotations"}
SEVERITIES = ("page", "ticket")
DURATION = re.compile(r"[1-9][0-9]*[smhd]")
SUMMARY_MAX = 120


def not_promql(expr: str) -> str | None:
    """The syntax error in an expression, if any. Grafana replaces `$__rate_interval`."""
    try:
        promql_parser.parse(expr.replace("$__rate_interval", "1m"))
    except ValueError as error:
        return f"{expr}: {error}"
    return None


def wrong_with_rule(rule: dict) -> Iterator[str]:
    if unknown := rule.keys() - FIELDS:
        yield f"unknown fields: {', '.join(sorted(unknown))}"
    if problem := not_promql(rule["expr"]):
        yield problem
    if "for" in rule and not DURATION.fullmatch(rule["for"]):
        yield f"for: {rule['for']} is not a duration"
    if rule.get("labels", {}).get("severity") not in SEVERITIES:
        yield f"its severity is none of {', '.join(SEVERITIES)}"
    annotations = rule.get("annotations", {})
    if not 0 < len(annotations.get("summary", "")) <= SUMMARY_MAX:
        yield f"it needs a summary of at most {SUMMARY_MAX} characters"
    if not annotations.get("description"):
        yield "it needs a description that says what to do"


def wrong_with_alerts(text: str) -> Iterator[str]:
    names: set[str] = set()
    for group in yaml.safe_load(text)["groups"]:
        for rule in group["rules"]:
            name = rule["alert"]
            if name in names:
                yield f"{name} is there twice"
            names.add(name)
            yield from (f"{name}: {problem}" for problem in wrong_with_rule(rule))


def wrong_with_dashboard(text: str) -> Iterator[str]:
    panels = json.loads(text)["panels"]
    ids = [panel["id"] for panel in panels]
    if len(ids) != len(set(ids)):
        yield "two panels have the same id"
    for panel in panels:
        for target in panel.get("targets", []):
            if problem := not_promql(target["expr"]):
                yield f"{panel['title']}: {problem}"


def main() -> int:
    problems = [
        *wrong_with_alerts((HERE / "alerts.yaml").read_text(encoding="utf-8")),
        *wrong_with_dashboard((HERE / "dashboard.json").read_text(encoding="utf-8")),
    ]
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
