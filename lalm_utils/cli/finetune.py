"""The command `python -m lalm_utils finetune`: LoRA on what a model does not know, on one process or on many.

In: a model, a benchmark, and K of N or an IDK dataset. Out: the adapter's folder, as `lora.train` leaves it, and
beside it, where samples were drawn, the dataset (`OUT.idk.jsonl`).

    accelerate launch --config_file lalm_utils/cli/accelerate/ddp.yaml --num_processes 8 -m lalm_utils finetune \
        --model Qwen/Qwen2-Audio-7B-Instruct --benchmark mmau.json --k 3 --accumulate 8 --out adapters/idk

Without `accelerate launch` it is one process. Started again after an interruption, the same command goes on. Of any
benchmark the part "idk" alone is learnt from (`k_of_n.splits`). On several hosts, `--out` and `--store` are shared.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lalm_utils import benchmarks
from lalm_utils.cache import cache_dir
from lalm_utils.cli import add_arguments, distributed, positive, run_files, seed_number
from lalm_utils.cli.distributed import Group, Job
from lalm_utils.cli.run import options
from lalm_utils.finetuning import idk_data, k_of_n
from lalm_utils.finetuning.idk_data import Example
from lalm_utils.items import Item
from lalm_utils.items import sample as draw_items
from lalm_utils.load_model import load_model
from lalm_utils.models import Model
from lalm_utils.outcomes import Outcome
from lalm_utils.store import Store

log = logging.getLogger(__name__)

RECIPE = {  # what `Recipe` says of each, in fewer words; its defaults are those of this command
    "rank": (positive, 16, "of LoRA"),
    "alpha": (
        float,
        32.0,
        "the update counts ALPHA / RANK times; used later, it can be scaled by lora.load_adapter",
    ),
    "dropout": (float, 0.0, "of LoRA"),
    "learning_rate": (float, 1e-4, "at its highest"),
    "epochs": (positive, 1, "times that each example is seen"),
    "batch_size": (positive, 8, "examples a batch, on one process"),
    "accumulate": (positive, 1, "batches a step, of all processes together: a multiple of their number"),
    "max_grad_norm": (float, 1.0, "gradients are clipped to"),
    "warmup": (float, 0.1, "share of all steps"),
    "seed": (seed_number, 0, "of initial weights, order and dropout"),
}


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add `finetune` to the subcommands of `python -m lalm_utils`."""
    parser = commands.add_parser(
        "finetune",
        help="teach a model by LoRA to refuse what it does not know",
        description="Sample what the model knows (K of N), label the rest IDK, and fine-tune LoRA on it. On several "
        "GPUs: accelerate launch --config_file lalm_utils/cli/accelerate/ddp.yaml -m lalm_utils finetune ...",
    )
    add_arguments(
        parser, "--model", "--benchmark", "--store", "--max-new-tokens", "--dtype", "--device", "--wait"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the adapter's folder")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--k", type=positive, help="label IDK what fewer than K of N samples had right")
    source.add_argument("--dataset", type=Path, metavar="FILE", help="learn from this IDK dataset instead")
    data = parser.add_argument_group("what is learnt from").add_argument
    data("--part", choices=("idk", "all"), default="idk",
        help="idk: the items of `k_of_n.splits` that share no clip with dev and test; all: test items too")  # fmt: skip
    data("--modality", help="items of this modality alone")
    data("--n", type=positive, help="a sample of so many items, balanced over modalities (default: all)")
    data("--samples", type=positive, default=5, metavar="N", help="N of K of N (default: 5)")
    data("--temperature", type=float, default=1.0, help="of the samples (default: 1.0)")
    data("--balance", type=float, metavar="SHARE", help="leave out items until this share is IDK")
    data("--sample-seed", type=seed_number, default=0, help="of the items and the samples (default: 0)")
    data(
        "--ask-batch-size",
        type=positive,
        dest="batch_size",
        metavar="B",
        help="prompts that are sampled at once",
    )
    recipe = parser.add_argument_group("how it is learnt").add_argument
    for name, (kind, default, meaning) in RECIPE.items():
        flag = f"--{name.replace('_', '-')}"
        recipe(flag, type=kind, default=default, dest=f"recipe_{name}", metavar=name.split("_")[-1].upper(),
            help=f"{meaning} (default: {default:g})")  # fmt: skip
    recipe("--save-every", type=positive, default=50, metavar="STEPS", help="a checkpoint each (default: 50)")
    parser.set_defaults(run=run, faults=(ValueError,))


def run(args: argparse.Namespace) -> int:
    """Sample, learn, print. Returns the exit code: 0, or 1 if the training diverged. Samples and checkpoints so far are
    kept in every case."""
    group = distributed.join(args.wait * 60)
    folder, examples = _finetune(args, group)
    group.leave()
    if group.rank == 0:
        print(_report(folder, examples))
    if fault := divergence(folder):
        log.warning("%s", fault)
    return 1 if fault else 0


def divergence(folder: Path) -> str:
    """Why the training in `folder` went nowhere; "" if it did not."""
    from lalm_utils.finetuning import lora_files

    first, last = lora_files.curve(folder)["loss"].iloc[0], lora_files.provenance(folder)["final_loss"]
    if last <= first:
        return ""
    return (
        f"the training diverged: the loss is {last:.3f} at last, above {first:.3f} at first; do not use this adapter; "
        "train with a lower --learning-rate, or on more examples, into another --out"
    )


def _finetune(args: argparse.Namespace, group: Group) -> tuple[Path, list[Example]]:
    from lalm_utils.finetuning import lora  # torch takes seconds to import

    recipe = lora.Recipe(**{name: getattr(args, f"recipe_{name}") for name in RECIPE})
    lora.check_shared(recipe, group.world_size)
    if group.rank == 0:
        run_files.check_writable(args.out.absolute().parent)
    model = load_model(args.model, **options(args, group))
    lora.check_trainable(model)
    examples = _examples(args, group, model)
    return lora.train(model, examples, args.out, recipe, save_every=args.save_every), examples


def _examples(args: argparse.Namespace, group: Group, model: Model) -> list[Example]:
    items = training_items(args.benchmark, args.part, args.modality, args.n, args.sample_seed)
    if args.dataset:
        return idk_data.load(args.dataset, items)[0]
    job = SamplingJob(
        model=model, items=items, methods=(k_of_n.METHOD,), n=args.samples, temperature=args.temperature,
        seed=args.sample_seed, max_new_tokens=args.max_new_tokens,
    )  # fmt: skip
    store = args.store or cache_dir() / "replies.sqlite"
    return make_dataset(job, dataset_of(args.out), k=args.k, balance=args.balance, store=store, group=group)


def dataset_of(out: Path) -> Path:
    """Where the dataset goes that an adapter is learnt from."""
    out = out.expanduser().absolute()
    return out.with_name(f"{out.name}.idk.jsonl")


def _report(folder: Path, examples: list[Example]) -> str:
    from lalm_utils.finetuning import lora_files

    facts, curve = lora_files.provenance(folder), lora_files.curve(folder)
    return "\n".join(
        [
            f"{len(examples)} examples, {idk_data.idk_share(examples):.0%} of them IDK; {facts['steps']} steps on "
            f"{facts.get('processes', 1)} process(es) in {facts['seconds']:.0f} s",
            f"loss per answer token: {curve['loss'].iloc[0]:.3f} at first, {facts['final_loss']:.3f} at last "
            f"({facts['final_loss_is']})",
            f"written to {folder}; ask it: python -m lalm_utils run --model {folder} --benchmark ...",
        ]
    )


@dataclass(frozen=True, kw_only=True)
class SamplingJob(Job):
    """N samples of every item, as work that processes share."""

    n: int
    temperature: float

    def query(self, model: Model, store: Store, method: str, items: Sequence[Item]) -> pd.DataFrame:
        """A row per item, in order: failed if one of its samples is."""
        samples = self.samples(model, store, items)
        failed = (samples["outcome"] == Outcome.FAILED).groupby(samples["item"], sort=False).any()
        return pd.DataFrame({"outcome": failed.map({True: Outcome.FAILED.value, False: "sampled"})})

    def samples(self, model: Model, store: Store, items: Sequence[Item]) -> pd.DataFrame:
        """See `k_of_n.sample`."""
        return k_of_n.sample(
            model, items, store=store, n=self.n, temperature=self.temperature, seed=self.seed,
            max_new_tokens=self.max_new_tokens,
        )  # fmt: skip


def training_items(benchmark: str, part: str, modality: str | None, n: int | None, seed: int) -> list[Item]:
    """Items to learn from: the part "idk" of `k_of_n.splits`, which shares no clip with those to choose settings on and
    to report on; or, with a warning, all of a benchmark. Raises ValueError where none is left."""
    if part == "idk":
        items = k_of_n.splits(benchmark, seed=seed)["idk"]
    else:
        items = [item for item in benchmarks.load(benchmark) if item.answerable]
        log.warning(
            "%s: all of it is learnt from, its test items too: report on another benchmark.", benchmark
        )
    selection = [item for item in items if modality in (None, item.modality)]
    if not selection:
        modalities = ", ".join(sorted({item.modality for item in items}))
        raise ValueError(
            f"no item of modality {modality!r} among the {len(items)} to learn from, which are {modalities}"
        )
    return draw_items(selection, n, seed=seed) if n is not None else selection


def make_dataset(
    job: SamplingJob, file: Path, *, k: int, balance: float | None = None, store: Path, group: Group
) -> list[Example]:
    """Have all items sampled, each process its share; rank 0 labels them and writes `file`, which all read."""
    distributed.run_together(job, store, group)

    def label() -> None:
        with Store(store, progress=False) as replies:
            counts = k_of_n.count_correct(job.samples(job.model, replies, job.items))
        failed = set(counts.attrs["failed"])
        items = [item for item in job.items if item.id not in failed]
        examples = idk_data.build(items, counts, k=k, balance=balance, seed=job.seed)
        facts = {"n": job.n, "temperature": job.temperature, "seed": job.seed}
        _save(file, examples, model=job.model, k=k, balance=balance, **facts)

    group.broadcast(label)
    return idk_data.load(file, job.items)[0]


def _save(file: Path, examples: Sequence[Example], **facts: Any) -> None:
    """Write the dataset in one step; FolderError if another one is there."""
    scratch = file.with_name(f".{file.name}.new")
    idk_data.save(scratch, examples, **facts)
    if file.exists() and file.read_bytes() != scratch.read_bytes():
        scratch.unlink()
        raise run_files.FolderError(
            f"{file}: holds another IDK dataset; give another --out, or remove that file"
        )
    scratch.replace(file)
