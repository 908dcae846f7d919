"""The commands of `python -m lalm_utils`: run, score, submit, audit, finetune, bench."""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

LARGEST_SEED = 2**32 - 1  # of numpy and torch alike


def positive(text: str) -> int:
    """A whole number of at least 1, as a type of argparse."""
    return _whole(text, 1, 10**9)


def seed_number(text: str) -> int:
    """A whole number that numpy and torch take as a seed, as a type of argparse."""
    return _whole(text, 0, LARGEST_SEED)


def _whole(text: str, low: int, high: int) -> int:
    plain = text.strip()
    value = int(plain) if plain.isascii() and plain.isdecimal() and len(plain) < 20 else -1
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no whole number of at least {low} and at most {high:,}; give another, such as 8"
        )
    return value


def server_option(text: str) -> tuple[str, Any]:
    """NAME=JSON as a type of argparse; what is no JSON is a text."""
    name, equals, value = text.partition("=")
    if not name.strip() or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=JSON, as in concurrency=16")
    try:
        return name.strip(), json.loads(value)
    except ValueError:
        return name.strip(), value


ARGUMENTS: dict[str, dict[str, Any]] = {  # that several commands have
    "--model": {"required": True, "help": "mini, a folder, a hub id, or openai:ADDRESS#MODEL of a server"},
    "--server-option": {"type": server_option, "action": "append", "default": [], "metavar": "NAME=JSON",
                        "help": "an option of ApiModel, for a server's model: revision=v2, audio_part=audio_url, "
                                "extra={\"top_k\": -1}, ...; may be repeated"},
    "--benchmark": {"required": True, "metavar": "PATH",
                    "help": "mini, or the path of MMAU, MMAR, MMAU-Pro, SAKURA, SH-Bench, AQUA-Bench or DCASE 2026 "
                            "task 5"},
    "--split": {"help": "a split of the benchmark, as benchmarks.load knows them"},
    "--store": {"type": Path, "metavar": "FILE", "help": "where replies are kept (default: the notebooks')"},
    "--max-new-tokens": {"type": positive, "metavar": "TOKENS",
                         "help": "the limit of a reply (default: the method's own, 32, or 128 in steps); a model that "
                                 "thinks before it answers needs some hundreds"},
    "--json": {"type": Path, "metavar": "FILE", "help": "also write the results there, as JSON"},
    "--dtype": {"help": "auto, float32, bfloat16 or float16"},
    "--device": {"help": "auto, cpu, cuda, cuda:1, ... (default: auto; several processes: a GPU each)"},
    "--wait": {"type": float, "default": 60.0, "metavar": "MINUTES",
               "help": "how long processes wait for each other, at the start and at the end (default: 60)"},
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser, *names: str) -> None:
    """Add these of `ARGUMENTS`."""
    for name in names:
        parser.add_argument(name, **ARGUMENTS[name])


def write_json(path: Path, value: Any) -> None:
    """Write a value without NaN or infinite numbers, which are no JSON: ValueError for these."""
    path.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def finite(value: Any) -> Any:
    """The value; None, as JSON has it, for a number that is not finite."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def refuse(reason: object, code: int = 2) -> int:
    """Say why a command ends, on the error stream; its exit code."""
    print(f"error: {reason}", file=sys.stderr)
    return code
