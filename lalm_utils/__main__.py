"""Command line: `python -m lalm_utils COMMAND`, or `lalm COMMAND`.

A command lives in its own module, whose `add_command(commands)` adds a parser that sets `run(args) -> exit code` and
`faults`, further exceptions by which it refuses its input.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path

from lalm_utils.cli import audit, bench, finetune, refuse, run, score, submissions
from lalm_utils.cli.distributed import RankError
from lalm_utils.cli.run_files import FolderError
from lalm_utils.items import BenchmarkError
from lalm_utils.models import ModelError
from lalm_utils.outcomes import OutcomeError
from lalm_utils.store import StoreError

COMMANDS = (run, score, submissions, audit, finetune, bench)
FAULTS = (BenchmarkError, FolderError, ModelError, OutcomeError, StoreError, OSError, sqlite3.Error)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 if it did its work; 1 if a part of it failed, such as a lost process
    or reply; 2, with a reason, if its input is at fault; 130 if it was stopped by hand."""
    for stream in (sys.stdout, sys.stderr):
        # Ids and replies may hold characters that a terminal's encoding lacks.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    parser = argparse.ArgumentParser(
        prog="lalm" if Path(sys.argv[0]).stem == "lalm" else "python -m lalm_utils",
        description="Ask models, score replies made elsewhere, write official submissions, audit a benchmark, teach "
        "models to refuse, and measure a machine's speed.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in COMMANDS:
        module.add_command(commands)
    args = parser.parse_args(argv)
    try:
        code = args.run(args)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader, such as `head`, has had enough; the interpreter must not flush to it again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141  # 128 + SIGPIPE, as of any other command
    except RankError as error:
        return refuse(error, 1)
    except (*FAULTS, *args.faults) as error:
        return refuse(error)
    except KeyboardInterrupt:
        return refuse("stopped; what is stored so far is kept, and the same command goes on from there", 130)
    return code


if __name__ == "__main__":
    sys.exit(main())
