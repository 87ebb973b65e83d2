"""What the launcher says to the person at the terminal, and how it fails."""

from __future__ import annotations

import sys
from contextlib import suppress


class Problem(Exception):
    """Something the person can put right: its text is one line that says what to do next."""


class Stopped(Exception):
    """A signal asked the launcher to end."""

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by signal {number}")
        self.number = number


def say(text: str) -> None:
    """One line of progress.

    It goes to the error stream, because the output belongs to the launched command.
    """
    # Whoever read this may be gone (`… | tee`), and what was started must be ended all the same.
    with suppress(BrokenPipeError):
        print(f"ordersaga: {text}", file=sys.stderr, flush=True)
