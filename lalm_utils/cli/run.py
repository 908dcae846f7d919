"""The command `python -m lalm_utils run`: ask a model about a benchmark, on one process or on many.

In: a model, a benchmark, methods. Out: a folder of tables and predictions (run_files.py), the replies in the
store. `jobs` asks and `distributed` shares the work out; this module reads the command line and says what went wrong.

    python -m lalm_utils run --model mini --benchmark mini --methods plain idk
    torchrun --nproc-per-node 8 -m lalm_utils run --model Qwen/Qwen2-Audio-7B-Instruct --benchmark mmau.json
    accelerate launch --num_processes 8 -m lalm_utils run ...        # the same

Each process has a GPU of its own. On several hosts `--store` lies in a folder that all share. In float32 the
replies are those of one process; in bfloat16 near-ties can flip with the make-up of a batch, and so with the
number of processes.
"""

from __future__ import annotations

import argparse
import re
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from lalm_utils import audit, benchmarks, option_order, prompts, releases, runs
from lalm_utils.cache import cache_dir
from lalm_utils.cli import distributed, refuse, run_files
from lalm_utils.cli.distributed import Group, RankError
from lalm_utils.cli.jobs import Job
from lalm_utils.cli.run_files import FolderError
from lalm_utils.items import BenchmarkError, Item
from lalm_utils.load_model import load_model
from lalm_utils.models import ModelError
from lalm_utils.outcomes import OutcomeError
from lalm_utils.store import Store, StoreError

METHODS = tuple(prompts.QUESTIONS)
OPTIONS = ("batch_size", "dtype", "device")
FAULTS = (BenchmarkError, FolderError, ModelError, OutcomeError, StoreError, OSError, sqlite3.Error)


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add `run` to the subcommands of `python -m lalm_utils`."""
    parser = commands.add_parser(
        "run",
        help="ask a model about a benchmark, by several methods",
        description="Ask a model each question of a benchmark by each method; write tables and predictions. "
        "Replies are stored as they come, so the same command goes on where it was stopped. On several "
        "processes: torchrun --nproc-per-node N -m lalm_utils run ..., or accelerate launch -m lalm_utils run ...",
    )
    add = parser.add_argument
    add("--model", required=True, help="mini, a folder, or a hub id")
    add("--benchmark", required=True, metavar="PATH", help="mini, or the path of MMAU, MMAR or SAKURA")
    add("--split", help="a split of the benchmark, as benchmarks.load knows them")
    add("--methods", nargs="+", choices=METHODS, default=["plain", "idk"], metavar="METHOD",
        help=f"from {', '.join(METHODS)} (default: plain idk)")  # fmt: skip
    add("--n", type=int, help="ask a sample of so many items, balanced over modalities (default: all)")
    add("--seed", type=int, default=0, help="of that sample (default: 0)")
    add("--option-order", type=int, metavar="SEED",
        help="rotate options, so that right ones stand at all places alike (default: the file's order)")  # fmt: skip
    add("--no-audio", dest="audio", action="store_false",
        help="ask the questions alone, without their clips: what can be guessed (see `audit --text-only`)")  # fmt: skip
    add("--no-check", dest="check", action="store_false",
        help="do not make sure that the model hears; for servers that think for over 32 tokens")  # fmt: skip
    add("--store", type=Path, metavar="FILE", help="where replies are kept (default: the notebooks' store)")
    add("--out", type=Path, metavar="DIR", help="where results go (default: out/MODEL-BENCHMARK)")
    add("--batch-size", type=int, metavar="B", help="prompts that a model reads at once")
    add("--dtype", help="auto, float32, bfloat16 or float16")
    add("--device", help="auto, cpu, cuda, cuda:1, ... (default: auto; several processes: a GPU each)")
    add("--wait", type=float, default=60.0, metavar="MINUTES",
        help="how long processes wait for each other, at the start and at the end (default: 60)")  # fmt: skip
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Ask, write, print. Returns the exit code: 0; 1 if replies failed or a process was lost; 2 with a reason if
    the input is at fault; 130 if stopped by hand. Replies that have come are stored in every case."""
    try:
        group = distributed.join(args.wait * 60)
        try:
            return _run(args, group)
        finally:
            group.leave()
    except FAULTS as error:
        return refuse(error)
    except RankError as error:
        return refuse(error, 1)
    except KeyboardInterrupt:
        return refuse("stopped; replies so far are stored, and the same command goes on from there", 130)


def _run(args: argparse.Namespace, group: Group) -> int:
    """Ask, each rank its share; rank 0 writes the results and prints."""
    out, started = args.out or _default_out(args), datetime.now(UTC)
    store = args.store or cache_dir() / "replies.sqlite"
    if group.rank == 0:
        run_files.check_writable(out)
    job, items = _job(args, group)
    earlier, identity = group.broadcast(lambda: _earlier(out, job))
    asked = distributed.run_together(job, store, group)
    if group.rank > 0:
        return 0
    with Store(store, progress=False) as opened:
        tables = {
            name: option_order.in_order_of(items, table, job.items)
            for name, table in job.tables(opened).items()
        }
    made = {method: _about(method, table, items, asked[method]) for method, table in tables.items()}
    audited = audit.table(audit.facts(items))
    facts = {
        "format": run_files.FORMAT,
        "identity": identity,
        "model": job.model.description | {"name": job.model.name, "fingerprint": job.model.fingerprint},
        "benchmark": _benchmark(args, items) | {"sha256": identity["benchmark"]},
        "audit": run_files.overall(audited),
        "methods": earlier.get("methods", {}) | made,
        "seed": args.seed,
        "option_order": args.option_order,
        "audio": args.audio,
        "processes": group.world_size,
        "started": started.isoformat(timespec="seconds"),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": run_files.versions(),
    }
    run_files.write(out, job.items, tables, facts)
    print(f"benchmark: {facts['benchmark']['release']}\naudit: {audit.summary(audited)}")
    print(_report(out, made))
    return 1 if any(about["outcomes"]["failed"] for about in made.values()) else 0


def _earlier(out: Path, job: Job) -> tuple[dict[str, Any], dict[str, Any]]:
    """The facts of an earlier part of this run, and what makes it the same run. FolderError if `out` is another's."""
    identity = run_files.identity(job.model.fingerprint, job.items, job.seed, audio=job.audio)
    return run_files.check_same(out, identity, job.methods), identity


def _job(args: argparse.Namespace, group: Group) -> tuple[Job, list[Item]]:
    """The job, and its items as the benchmark orders their options."""
    chosen = {"split": args.split, "n": args.n, "seed": args.seed, "need_clips": args.audio}
    items = benchmarks.load(args.benchmark, **chosen)
    model, order = load_model(args.model, **options(args, group)), args.option_order
    asked = items if order is None else option_order.reordered(items, seed=order)
    methods = tuple(dict.fromkeys(args.methods))
    return Job(model=model, items=asked, methods=methods, seed=args.seed, audio=args.audio), items


def options(args: argparse.Namespace, group: Group) -> dict[str, Any]:
    """Options of `load_model`: what was given, and a GPU for each of several processes."""
    given = {name: getattr(args, name, None) for name in OPTIONS}
    options = {name: value for name, value in given.items() if value is not None}
    if not getattr(args, "check", True):
        options["check"] = False
    if (
        group.world_size > 1 and "device" not in options and "://" not in args.model
    ):  # a server has its own devices
        import torch

        if torch.cuda.is_available():
            # the remainder, because some launchers show each process one GPU only
            options["device"] = f"cuda:{group.local_rank % torch.cuda.device_count()}"
    return options


def _default_out(args: argparse.Namespace) -> Path:
    benchmark = args.benchmark if args.benchmark == "mini" else Path(args.benchmark).resolve().stem
    name = f"{args.model.rstrip('/')}-{benchmark}{'' if args.audio else '-no-audio'}"
    return Path("out") / re.sub(r"[^\w.-]+", "_", name).strip("_.")


def _benchmark(args: argparse.Namespace, items: Sequence[Item]) -> dict[str, Any]:
    release = releases.identify(items)
    return {
        "source": args.benchmark,
        "name": items[0].benchmark,
        "release": release.name,
        "content": release.sha256,  # questions, options and answers; "sha256" covers the clips as well
        "splits": sorted({item.split for item in items}),
        "items": len(items),
        "sampled": args.n,
    }


def _about(method: str, table: pd.DataFrame, items: Sequence[Item], asked: int) -> dict[str, Any]:
    """What run.json says of one method."""
    graded = table[[not run_files.withheld(item) for item in items]]
    names = dict(zip(("table", "predictions"), run_files.files_of(method)))
    lost = table.loc[table["outcome"] == "failed", "item"].tolist()
    return names | {
        "instruction": prompts.QUESTIONS[method],
        "max_new_tokens": runs.MAX_NEW_TOKENS[method],
        "replies": len(table),
        "asked_in_this_run": asked,
        "withheld": len(table) - len(graded),
        "outcomes": run_files.counts(graded),
        "clips": run_files.cut(graded),
        "failed": lost,
    }


def _report(out: Path, made: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        {"method": method, "replies": about["replies"], "asked": about["asked_in_this_run"]}
        | ({"withheld": about["withheld"]} if about["withheld"] else {})
        | about["outcomes"]
        | (about["clips"] if any(about["clips"]["cut"] for about in made.values()) else {})
        for method, about in made.items()
    ]
    table = pd.DataFrame(rows).to_string(index=False)
    lines = [table, f"written to {out}: run.json, and per method .csv and .jsonl"]
    lost = sum(len(about["failed"]) for about in made.values())
    if lost:
        lines.append(f"{lost} replies failed; the tables say why, and the same command asks for them again")
    first, *others = (out / about["predictions"] for about in made.values())
    compare = f" {others[0]} --before" if others else ""
    return "\n".join([*lines, f"metrics: python -m lalm_utils score{compare} {first}"])
