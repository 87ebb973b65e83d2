"""Runs another program of this folder, if this Python is new enough to read it.

  begin.py PROGRAM [ARGS...]

Any Python 3 can read this file. The others in this folder use newer syntax, on which an old Python
would fail with a syntax error in the middle of a file.
"""

import os
import runpy
import sys

NEEDED = (3, 9)


def main():
    if sys.version_info < NEEDED:
        found = ".".join(str(part) for part in sys.version_info[:3])
        sys.exit(
            "ordersaga: this is Python " + found + ", and 3.9 or later is needed: install it, "
            "and run `make PYTHON=python3.12 ...` if it has another name"
        )
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    folder = os.path.dirname(os.path.abspath(__file__))
    sys.argv = sys.argv[1:]
    sys.path[0] = folder
    runpy.run_path(os.path.join(folder, sys.argv[0]), run_name="__main__")


main()
