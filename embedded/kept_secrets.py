"""Secrets that are generated once, and readable by their owner only."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Sequence
from pathlib import Path


def kept_secrets(kept: Path, names: Sequence[str]) -> dict[str, str]:
    """Returns a secret for each name, the same at every start; generates and stores missing ones.
    """
    known: dict[str, str] = json.loads(kept.read_text()) if kept.exists() else {}
    if missing := [name for name in names if name not in known]:
        known |= {name: secrets.token_hex(16) for name in missing}
        partial = kept.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(known, file)
        partial.replace(kept)
    return known
