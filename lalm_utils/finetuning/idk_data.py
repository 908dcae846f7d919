"""The IDK dataset: items, each with the reply to learn, made from what a model knows (arXiv 2505.19294, 5@5).

In: items, and how many of N samples the model had right on each. Out: `Example`s, and their file. An item
that fewer than K of N samples had right is to be refused; any other keeps its right option. k_of_n.py samples and
counts, lora.py learns the examples.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lalm_utils.finetuning.k_of_n import TEMPERATURE, N, is_known, refuse_goldless
from lalm_utils.items import Item, sample
from lalm_utils.models import Model

REFUSAL = "IDK"  # the word that the IDK prompt asks for
SCHEMA = "lalm_utils IDK dataset 1"


@dataclass(frozen=True, kw_only=True)
class Example:
    """An item and the reply to learn: the right option's text if `known`, else REFUSAL."""

    item: Item
    target: str
    known: bool


def build(
    items: Sequence[Item],
    counts: pd.DataFrame,
    *,
    k: int,
    balance: float | None = None,
    shuffle: bool = False,
    seed: int = 0,
) -> list[Example]:
    """The IDK dataset at K = k, in the order of the items: known are those with at least k samples right.

    counts: as k_of_n.count_correct returns it. balance: the share of IDK wanted, in (0, 1); the larger class loses
    items until it is met, evenly from the modalities (`items.sample`).
    shuffle: the items that would be taken without it, their labels permuted within each modality: the control
    that tells learning one's limits from learning to refuse so often. ValueError for no items, k outside 1 to
    n, items that `counts` does not hold, and a balance that too small a class makes impossible.
    """
    _check(items, counts, k, balance)
    right = dict(zip(counts["item"], counts["right"]))
    labels = {item.id: bool(is_known(right[item.id], k=k)) for item in items}
    selection = list(items) if balance is None else _balance(items, labels, balance, seed)
    if shuffle:
        labels = _shuffle_labels(selection, labels, seed)
    return [Example(item=i, target=_target(i, labels[i.id]), known=labels[i.id]) for i in selection]


def idk_share(examples: Sequence[Example]) -> float:
    """The share of examples whose target is REFUSAL, in [0, 1]."""
    return sum(not example.known for example in examples) / len(examples)


def save(
    path: str | Path,
    examples: Sequence[Example],
    *,
    model: Model,
    k: int,
    n: int = N,
    temperature: float = TEMPERATURE,
    seed: int = 0,
    **more: Any,
) -> Path:
    """Write examples as JSON lines: first a header of how they were made, `more` included, then an example a line.

    Neither clips nor paths are written: `load` joins the labels to the items of the benchmark, wherever its
    clips are.
    """
    header = {"schema": SCHEMA, "model": model.name, "fingerprint": model.fingerprint, "k": k, "n": n,
              "temperature": temperature, "seed": seed, **more, "examples": len(examples),
              "idk_share": round(idk_share(examples), 6)}  # fmt: skip
    rows = [
        {"id": e.item.id, "benchmark": e.item.benchmark, "split": e.item.split, "modality": e.item.modality,
         "question": e.item.question, "options": list(e.item.options), "target": e.target, "known": e.known}
        for e in examples
    ]  # fmt: skip
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in (header, *rows))
    path.write_text(text, encoding="utf-8", newline="\n")
    return path


def load(path: str | Path, items: Sequence[Item]) -> tuple[list[Example], dict[str, Any]]:
    """The examples of a file that `save` wrote, on these items, and its header.

    Raises ValueError, naming file and line, for a file that is damaged or cut short, and for an example whose
    item is missing or asks something else here.
    """
    try:
        # not splitlines, which also cuts at separators that a question may hold
        lines = Path(path).read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: no UTF-8 text ({error}); make the file again") from None
    rows = [_record(f"{path}, line {number}", line) for number, line in enumerate(lines, 1)]
    header, rows = rows[0], rows[1:]
    if header.get("schema") != SCHEMA:
        raise ValueError(f"{path}, line 1: no header of {SCHEMA!r}; write the file with idk_data.save")
    if len(rows) != header.get("examples"):
        raise ValueError(
            f"{path}: {len(rows)} of {header.get('examples')} examples; it was cut, make it again"
        )
    by_id = {item.id: item for item in items}
    return [_example(f"{path}, line {number}", row, by_id) for number, row in enumerate(rows, 2)], header


def _target(item: Item, known: bool) -> str:
    return item.options[item.gold] if known else REFUSAL


def _check(items: Sequence[Item], counts: pd.DataFrame, k: int, balance: float | None) -> None:
    if not items or counts.empty:
        raise ValueError("no items to label: give the items that were sampled, and their counts")
    refuse_goldless(items)
    n = int(counts["n"].iloc[0])
    if not 1 <= k <= n:
        raise ValueError(f"k={k}: it counts right samples, so it is from 1 to {n} here")
    if balance is not None and not 0 < balance < 1:
        raise ValueError(f"balance={balance}: a share of IDK inside (0, 1), or None to leave it as it is")
    ids = set(counts["item"])
    if missing := [item.id for item in items if item.id not in ids]:
        raise ValueError(
            f"{len(missing)} of {len(items)} items are not in the table of knowledge, e.g. {missing[0]!r}: "
            "sample them, or leave them out if they failed"
        )


def _balance(items: Sequence[Item], labels: Mapping[str, bool], balance: float, seed: int) -> list[Item]:
    """As many items as the smaller class allows, `balance` of them IDK, in their order."""
    idk, known = ([item for item in items if labels[item.id] is label] for label in (False, True))
    allowed = min(len(idk) / balance, len(known) / (1 - balance))
    total = math.floor(allowed + 1e-9)  # 3 / (1 - 0.7) is not quite 10
    sizes = round(total * balance), total - round(total * balance)
    if not all(sizes):
        raise ValueError(
            f"balance={balance}: {len(idk)} items are labelled IDK and {len(known)} known, which allows "
            f"{sizes[0]} and {sizes[1]}; take another k, more items, or no balance"
        )
    selection = {i.id for part, size in zip((idk, known), sizes) for i in sample(part, size, seed=seed)}
    return [item for item in items if item.id in selection]


def _shuffle_labels(items: Sequence[Item], labels: Mapping[str, bool], seed: int) -> dict[str, bool]:
    result: dict[str, bool] = {}
    for modality in {item.modality: None for item in items}:
        ids = [item.id for item in items if item.modality == modality]
        rng = np.random.default_rng([seed, *modality.encode()])
        result |= dict(zip(ids, (labels[ids[number]] for number in rng.permutation(len(ids)))))
    return result


def _record(where: str, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: no JSON ({error}); make the file again") from None
    if not isinstance(row, dict):
        raise ValueError(f"{where}: no JSON object; make the file again")
    return row


def _example(where: str, row: Mapping[str, Any], by_id: Mapping[str, Item]) -> Example:
    name, known = row.get("id"), row.get("known")
    item = by_id.get(name) if isinstance(name, str) else None
    if item is None:
        raise ValueError(f"{where}: item {name!r} is not among those given; load its benchmark and split")
    if (row.get("question"), row.get("options")) != (item.question, list(item.options)):
        raise ValueError(f"{where}: item {name!r} asks something else here; load the same benchmark")
    refuse_goldless([item])
    if not isinstance(known, bool) or row.get("target") != _target(item, known):
        raise ValueError(f"{where}: known {known!r} does not go with the target {row.get('target')!r}")
    return Example(item=item, target=row["target"], known=known)
