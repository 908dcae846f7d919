"""The command `python -m lalm_utils run`: ask a model about a benchmark, on one process or on many.

In: a model, a benchmark, methods. Out: a folder of tables and predictions (run_files.py), the replies in the store.

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
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from lalm_utils import benchmarks, outcomes, prompts, releases, runs
from lalm_utils.cache import cache_dir
from lalm_utils.cli import add_arguments, audit, distributed, option_order, positive, run_files, seed_number
from lalm_utils.cli.distributed import Group, Job
from lalm_utils.items import Item
from lalm_utils.load_model import load_model
from lalm_utils.models import ModelError
from lalm_utils.store import Store

METHODS = tuple(prompts.QUESTIONS)
OPTIONS = ("batch_size", "dtype", "device")


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add `run` to the subcommands of `python -m lalm_utils`."""
    parser = commands.add_parser(
        "run",
        help="ask a model about a benchmark, by several methods",
        description="Ask a model each question of a benchmark by each method; write tables and predictions. "
        "Replies are stored as they come, so the same command goes on where it was stopped. On several "
        "processes: torchrun --nproc-per-node N -m lalm_utils run ..., or accelerate launch -m lalm_utils run ...",
    )
    add_arguments(
        parser,
        "--model",
        "--benchmark",
        "--split",
        "--store",
        "--max-new-tokens",
        "--server-option",
        "--dtype",
        "--device",
        "--wait",
    )
    add = parser.add_argument
    add("--methods", nargs="+", choices=METHODS, default=["plain", "idk"], metavar="METHOD",
        help=f"from {', '.join(METHODS)} (default: plain idk)")  # fmt: skip
    add("--n", type=positive, help="ask a sample of so many items, balanced over modalities (default: all)")
    add("--seed", type=seed_number, default=0, help="of that sample (default: 0)")
    add("--option-order", type=seed_number, metavar="SEED",
        help="rotate options, so that right ones stand at all places alike (default: the file's order)")  # fmt: skip
    add("--no-audio", dest="audio", action="store_false",
        help="ask the questions alone, without their clips: what can be guessed (see `audit --text-only`)")  # fmt: skip
    add("--no-check", dest="check", action="store_false",
        help="do not make sure that the model hears; for servers that think for over 32 tokens")  # fmt: skip
    add("--out", type=Path, metavar="DIR", help="where results go (default: out/MODEL-BENCHMARK)")
    add("--batch-size", type=positive, metavar="B", help="prompts that a model reads at once")
    parser.set_defaults(run=run, faults=())


def run(args: argparse.Namespace) -> int:
    """Ask, write, print. Returns the exit code: 0, or 1 if replies failed. Replies that have come are stored in every
    case."""
    group = distributed.join(args.wait * 60)
    try:
        return _run(args, group)
    finally:
        group.leave()


def _run(args: argparse.Namespace, group: Group) -> int:
    """Ask, each rank its share; rank 0 writes the results and prints."""
    out, started = args.out or _default_out(args), datetime.now(UTC)
    store = args.store or cache_dir() / "replies.sqlite"
    if group.rank == 0:  # what can fail fails before the model is loaded
        run_files.check_writable(out)
        Store(store).close()
    job, items = _job(args, group)

    def check_folder() -> tuple[dict[str, Any], dict[str, Any]]:
        settings = {"audio": job.audio, "max_new_tokens": job.max_new_tokens}
        identity = run_files.identity(job.model.fingerprint, job.items, job.seed, **settings)
        return run_files.check_same(out, identity, job.methods), identity

    earlier, identity = group.broadcast(check_folder)
    counts = distributed.run_together(job, store, group)
    if group.rank > 0:
        return 0
    with Store(store, progress=False) as replies:
        tables = {
            name: option_order.restore(items, table, job.items) for name, table in job.tables(replies).items()
        }
    summaries = {
        method: _summary(method, table, items, counts[method], job.max_new_tokens)
        for method, table in tables.items()
    }
    measures = audit.table(audit.facts(items, silence=False))  # by headers alone: no clip is decoded twice
    facts = {
        "format": run_files.FORMAT,
        "identity": identity,
        "model": job.model.description | {"name": job.model.name, "fingerprint": job.model.fingerprint},
        "benchmark": _benchmark(args, items) | {"sha256": identity["benchmark"]},
        "audit": run_files.overall(measures),
        "methods": earlier.get("methods", {}) | summaries,
        "seed": args.seed,
        "option_order": args.option_order,
        "audio": args.audio,
        "processes": group.world_size,
        "started": started.isoformat(timespec="seconds"),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": run_files.versions(),
    }
    run_files.write(out, job.items, tables, facts)
    print(f"benchmark: {facts['benchmark']['release']}\naudit: {audit.summary(measures)}")
    print(_report(out, summaries))
    return 1 if any(summary["outcomes"]["failed"] for summary in summaries.values()) else 0


def _job(args: argparse.Namespace, group: Group) -> tuple[Job, list[Item]]:
    """The job, and its items as the benchmark orders their options."""
    selection = {"split": args.split, "n": args.n, "seed": args.seed, "need_clips": args.audio}
    items = benchmarks.load(args.benchmark, **selection)
    model, order = load_model(args.model, **options(args, group)), args.option_order
    rotated_items = items if order is None else option_order.rotate(items, seed=order)
    methods = tuple(dict.fromkeys(args.methods))
    settings = {"seed": args.seed, "audio": args.audio, "max_new_tokens": args.max_new_tokens}
    return Job(model=model, items=rotated_items, methods=methods, **settings), items


def options(args: argparse.Namespace, group: Group) -> dict[str, Any]:
    """Options of `load_model`: what was given, and a GPU for each of several processes."""
    values = {name: getattr(args, name, None) for name in OPTIONS}
    options = {name: value for name, value in values.items() if value is not None}
    of_server = dict(getattr(args, "server_option", ()))
    options |= of_server
    if not getattr(args, "check", True):
        options["check"] = False
    on_server = "://" in args.model  # which has its own devices
    if of_server and not on_server:
        raise ModelError(
            f"--server-option {next(iter(of_server))}: {args.model} is no server's model; leave it out, or give "
            "--model openai:ADDRESS#MODEL"
        )
    if group.world_size > 1 and "device" not in options and not on_server:
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


def _summary(
    method: str, table: pd.DataFrame, items: Sequence[Item], n_prompts: int, limit: int | None
) -> dict[str, Any]:
    """What run.json says of one method."""
    graded = table[[not run_files.withheld(item) for item in items]]
    names = dict(zip(("table", "predictions"), run_files.files_of(method)))
    return names | {
        "instruction": prompts.QUESTIONS[method],
        "max_new_tokens": limit or runs.MAX_NEW_TOKENS[method],
        "replies": len(table),
        "asked_in_this_run": n_prompts,
        "withheld": len(table) - len(graded),
        "outcomes": run_files.counts(graded),
        "clips": run_files.cut(graded),
        "cut_replies": int((table["finish"] == "length").sum()),  # they ended at the limit of tokens
        "refusals": outcomes.refusal_kinds(table),
        "failed": table.loc[table["outcome"] == "failed", "item"].tolist(),
        "first_fault": next(iter(table.loc[table["outcome"] == "failed", "error"]), ""),
    }


def _report(out: Path, summaries: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        {"method": method, "replies": summary["replies"], "asked": summary["asked_in_this_run"]}
        | ({"withheld": summary["withheld"]} if summary["withheld"] else {})
        | summary["outcomes"]
        | (summary["clips"] if any(summary["clips"]["cut"] for summary in summaries.values()) else {})
        for method, summary in summaries.items()
    ]
    table = pd.DataFrame(rows).to_string(index=False)
    lines = [table]
    if any(summary["clips"]["cut"] for summary in summaries.values()):
        lines.append("cut: clips longer than the model's window; accuracy with them, and without")
    lines += [f"written to {out}: run.json, and per method .csv and .jsonl"]
    failed = sum(len(summary["failed"]) for summary in summaries.values())
    if failed:
        lines.append(f"{failed} replies failed; the tables say why, and the same command asks for them again")
        lines += [f"the first of {m}: {s['first_fault']}" for m, s in summaries.items() if s["first_fault"]]
    unheard = {m: summary["refusals"]["no_audio"] for m, summary in summaries.items()}
    if any(unheard.values()):
        counts = ", ".join(f"{method} {count}" for method, count in unheard.items())
        lines.append(
            f"replies that say no audio arrived: {counts}; a fault of the set-up, so check the clips' way"
        )
    cut = {m: summary for m, summary in summaries.items() if summary["cut_replies"]}
    if cut:
        counts = ", ".join(
            f"{method} {summary['cut_replies']} of {summary['replies']} at {summary['max_new_tokens']} tokens"
            for method, summary in cut.items()
        )
        lines.append(f"replies cut at the limit of tokens: {counts}; --max-new-tokens allows longer ones")
    first, *others = (out / summary["predictions"] for summary in summaries.values())
    compare = f" {others[0]} --before" if others else ""
    return "\n".join([*lines, f"metrics: python -m lalm_utils score{compare} {first}"])
