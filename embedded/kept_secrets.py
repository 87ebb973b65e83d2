"""Secrets that are made once, and kept for their owner alone."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Sequence
from pathlib import Path


def kept_secrets(kept: Path, names: Sequence[str]) -> dict[str, str]:
    """A secret for each name, the same at every start; one that is new is made and kept."""
    known: dict[str, str] = json.loads(kept.read_text()) if kept.exists() else {}
    if missing := [name for name in names if name not in known]:
        known |= {name: secrets.token_hex(16) for name in missing}
        partial = kept.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(known, file)
        partial.replace(kept)
    return known
