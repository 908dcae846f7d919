"""What the official scripts of MMAU and MMAR read, and what they would say of it.

In: an official question file and the replies to its items. Out: the same records with a reply in each, as the
official evaluation scripts want them (`write`); and the accuracy by those scripts' rule, beside ours
(`official`, `compare`). It asks no model and opens no audio.

A reply is written under two keys: the one that a benchmark's script reads (MMAU: model_output, MMAR:
answer_prediction) and the one that its README names (model_prediction). A record without the key is left out
of the scripts' denominator, and another, easier, set of items is scored. So every record gets the keys: a
failed reply is an empty text, which the scripts count as wrong, and `reply_failed` beside it says why.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from lalm_utils import benchmarks, outcomes, parsing, releases
from lalm_utils.cli import predictions
from lalm_utils.outcomes import Outcome

if TYPE_CHECKING:
    from lalm_utils.items import Item
    from lalm_utils.models import Reply

KEYS = {"mmau": ("model_output", "model_prediction"), "mmar": ("answer_prediction", "model_prediction")}
FAILED = "reply_failed"
COLUMNS = ("item", "reply", "finish", "error")
UNASKED = "not asked in this run"

log = logging.getLogger(__name__)


class SubmissionError(ValueError):
    """A submission that cannot be written. The message names file or item, rule and next step."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a submission holds."""

    path: Path
    n: int  # records, as many as the question file has
    failed: tuple[str, ...]  # ids whose reply is missing, the ones that were not asked included
    release: str  # of the question file, by its content


def reply_table(asked: Sequence[Item], replies: Sequence[Reply]) -> pd.DataFrame:
    """Replies as `write` takes them, ungraded: for items whose answers are withheld, as in MMAU's test set.

    Where answers are known, the outcome table will do. Raises SubmissionError for unequal lengths.
    """
    if len(asked) != len(replies):
        raise SubmissionError(f"{len(asked)} items but {len(replies)} replies; give one reply per item")
    rows = [(item.id, reply.text, reply.finish, reply.error) for item, reply in zip(asked, replies)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def write(path: str | Path, questions: str | Path, table: pd.DataFrame, *, parsed: bool = False) -> Written:
    """Write the records of the official file `questions` to `path`, each with its reply from `table`.

    table: one run's outcome table, or a `reply_table`; other columns than `COLUMNS` are not looked at.
    parsed: a reply in which `parsing.read` finds an option is written as that option's text, any other as it
    is; the official rule misses many right answers in sentences. Say with a number which of the two it was.
    The ending of `path` decides the layout, as in the official scripts: .json is an array, .jsonl (MMAR alone)
    one record a line. An existing file is overwritten.

    Raises SubmissionError: another ending, a table of several runs, of items that the file lacks or without a
    column, or a question file that holds replies; BenchmarkError if that is no question file of MMAU or MMAR.
    """
    path, questions = Path(path), Path(questions)
    kind, asked = _official(questions)
    if path.suffix not in ((".json",) if kind == "mmau" else (".json", ".jsonl")):
        raise SubmissionError(f"{path}: {kind.upper()}'s script reads .json{' or .jsonl' * (kind == 'mmar')}")
    if path.resolve() == questions.resolve():
        raise SubmissionError(f"{path}: would overwrite the question file; name another")
    replies = _replies(table, {item.id for _, item in asked}, questions)
    filled = [record | _fields(item, kind, replies, parsed) for record, item in asked]
    missing = tuple(item.id for (_, item), record in zip(asked, filled) if FAILED in record)
    if missing:
        log.warning("%s: %d of %d replies are missing, written as failed", path, len(missing), len(filled))
    path.write_text(_as_json(filled, path.suffix), encoding="ascii")
    release = releases.identify([item for _, item in asked]).name
    return Written(path=path, n=len(filled), failed=missing, release=release)


def official(path: str | Path) -> pd.DataFrame:
    """The predictions file at `path` by the official rule (`parsing.mmau_match`) and by ours.

    One row per item: item, modality, answered (there is a reply), official and ours (it counts as right).
    The rule sees the raw record, as the scripts do. Raises PredictionError, as `predictions.records` does.
    """
    rows = []
    for each in predictions.records(Path(path)):
        matched = parsing.mmau_match(each.reply.text, each.record["choices"], each.record["answer"])
        right = outcomes.grade(each.item, each.reply).outcome == Outcome.CORRECT
        rows.append((each.item.id, each.item.modality, each.reply.finish != "failed", matched, right))
    return pd.DataFrame(rows, columns=["item", "modality", "answered", "official", "ours"])


def compare(frame: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Counts and accuracies of `official`'s rows by modality, then "overall".

    n (items), answered, matched (right by the official rule), accuracy (of n, a missing reply being no match),
    accuracy_answered (of the answered: what a script prints that skips records without a reply; None if there
    are none), and of the n items: both, official_only, ours_only, neither (right by which rule).
    """
    report = {}
    for group, rows in outcomes.groups(frame):
        n, answered, matched = len(rows), int(rows["answered"].sum()), int(rows["official"].sum())
        report[group] = {
            "n": n,
            "answered": answered,
            "matched": matched,
            "accuracy": matched / n,
            "accuracy_answered": matched / answered if answered else None,
            "both": int((rows["official"] & rows["ours"]).sum()),
            "official_only": int((rows["official"] & ~rows["ours"]).sum()),
            "ours_only": int((~rows["official"] & rows["ours"]).sum()),
            "neither": int((~rows["official"] & ~rows["ours"]).sum()),
        }
    return report


def _official(questions: Path) -> tuple[str, list[tuple[dict[str, Any], Item]]]:
    """Which benchmark it is, and its records as they stand there, each with the item that it describes."""
    placed = list(benchmarks.json_records(questions))
    asked = benchmarks.load(questions.resolve(), need_clips=False)
    for place, record in placed:
        if held := sorted({*predictions.REPLY_KEYS, FAILED} & set(record)):
            raise SubmissionError(
                f"{place}: holds replies already ({', '.join(held)}); give the official question file"
            )
    kind = "mmar" if "audio_path" in placed[0][1] else "mmau"
    return kind, [(record, item) for (_, record), item in zip(placed, asked, strict=True)]


def _replies(table: pd.DataFrame, known: set[str], questions: Path) -> dict[str, tuple[str, str]]:
    """(reply, why it is missing or "") by item."""
    if missing := [name for name in COLUMNS if name not in table.columns]:
        raise SubmissionError(f"the table lacks the columns {missing}; give an outcome table or reply_table")
    if len(twice := table.loc[table["item"].duplicated(), "item"]):
        raise SubmissionError(f"item {twice.iloc[0]!r} stands more than once; give one run at a time")
    if unknown := [item for item in table["item"] if item not in known]:
        raise SubmissionError(
            f"{len(unknown)} items, e.g. {unknown[0]!r}, are not in {questions}; give the file that was asked"
        )
    return {row.item: _text(row) for row in table[list(COLUMNS)].itertuples()}


def _text(row: Any) -> tuple[str, str]:
    if row.finish == "failed":
        return "", str(row.error) or "failed"
    if not isinstance(row.reply, str) or not row.reply.strip():
        return "", "empty reply"
    return row.reply, ""


def _fields(item: Item, kind: str, replies: dict[str, tuple[str, str]], parsed: bool) -> dict[str, str]:
    """What is added to an item's record."""
    text, why = replies.get(item.id, ("", UNASKED))
    reading = parsing.read(text, item.options) if parsed and text else None
    if reading and reading.choice is not None:
        text = item.options[reading.choice]
    return dict.fromkeys(KEYS[kind], text) | ({FAILED: why} if why else {})


def _as_json(records: Iterable[dict[str, Any]], suffix: str) -> str:
    """ASCII alone: the official scripts open files in whatever encoding their machine has."""
    if suffix == ".jsonl":
        return "".join(json.dumps(record) + "\n" for record in records)
    return json.dumps(list(records), indent=2) + "\n"
