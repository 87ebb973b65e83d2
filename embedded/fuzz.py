#!/usr/bin/env python3
"""Asks a running starter all that its own description allows, and much that it does not.

  fuzz.py [CASES]    so many requests for each operation at most (default 40)

`stack.py fuzz` starts the whole shop for it. The description itself must be valid OpenAPI. No
answer may be a fault (5xx), and none may have a status, a type or a shape that the description
does not have: asked as the shop, as its bookkeeper, and by nobody. Ends with 1 if one does. The
tools are fetched once into a folder beside the other wheels.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.request import Request, urlopen

from account import account_for
from console import Problem, say
from fetch import cache_folder, one_at_a_time
from processes import Signals

FUZZER = "schemathesis==4.32.5"
VALIDATOR = "openapi-spec-validator==0.9.0"
CASES = 40
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_headers_conformance,response_schema_conformance,unsupported_method"
)
# What they say depends on the state of the machine, not on what is asked.
LEFT_OUT = ("/ready", "/metrics")
CALLERS = {"shop": "ORDERSAGA_CLIENT_SECRET", "books": "ORDERSAGA_FINANCE_SECRET"}


def tools(signals: Signals) -> Path:
    """The folder that holds the tools, fetched if it is not there."""
    cache = cache_folder(os.environ, account_for(Path.cwd()))
    folder = cache / FUZZER.replace("==", "-")
    with one_at_a_time(cache, signals):
        if not folder.exists():
            say(f"fetching {FUZZER} and {VALIDATOR} into {cache}, once")
            with tempfile.TemporaryDirectory(dir=cache, prefix="fetching-") as scratch:
                fetched = Path(scratch, "tools")
                pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
                wanted = ["install", "--target", str(fetched), FUZZER, VALIDATOR]
                if subprocess.run([*pip, *wanted], stdout=sys.stderr.fileno()).returncode != 0:
                    raise Problem(f"cannot fetch {FUZZER}: pip's message above says why")
                fetched.rename(folder)
    return folder


def run_tool(folder: Path, name: str, arguments: list[str]) -> int:
    env = {**os.environ, "PYTHONPATH": str(folder)}
    with tempfile.TemporaryDirectory() as scratch:
        program = [sys.executable, str(folder / "bin" / name), *arguments]
        return subprocess.run(program, env=env, cwd=scratch).returncode


def token(url: str, client: str) -> str:
    secret = os.environ[CALLERS[client]]
    login = base64.b64encode(f"{client}:{secret}".encode()).decode()
    form = b"grant_type=client_credentials"
    request = Request(f"{url}/oauth/token", form, {"Authorization": f"Basic {login}"})
    with urlopen(request, timeout=10) as answer:
        return str(json.load(answer)["access_token"])


def is_valid(folder: Path, url: str) -> bool:
    with tempfile.NamedTemporaryFile(suffix=".json") as description:
        with urlopen(f"{url}/openapi.json", timeout=10) as answer:
            shutil.copyfileobj(answer, description)
        description.flush()
        return run_tool(folder, "openapi-spec-validator", [description.name]) == 0


def stands(folder: Path, url: str, cases: int, headers: list[str]) -> bool:
    left_out = [part for path in LEFT_OUT for part in ("--exclude-path", path)]
    arguments = [
        *("run", f"{url}/openapi.json", "--url", url, "--checks", CHECKS),
        *("--phases", "examples,coverage,fuzzing", "--max-examples", str(cases)),
        # One at a time: CPython 3.11 cannot parse lambdas in two threads at once.
        *("--seed", "1", "--workers", "1", "--request-timeout", "20", "--continue-on-failure"),
        *("--no-color", "--warnings", "off", *left_out),
        *(part for header in headers for part in ("--header", header)),
    ]
    return run_tool(folder, "schemathesis", arguments) == 0


def main(arguments: list[str]) -> int:
    cases = int(arguments[0]) if arguments else CASES
    url = os.environ["ORDERSAGA_URL"]
    folder = tools(Signals())
    if not is_valid(folder, url):
        return 1
    all_well = True
    for client in CALLERS:
        say(f"asking as {client}")
        header = f"Authorization: Bearer {token(url, client)}"
        all_well &= stands(folder, url, cases, [header])
    say("asking as nobody")
    all_well &= stands(folder, url, max(1, cases // 4), [])
    return 0 if all_well else 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (Problem, OSError) as problem:
        say(str(problem))
        sys.exit(1)
