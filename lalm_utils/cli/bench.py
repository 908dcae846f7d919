"""The command `python -m lalm_utils bench`: how fast this machine asks, and how near that is to what it can do.

In: a shape of model, a device, batch sizes. Out: a table (`measure`), printed or as JSON: items and tokens a
second, peak memory, and the share of the machine's own limits, which are measured in the same run (`limits`). What
is counted as work is the formulas of `costs`; models and clock are `bench_rig`.

    python -m lalm_utils bench --shape qwen2-audio-7b --device cuda --batch-sizes 1 8 32 128
    python -m lalm_utils bench --ablation --items 64

Reading is bound by arithmetic, so its share is of the rate of a large matrix product; replying by memory, so its
share is of the rate of a large copy. The model's weights are random: replies mean nothing, and have full length.
`--ablation` instead asks a real model about items and switches the engine's parts off in turn (`speed.ablation`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from lalm_utils.cli import add_arguments, costs, finite, positive, run_files, write_json
from lalm_utils.cli.costs import Workload
from lalm_utils.engine.batches import is_out_of_memory
from lalm_utils.load_model import load_model

if TYPE_CHECKING:
    from lalm_utils.cli.bench_rig import Rig

COLUMNS = (
    "batch",  # prompts at once, each with a clip of its own
    "status",  # "ok", "out of memory", or "not tried" after a smaller one ran out
    "prompt_tokens",  # of one prompt, its clip's included
    "items_per_s",  # hearing, reading and one greedy reply
    "sampled_items_per_s",  # the same with all samples of a prompt (K@N), after one reading
    "prefill_tokens_per_s",
    "decode_tokens_per_s",  # one reply a prompt, without its first token, which the prefill gives
    "sample_tokens_per_s",  # all samples, likewise
    "hear_share",  # of the matrix product's rate; spectrograms, made on the CPU, are in the time
    "prefill_share",  # of the matrix product's rate
    "decode_share",  # of the copy's rate
    "sample_share",  # of the copy's rate
    "sample_matmul_share",  # of the matrix product's rate: many streams at once are bound by it again
    "peak_gb",  # 1e9 bytes, weights included; of a GPU, else of the process
    "features_s",  # seconds a batch from here on: spectrograms
    "hear_s",  # these, tower and projector
    "prefill_s",
    "decode_s",
    "sample_s",
)
SIZES = {"cpu": (1024, 2**27), "cuda": (8192, 2**31)}  # side of the matrices, bytes of the copy


def limits(device: str = "auto", dtype: str = "auto") -> dict[str, float]:
    """What the device reaches at its best: `matmul_tflops` (1e12 FLOPs a second) and `copy_gb_per_s` (1e9 bytes a
    second, read and written), medians of five. ModelError for an unknown device or dtype."""
    from lalm_utils.cli import bench_rig

    torch_device = bench_rig.pick_device(device)
    side, size = SIZES.get(torch_device.type, SIZES["cpu"])
    flops = bench_rig.matmul_flops(torch_device, bench_rig.pick_dtype(dtype, torch_device), size=side)
    rates = {
        "matmul_tflops": flops / 1e12,
        "copy_gb_per_s": bench_rig.copy_bytes(torch_device, size=size) / 1e9,
    }
    bench_rig.free_memory()
    return rates


def measure(
    shape: str = "tiny",
    *,
    device: str = "auto",
    dtype: str = "auto",
    batch_sizes: Sequence[int] = (1, 4, 16),
    work: Workload = Workload(),  # noqa: B008, it is frozen
    repeats: int = 3,
    device_limits: dict[str, float] | None = None,
    rig: Rig | None = None,
    report: Callable[[pd.DataFrame], None] = lambda table: None,
) -> pd.DataFrame:
    """A row per batch size, smallest first, with COLUMNS; `attrs` holds the facts that `as_json` writes.

    device_limits: as `limits` returns them, else they are measured first. A batch that does not fit gives a row that
    says so, larger ones are not tried, and half of it is tried if nothing between is. rig: an existing model. report:
    called with the table so far after each batch. Raises ModelError for an unknown shape, device or dtype, ValueError
    for a size or a number of repeats under 1.
    """
    from lalm_utils.cli import bench_rig
    from lalm_utils.engine import hardware

    if not batch_sizes or min(batch_sizes) < 1 or repeats < 1:
        raise ValueError(f"batch sizes {list(batch_sizes)}, repeats {repeats}: all are at least 1.")
    device_limits = device_limits or limits(device, dtype)
    rig = rig or bench_rig.Rig(shape, device=device, dtype=dtype)
    facts = {
        "shape": shape,
        "parameters": rig.parameters,
        "device": str(rig.device),
        "device_name": hardware.device_name(rig.device),
        "dtype": str(rig.dtype).removeprefix("torch."),
        "work": dict(vars(work)),
        "repeats": repeats,
        "limits": dict(device_limits),
        "versions": run_files.versions(),
    }
    rows, queue, fitted = [], sorted(set(batch_sizes)), 0
    while queue:
        size = queue.pop(0)
        stages: dict[str, float] = {}
        try:
            stages = rig.measure(size, work, repeats=repeats)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        # outside the handler, since the error's traceback holds on to the tensors
        if stages:
            rows.append(_row(size, stages, rig, work, device_limits))
            fitted = size
        else:
            bench_rig.free_memory()
            rows.append({"batch": size, "status": "out of memory"})
            rows += [{"batch": larger, "status": "not tried"} for larger in queue]
            queue = [size // 2] if fitted < size // 2 else []
        table = pd.DataFrame(rows, columns=list(COLUMNS)).sort_values("batch", ignore_index=True)
        table.attrs = facts
        report(table)
    return table


def as_json(table: pd.DataFrame) -> dict[str, Any]:
    """The facts of a measurement and its rows, as JSON takes them: what was not measured is null."""
    rows = [{name: finite(value) for name, value in row.items()} for row in table.to_dict("records")]
    return table.attrs | {"rows": rows}


def as_text(table: pd.DataFrame) -> str:
    """The same for people."""
    facts, limit = table.attrs, table.attrs["limits"]
    unfit = table.loc[table["status"] != "ok", ["batch", "status"]]
    return "\n".join(
        [
            f"{facts['shape']}: {facts['parameters'] / 1e9:.2f} billion random parameters, {facts['dtype']}, "
            f"{facts['device_name']}",
            f"measured limits: {limit['matmul_tflops']:.3g} TFLOP/s in a matrix product, "
            f"{limit['copy_gb_per_s']:.4g} GB/s in a copy",
            ", ".join(f"{name} {value}" for name, value in facts["work"].items()),
            "",
            _rounded(table[list(COLUMNS[:1] + COLUMNS[2:])][table["status"] == "ok"]).to_string(index=False),
            *(f"batch {row.batch}: {row.status}" for row in unfit.itertuples()),
        ]
    )


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add `bench` to the subcommands of `python -m lalm_utils`."""
    parser = commands.add_parser(
        "bench",
        help="measure how fast this machine asks a model of a given size",
        description="Measure hearing, reading and replying at several batch sizes, with random weights, beside "
        "the machine's own limits. Nothing is downloaded.",
    )
    add_arguments(parser, "--json")
    add, work = parser.add_argument, Workload()
    add("--shape", default="tiny", help="qwen2-audio-7b, mini-like or tiny (default: tiny)")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    add("--dtype", default="auto", help="auto, float32, bfloat16 or float16")
    add("--batch-sizes", type=positive, nargs="+", default=[1, 4, 16], metavar="B", help="default: 1 4 16")
    add("--repeats", type=positive, default=3, help="of each stage; medians are shown (default: 3)")
    add("--ablation", action="store_true", help="measure what each part of the engine saves, on a real model")
    add("--model", default="mini", help="for --ablation: mini, a folder, or a hub id (default: mini)")
    add("--benchmark", default="mini", metavar="PATH", help="for --ablation: mini, or a path (default: mini)")
    add("--items", type=positive, default=64, metavar="N", help="for --ablation (default: 64)")
    for name, value in vars(work).items():
        flag = f"--{name.replace('_', '-')}"
        add(flag, type=type(value), default=value, help=f"of the workload (default: {value})")
    parser.set_defaults(run=run, faults=(ValueError,))


def run(args: argparse.Namespace) -> int:
    """Measure, print, write. Returns the exit code: 0, or 1 if no batch fitted."""

    def report(table: pd.DataFrame) -> None:
        # as it comes: whoever stops the command keeps the batches that were done
        latest = table[["batch", "status"]].to_dict("records")
        print("; ".join(f"batch {row['batch']}: {row['status']}" for row in latest), file=sys.stderr)
        if args.json:
            write_json(args.json, as_json(table))

    if args.json:  # before minutes are spent
        run_files.check_writable(args.json.parent)
        args.json.touch()
    if args.ablation:
        return _ablation(args)
    work = Workload(**{name: getattr(args, name) for name in vars(Workload())})
    table = measure(
        args.shape, device=args.device, dtype=args.dtype, batch_sizes=args.batch_sizes, work=work,
        repeats=args.repeats, report=report,
    )  # fmt: skip
    print(as_text(table))
    return 0 if (table["status"] == "ok").any() else 1


def _ablation(args: argparse.Namespace) -> int:
    from lalm_utils import benchmarks
    from lalm_utils.cli import speed

    model = load_model(args.model, device=args.device, dtype=args.dtype, check=False)
    table = speed.ablation(model, benchmarks.load(args.benchmark, n=args.items), repeats=args.repeats)
    if args.json:
        write_json(args.json, table.to_dict("records"))
    for clock in ("seconds", "cpu_seconds"):
        print(speed.slowdowns(table, clock=clock).round(3).to_string(), end="\n\n")
    return 0


def _row(
    size: int, stages: dict[str, float], rig: Rig, work: Workload, device_limits: dict[str, float]
) -> dict[str, Any]:
    """Rates and shares of one batch, from its seconds and the formulas of `costs`."""
    config, prompt, steps = rig.config, int(stages["prompt_tokens"]), work.new_tokens - 1
    hear, prefill, decode, sample = (stages[f"{name}_s"] for name in ("hear", "prefill", "decode", "sample"))
    arithmetic, copying = device_limits["matmul_tflops"] * 1e12, device_limits["copy_gb_per_s"] * 1e9
    per_reply = sum(costs.decode(config, prompt + step) for step in range(1, steps + 1))
    traffic = {
        streams: costs.decode_bytes(
            config, prompt=prompt, steps=steps, batch=size, streams=streams, itemsize=rig.dtype.itemsize
        )
        for streams in (1, work.samples)
    }
    return {
        "batch": size,
        "status": "ok",
        "prompt_tokens": prompt,
        "items_per_s": size / (hear + prefill + decode),
        "sampled_items_per_s": size / (hear + prefill + sample),
        "prefill_tokens_per_s": size * prompt / prefill,
        "decode_tokens_per_s": size * steps / decode,
        "sample_tokens_per_s": size * work.samples * steps / sample,
        "hear_share": size * costs.tower(config, work.clip_seconds) / hear / arithmetic,
        "prefill_share": size * costs.prefill(config, prompt) / prefill / arithmetic,
        "decode_share": traffic[1] / decode / copying,
        "sample_share": traffic[work.samples] / sample / copying,
        "sample_matmul_share": size * work.samples * per_reply / sample / arithmetic,
        "peak_gb": stages["peak_bytes"] / 1e9,
        **{name: stages[name] for name in COLUMNS if name.endswith("_s") and name in stages},
    }


def _rounded(table: pd.DataFrame) -> pd.DataFrame:
    """Four significant digits."""
    numbers = table.select_dtypes("float").columns
    return table.assign(**{name: table[name].map(lambda value: float(f"{value:.4g}")) for name in numbers})
