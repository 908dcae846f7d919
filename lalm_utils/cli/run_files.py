"""What a run leaves in its folder: a table and predictions per method, and `run.json`, which says how they came about.

In: a folder, items, outcome tables and facts. Out: `METHOD.csv` (outcomes.COLUMNS), `METHOD.jsonl` (the items in
MMAU's schema with each reply under `model_output`, as `python -m lalm_utils score` reads it) and `run.json`. It
asks no model. Under --option-order the predictions list options as they were asked, since letters in replies mean
those; the tables number them as the benchmark does.

A folder holds one run: one model, one set of items, one seed. Methods may be added to it later. Files of another
run are never written over.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd

import lalm_utils
from lalm_utils import metrics
from lalm_utils.cache import sha256_of
from lalm_utils.cli import finite
from lalm_utils.cli.predictions import CUT_KEY, FINISH_KEY
from lalm_utils.items import Item, to_record
from lalm_utils.outcomes import Outcome

FORMAT = 1
FACTS = "run.json"
DEFAULTS = {
    "audio": True,
    "max_new_tokens": None,
}  # what folders of earlier versions do not say of themselves
REPLY_KEY = "model_output"  # what MMAU's own scorer reads
PACKAGES = ("torch", "transformers", "peft", "accelerate", "tokenizers", "numpy", "pandas")


class FolderError(ValueError):
    """A folder that results must not be written to. Nothing in it has been changed."""


def identity(
    fingerprint: str,
    items: Sequence[Item],
    seed: int,
    *,
    audio: bool = True,
    max_new_tokens: int | None = None,
) -> dict[str, Any]:
    """What makes two runs the same run: the model, the content of the items and clips, the seed, whether clips are
    heard (`audio`), and the limit of tokens where it is not the methods' own."""
    content = content_of(items, clips=audio)
    facts = {"model": fingerprint, "benchmark": content, "seed": seed, "audio": audio}
    return facts | {"max_new_tokens": max_new_tokens}


def content_of(items: Sequence[Item], *, clips: bool = True) -> str:
    """SHA-256 over all that is asked and graded, `clips` by their bytes; no path and no name of a file counts."""
    digest = hashlib.sha256()
    content = {item.clip: sha256_of(item.clip) if clips else "" for item in items}
    for item in items:
        parts = (item.id, item.modality, item.question, item.options, item.gold, item.answerable)
        digest.update(json.dumps([*parts, content[item.clip]]).encode() + b"\n")
    return digest.hexdigest()


def check_writable(folder: Path) -> None:
    """Make the folder and a file in it, before an hour is spent on what is to go there. FolderError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise FolderError(f"{folder}: cannot be written to ({error}); give another folder") from error


def check_same(folder: Path, run: Mapping[str, Any], methods: Sequence[str]) -> dict[str, Any]:
    """The facts of an earlier part of this run, {} if the folder has none; FolderError if it is another run's."""
    existing = [name for method in methods for name in files_of(method) if (folder / name).exists()]
    if not (folder / FACTS).exists():
        if existing:
            raise FolderError(
                f"{folder}: holds {existing[0]} but no {FACTS}, so it is not known whose it is; give another --out"
            )
        return {}
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        earlier = DEFAULTS | facts["identity"]
        different = [name for name, value in run.items() if earlier.get(name) != value]
        facts["methods"].items()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FolderError(f"{folder / FACTS}: not written by this command; give another --out") from error
    if different:
        raise FolderError(
            f"{folder}: holds another run, of another {' and '.join(different)}; give another folder with --out"
        )
    return facts


def files_of(method: str) -> tuple[str, str]:
    """The names of a method's table and predictions."""
    return f"{method}.csv", f"{method}.jsonl"


def write(
    folder: Path, items: Sequence[Item], tables: Mapping[str, pd.DataFrame], facts: Mapping[str, Any]
) -> None:
    """Write all of a run, each file in one step; `run.json` first, since the others are known by it.

    `tables` have a row per item, in order. Items whose answers are withheld are in the predictions only,
    unanswerable ones in the tables only, since nothing else can be scored.
    """
    _write(folder / FACTS, json.dumps(facts, indent=2, default=str) + "\n")
    graded = [not withheld(item) for item in items]
    for method, table in tables.items():
        table_file, predictions_file = files_of(method)
        _write(folder / table_file, table[graded].to_csv(index=False))
        rows = zip(items, table.to_dict("records"), strict=True)
        lines = [_prediction(item, row) for item, row in rows if item.answerable]
        _write(folder / predictions_file, "".join(f"{line}\n" for line in lines))


def withheld(item: Item) -> bool:
    """Whether an item has an answer that its benchmark does not publish."""
    return item.gold is None and item.answerable


def counts(table: pd.DataFrame) -> dict[str, int]:
    """Items by outcome, all of `Outcome`."""
    return {outcome.value: int((table["outcome"] == outcome).sum()) for outcome in Outcome}


def overall(measures: pd.DataFrame) -> dict[str, float | None]:
    """The overall rows of `audit.table`, by measure; null for what is not computed."""
    rows = measures[measures["group"] == "overall"]
    return {row.measure: finite(row.value) for row in rows.itertuples()}


def cut(table: pd.DataFrame) -> dict[str, float | None]:
    """cut (items), accuracy and accuracy_without them, of the answerable items with a reply; null without any."""
    rows = table[table["answerable"].astype(bool) & table["outcome"].ne(Outcome.FAILED)]
    overall = {} if rows.empty else metrics.cut_clips(rows).iloc[-1]
    accuracies = {name: overall.get(name) for name in ("accuracy", "accuracy_without")}
    return {"cut": int(table["truncated"].sum())} | {name: finite(x) for name, x in accuracies.items()}


def versions() -> dict[str, str]:
    """Releases of what replies depend on."""
    releases = {"lalm_utils": lalm_utils.__version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            releases[name] = version(name)
        except PackageNotFoundError:
            continue
    return releases


def _prediction(item: Item, row: Mapping[str, Any]) -> str:
    failed = row["outcome"] == Outcome.FAILED
    reply = {REPLY_KEY: None, "error": row["error"]} if failed else {REPLY_KEY: row["reply"]}
    ending = {CUT_KEY: bool(row["truncated"]), FINISH_KEY: row["finish"]}
    return json.dumps(to_record(item) | reply | ending, ensure_ascii=False)


def _write(path: Path, text: str) -> None:
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        scratch.write_text(text, encoding="utf-8")
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
