"""The launcher's messages to the person at the terminal, and its errors."""

from __future__ import annotations

import sys
from contextlib import suppress


class Problem(Exception):
    """An error that the person can fix: its text is one line that says what to do next."""


class Stopped(Exception):
    """The launcher was terminated by a signal."""

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by signal {number}")
        self.number = number


def say(text: str) -> None:
    """Prints one line of progress.

    It goes to standard error, because standard output belongs to the launched command.
    """
    # The reader may be gone (`… | tee`), and the started services must be stopped all the same.
    with suppress(BrokenPipeError):
        print(f"ordersaga: {text}", file=sys.stderr, flush=True)
