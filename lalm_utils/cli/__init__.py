"""The commands of `python -m lalm_utils`: run, score, audit, finetune, bench."""

from __future__ import annotations

import sys


def refuse(reason: object, code: int = 2) -> int:
    """Say why a command ends, on the error stream; its exit code."""
    print(f"error: {reason}", file=sys.stderr)
    return code
