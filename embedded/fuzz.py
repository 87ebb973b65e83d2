#!/usr/bin/env python3
"""Fuzzes a running starter with requests inside and outside of its OpenAPI description.

  fuzz.py [CASES]    the maximum number of requests for each operation (default 40)

`stack.py fuzz` starts the whole system for it. No answer may be a 5xx, or have a status, a content
type or a schema that the description does not contain: as the shop, as its operator, as its
bookkeeper, and without authentication. Exits with 1 on any violation.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import tempfile
from pathlib import Path
from urllib.request import Request, urlopen

from console import Problem, say
from tools import Tools

FUZZER = "schemathesis==4.32.5"
CASES = 40
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_headers_conformance,response_schema_conformance,unsupported_method"
)
# Their answers depend on the state of the machine, not on the request.
LEFT_OUT = ("/ready", "/metrics")
CALLERS = {
    "shop": "ORDERSAGA_CLIENT_SECRET",
    "books": "ORDERSAGA_FINANCE_SECRET",
    "operator": "ORDERSAGA_OPERATOR_SECRET",
}


def token(url: str, client: str) -> str:
    secret = os.environ[CALLERS[client]]
    login = base64.b64encode(f"{client}:{secret}".encode()).decode()
    form = b"grant_type=client_credentials"
    request = Request(f"{url}/oauth/token", form, {"Authorization": f"Basic {login}"})
    with urlopen(request, timeout=60) as answer:
        return str(json.load(answer)["access_token"])


def stands(tools: Tools, url: str, cases: int, headers: list[str]) -> bool:
    left_out = [part for path in LEFT_OUT for part in ("--exclude-path", path)]
    arguments = [
        *("run", f"{url}/openapi.json", "--url", url, "--checks", CHECKS),
        *("--phases", "examples,coverage,fuzzing", "--max-examples", str(cases)),
        # One at a time: CPython 3.11 cannot parse lambdas in two threads at once.
        *("--seed", "1", "--workers", "1", "--request-timeout", "60", "--continue-on-failure"),
        *("--no-color", "--warnings", "off", *left_out),
        *(part for header in headers for part in ("--header", header)),
    ]
    # It writes its own files to the working directory.
    with tempfile.TemporaryDirectory() as scratch:
        return tools.passes([*tools.script("schemathesis"), *arguments], Path(scratch))


def main(arguments: list[str]) -> int:
    cases = int(arguments[0]) if arguments else CASES
    url = os.environ["ORDERSAGA_URL"]
    tools = Tools(FUZZER)
    all_well = True
    for client in CALLERS:
        say(f"asking as {client}")
        header = f"Authorization: Bearer {token(url, client)}"
        all_well &= stands(tools, url, cases, [header])
    say("asking as nobody")
    all_well &= stands(tools, url, max(1, cases // 4), [])
    return 0 if all_well else 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (Problem, OSError) as problem:
        say(str(problem))
        sys.exit(1)
