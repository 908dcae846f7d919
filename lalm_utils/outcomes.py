"""From replies to the outcome table, the only structure that later stages share.

In: items and the replies to them. Out: a plain pandas DataFrame with the columns of `COLUMNS`, one row
per (run, item). This module knows nothing about models, prompts or metrics; it decides only what became
of one reply (`grade`), and which rows of a table a metric may be computed on (`scorable`). A table that was
saved as CSV is read back by `read_table`.

Every reply has exactly one outcome:

    correct     the option that was read has the text of the gold option (some official items list it twice)
    wrong       another option was read; also any option given on an unanswerable item
    refused     the model said that it does not know, or chose the option that declines
    unreadable  there is a reply, but neither an option nor a refusal can be read from it (an empty text
    included)
    failed      there is no reply, the call broke; never an answer, and never silently left out
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from lalm_utils import parsing
from lalm_utils.refusals import KINDS

if TYPE_CHECKING:
    from lalm_utils.items import Item
    from lalm_utils.models import Reply

COLUMNS = (
    "model",  # name of the model, as load_model knows it
    "method",  # how it was asked
    "benchmark",
    "split",
    "seed",  # int
    "item",  # the item's id; one row per item within a run
    "modality",  # sound, music, speech or a mix
    "category",
    "task",
    "level",  # easy, medium, hard or ""
    "novel",  # bool
    "answerable",  # bool; False rows never enter accuracy
    "kind",  # of unanswerable: inaudible, ungrounded; else ""
    "reason",  # of unanswerable: silence, masked, option_removed, wrong_category; else ""
    "n_options",  # int
    "chance",  # share of options that would be right, 0..1
    "gold",  # Int64, index of the right option, <NA> if there is none
    "declining",  # Int64, index of the option that declines, <NA> if there is none
    "reply",  # the raw text
    "choice",  # Int64, index of the option read, <NA> if none was
    "outcome",  # one of Outcome's values
    "refusal",  # of refused: how, one of refusals.KINDS; else ""
    "finish",  # stop, length, failed
    "error",  # why the call broke, else ""
    "truncated",  # bool, the audio was cut
    "n_tokens",  # int
)
BOOLS, INTEGERS, MAYBE_INTEGERS = (
    ("novel", "answerable", "truncated"), ("seed", "n_options", "n_tokens"), ("gold", "choice", "declining"),
)  # fmt: skip
_ORDER = ("sound", "music", "speech", "easy", "medium", "hard")


class OutcomeError(ValueError):
    """A table, or a pair of tables, that no metric may be computed on; the message says what to do."""


class Outcome(StrEnum):
    """What became of one reply; see the module's docstring."""

    CORRECT = "correct"
    WRONG = "wrong"
    REFUSED = "refused"
    UNREADABLE = "unreadable"
    FAILED = "failed"


REPLY_OUTCOMES = ("correct", "wrong", "refused", "unreadable")  # those of a reply: every one but failed


@dataclass(frozen=True, kw_only=True)
class Grade:
    """An outcome, the index of the option that was read, if any, and a refusal's kind (refusals.KINDS)."""

    outcome: Outcome
    choice: int | None = None
    refusal: str = ""  # "" unless the outcome is `refused`


def grade(item: Item, reply: Reply) -> Grade:
    """Decide the outcome of one reply to one item.

    Raises OutcomeError for an answerable item without a gold option: its answer is withheld, nothing can be
    graded. On an unanswerable item every option is `wrong` and a refusal is `refused`. To choose the option that
    declines is `refused` on any item, and its index is kept as the choice.
    """
    if item.answerable and item.gold is None:
        raise OutcomeError(
            f"item {item.id!r} has no answer: it is withheld, use a split that publishes its answers"
        )
    if reply.finish == "failed":
        return Grade(outcome=Outcome.FAILED)
    reading = parsing.read(reply.text, item.options, declining=item.declining, cut=reply.finish == "length")
    if reading.kind == "refusal":
        return Grade(outcome=Outcome.REFUSED, choice=reading.choice, refusal=reading.refusal)
    if reading.kind == "unreadable":
        return Grade(outcome=Outcome.UNREADABLE)
    right = item.answerable and item.options[reading.choice] == item.options[item.gold]
    return Grade(outcome=Outcome.CORRECT if right else Outcome.WRONG, choice=reading.choice)


def table(
    items: Sequence[Item], replies: Sequence[Reply], *, model: str, method: str, seed: int
) -> pd.DataFrame:
    """The outcome table of one run: the columns of COLUMNS, one row per item, in the items' order.

    items, replies: as many of the one as of the other; one reply per item, not a list of samples.
    Raises OutcomeError for unequal lengths, lists of samples, duplicate ids and withheld answers.
    """
    if len(items) != len(replies):
        raise OutcomeError(
            f"{len(items)} items but {len(replies)} replies: give one reply per item, in order"
        )
    if any(isinstance(reply, list | tuple) for reply in replies):
        raise OutcomeError(
            "replies are lists of samples: pick one per item, e.g. [samples[0] for samples in replies]"
        )
    _refuse_duplicates(pd.Series([item.id for item in items], dtype=object))
    run = {"model": model, "method": method, "seed": seed}
    rows = [run | _row(item, reply) for item, reply in zip(items, replies, strict=True)]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    return frame.astype(dict.fromkeys(("gold", "declining", "choice"), "Int64"))


def read_table(path: str | Path) -> pd.DataFrame:
    """An outcome table from a CSV that was written with to_csv(index=False), every column with its type again.

    A plain pd.read_csv makes "" missing, ids numbers, and truth values text as soon as one cell is empty; and the
    text "False" counts as true. Other columns than COLUMNS are as pandas reads them. Raises OSError where the
    file cannot be read, OutcomeError where it is no such table.
    """
    types = dict.fromkeys(COLUMNS, str) | dict.fromkeys(INTEGERS, "int64") | {"chance": "float64"}
    types |= dict.fromkeys(MAYBE_INTEGERS, "Int64")
    missing = {name: [""] for name in (*MAYBE_INTEGERS, "chance")}
    try:
        frame = pd.read_csv(path, dtype=types, keep_default_na=False, na_values=missing)
    except (ValueError, UnicodeDecodeError) as error:  # pandas' own errors of parsing are ValueErrors
        raise OutcomeError(f"{path}: not an outcome table as CSV ({error})") from error
    for name in set(BOOLS) & set(frame.columns):
        values = frame[name].str.lower().map({"true": True, "false": False})
        if values.isna().any():
            strange = frame.loc[values.isna(), name].iloc[0]
            raise OutcomeError(f"{path}: column {name!r} holds {strange!r}, but each cell is True or False")
        frame[name] = values.astype(bool)
    return frame


def scorable(frame: pd.DataFrame, *, exclude: Collection[str] = ()) -> pd.DataFrame:
    """The rows of one run that a metric is computed on: all of them but those excluded by name.

    Needs the columns item, modality, outcome and answerable. Raises OutcomeError for a missing column, no
    rows, an unknown outcome, an item that occurs twice, an id in `exclude` that is not in the table, an
    unanswerable item, and a failed row that `exclude` does not name: a metric over the rows that happened
    to work is a metric of other items.
    """
    validate(frame)
    ids = as_ids(exclude)
    unknown = sorted(ids - set(frame["item"]))
    if unknown:
        raise OutcomeError(f"exclude names {_some(unknown)}, not in the table: correct the ids")
    rows = frame[~frame["item"].isin(ids)]
    unanswerable = rows.loc[~rows["answerable"].astype(bool), "item"]
    if len(unanswerable):
        raise OutcomeError(
            f"{len(unanswerable)} unanswerable items, e.g. {_some(unanswerable)}: no option is right, they "
            "never enter accuracy; keep table[table.answerable] here and give the whole to refusal_by_kind"
        )
    refuse_failed(rows)
    return rows


def refuse_failed(frame: pd.DataFrame) -> None:
    """Raise OutcomeError if any row failed, naming the first of them."""
    failed = frame.loc[frame["outcome"] == Outcome.FAILED, "item"]
    if len(failed):
        raise OutcomeError(
            f"{len(failed)} of {len(frame)} rows failed, e.g. {_some(failed)}: ask them again, or leave them "
            "out by name with exclude=[...], which is reported"
        )


def validate(frame: pd.DataFrame) -> None:
    """Raise OutcomeError unless `frame` is one run's outcome table; failed and unanswerable rows are fine."""
    missing = [name for name in ("item", "modality", "outcome", "answerable") if name not in frame.columns]
    if missing:
        raise OutcomeError(f"the table lacks the columns {missing}: build it with outcomes.table")
    if frame.empty:
        raise OutcomeError("the table has no rows: nothing was asked, or a filter left nothing")
    for name in ("item", "modality", "answerable"):
        if frame[name].isna().any():
            raise OutcomeError(f"column {name!r} has empty cells: every row needs one")
    for name in set(BOOLS) & set(frame.columns):
        if frame[name].dtype != bool and frame[name].map(lambda value: isinstance(value, str)).any():
            raise OutcomeError(
                f"column {name!r} holds text, and the text 'False' would count as true: read the CSV with "
                "outcomes.read_table, which restores the types"
            )
    strange = sorted({str(value) for value in frame["outcome"]} - set(Outcome))
    if strange:
        raise OutcomeError(f"unknown outcomes {_some(strange)}: they are {', '.join(Outcome)}")
    _refuse_duplicates(frame["item"])


def failed_ids(*tables: pd.DataFrame | Mapping[str, Sequence[pd.DataFrame]]) -> list[str]:
    """The ids of the items that failed in any of these tables, sorted: what to `exclude` from all of them.

    tables : outcome tables, or adapters' tables by the modality they were trained on. Raises OutcomeError for
    a malformed table.
    """
    single = []
    for table in tables:
        single += (
            [table] if isinstance(table, pd.DataFrame) else [run for runs in table.values() for run in runs]
        )
    for table in single:
        validate(table)
    return sorted(
        {item for table in single for item in table.loc[table["outcome"] == Outcome.FAILED, "item"]}
    )


def refusal_kinds(frame: pd.DataFrame) -> dict[str, int]:
    """Refused rows by kind, all of refusals.KINDS. no_audio, "no audio was provided", is a fault of the set-up."""
    return {kind: int((frame["refusal"] == kind).sum()) for kind in KINDS}


def as_ids(exclude: Collection[str]) -> set[str]:
    """The ids that a metric leaves out by name, as a set. Raises OutcomeError for a bare text."""
    if isinstance(exclude, str):
        raise OutcomeError(f"exclude is the text {exclude!r}: give a list of ids, exclude=[{exclude!r}]")
    return set(exclude)


def groups(frame: pd.DataFrame, by: str | None = "modality") -> Iterator[tuple[str, pd.DataFrame]]:
    """Pairs (label, rows): one per value of column `by`, then ("overall", all rows).

    Modalities and levels come in the papers' order, other values sorted; an empty value is "(none)".
    """
    if by is not None:
        if by not in frame.columns:
            raise OutcomeError(
                f"no column {by!r} to group by: the table has {', '.join(map(str, frame.columns))}"
            )
        values = frame[by].astype(object).where(frame[by].notna(), "")
        labels = [str(value) or "(none)" for value in values]
        if "overall" in labels:
            raise OutcomeError(
                f"column {by!r} has a value 'overall', the name of the pooled group: rename it"
            )
        positions: dict[str, list[int]] = {}  # not by comparing a column, which takes "\0" for ""
        for position, label in enumerate(labels):
            positions.setdefault(label, []).append(position)
        for label in sorted(positions, key=_rank):
            yield label, frame.iloc[positions[label]]
    yield "overall", frame


def _row(item: Item, reply: Reply) -> dict:
    graded = grade(item, reply)
    return {
        "benchmark": item.benchmark, "split": item.split, "item": item.id, "modality": item.modality,
        "category": item.category, "task": item.task, "level": item.level, "novel": item.novel,
        "answerable": item.answerable, "kind": item.kind, "reason": item.reason,
        "n_options": len(item.options), "chance": item.chance, "gold": item.gold,
        "declining": item.declining,
        "reply": reply.text, "choice": graded.choice, "outcome": graded.outcome.value, "refusal": graded.refusal,
        "finish": reply.finish, "error": reply.error, "truncated": reply.truncated,
        "n_tokens": reply.n_tokens,
    }  # fmt: skip


def _refuse_duplicates(ids: pd.Series) -> None:
    twice = ids[ids.duplicated()].unique()
    if len(twice):
        raise OutcomeError(
            f"{len(twice)} items occur more than once, e.g. {_some(twice)}: give one run at a time, "
            "one row per item (filter by model, method, split and seed)"
        )


def _some(values: Collection, at_most: int = 3) -> str:
    text = ", ".join(repr(value) for value in list(values)[:at_most])
    return text + (", ..." if len(values) > at_most else "")


def _rank(label: str) -> tuple[int, str]:
    return (_ORDER.index(label) if label in _ORDER else len(_ORDER), label)
