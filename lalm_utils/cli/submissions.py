"""What the official scripts of MMAU and MMAR read (the command `python -m lalm_utils submit`), and their own rule.

In: an official question file and the replies to its items. Out: the same records with a reply in each, as the
official evaluation scripts want them (`write`); and the accuracy by those scripts' rule, beside ours
(`official`, `compare`). No model is asked and no audio opened.

    python -m lalm_utils submit out/mini-mmau --benchmark mmau-test.json --method plain --out submission.json

A reply is written under two keys: the one that a benchmark's script reads (MMAU: model_output, MMAR:
answer_prediction) and the one that its README names (model_prediction). A record without the key is left out
of the scripts' denominator, and another, easier, set of items is scored. So every record gets the keys: a
failed reply is an empty text, which the scripts count as wrong, and `reply_failed` beside it says why.

MMAR's leaderboard takes less (`--leaderboard`): an id, the thoughts of a reply and its answer. SAKURA is judged from
one object, whose `results` hold instruction, label and response of each clip; its folder is given as the benchmark.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from lalm_utils import benchmarks, outcomes, parsing, releases
from lalm_utils.cli import predictions, run_files
from lalm_utils.outcomes import Outcome

if TYPE_CHECKING:
    from lalm_utils.items import Item

KEYS = {
    "mmau": ("model_output", "model_prediction"),
    "mmar": ("answer_prediction", "model_prediction"),
    "sakura": ("response",),
}
FAILED = "reply_failed"
UNASKED = "not asked in this run"

RunReply = tuple[str, str | None, str]  # an item's id, its reply or None, and why there is none

log = logging.getLogger(__name__)


class SubmissionError(ValueError):
    """A submission that cannot be written. The message names file or item, rule and next step."""


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What a submission file holds."""

    path: Path
    n: int  # records, as many as the question file has
    failed: tuple[str, ...]  # ids whose reply is missing, the ones that were not asked included
    release: str  # of the question file, by its content


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add `submit` to the subcommands of `python -m lalm_utils`."""
    parser = commands.add_parser(
        "submit",
        help="write a run's replies for the official script of MMAU or MMAR, MMAR's leaderboard or SAKURA's judge",
        description="Write the records of an official question file, each with the reply of a run's folder.",
    )
    add = parser.add_argument
    add("folder", type=Path, metavar="RUN_FOLDER", help="what `run` wrote (--out)")
    add(
        "--benchmark",
        type=Path,
        required=True,
        metavar="FILE",
        help="the official question file of the run, or a folder of SAKURA",
    )
    add("--out", type=Path, required=True, metavar="FILE", help="the submission, .json; for MMAR also .jsonl")
    add("--method", default="plain", help="the run's method (default: plain)")
    add(
        "--parsed",
        action="store_true",
        help="write the option that our parser reads in a reply, where it reads one",
    )
    add(
        "--leaderboard", action="store_true", help="id, thoughts and answer alone, as MMAR's leaderboard asks"
    )
    parser.set_defaults(run=run, faults=(SubmissionError,))


def run(args: argparse.Namespace) -> int:
    """Write, print. Returns the exit code, 0: missing replies are no error, but are counted."""
    replies = read_run(args.folder, args.method)
    if args.benchmark.is_dir() and any(args.benchmark.rglob("metadata.csv")):
        submission = write_sakura(args.out, args.benchmark, replies, parsed=args.parsed)
    else:
        submission = write(
            args.out, args.benchmark, replies, parsed=args.parsed, leaderboard=args.leaderboard
        )
    print(
        f"benchmark: {submission.release}\nwritten to {submission.path}: {submission.n} records, "
        f"{len(submission.failed)} of them without a reply; replies are {'parsed' if args.parsed else 'as they came'}"
    )
    return 0


def read_run(folder: Path, method: str) -> list[RunReply]:
    """The replies of one method in a run's folder, items with withheld answers included.

    SubmissionError where the folder lacks them, or where options were asked in another order than the file's: a
    letter in a reply would name another option.
    """
    facts_file, replies_file = folder / run_files.FACTS, folder / run_files.files_of(method)[1]
    if not (facts_file.is_file() and replies_file.is_file()):
        raise SubmissionError(
            f"{folder}: no {run_files.FACTS} and {replies_file.name}; give a folder of `run`"
        )
    try:
        facts = json.loads(facts_file.read_text(encoding="utf-8"))
        records = [json.loads(line) for line in replies_file.read_text(encoding="utf-8").splitlines()]
        replies = [(record["id"], record[run_files.REPLY_KEY], record.get("error", "")) for record in records]
        order = facts.get("option_order")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SubmissionError(
            f"{folder}: not written by `run` ({error!r}); give a folder of `run`"
        ) from error
    if order is not None:
        raise SubmissionError(f"{folder}: was asked with --option-order {order}; submit a run without it")
    return replies


def write(
    path: str | Path, questions: str | Path, replies: Sequence[RunReply], *, parsed: bool = False,
    leaderboard: bool = False,
) -> Submission:  # fmt: skip
    """Write the records of the official file `questions` to `path`, each with its reply.

    parsed: a reply in which `parsing.read` finds an option is written as that option's text, any other as it
    is; the official rule misses many right answers in sentences. Say with a number which of the two it was.
    leaderboard: of MMAR alone: a record is its id, thinking_prediction (what stands in the reply's tags of thoughts)
    and answer_prediction.
    The ending of `path` decides the layout, as in the official scripts: .json is an array, .jsonl (MMAR alone)
    one record a line. An existing file is overwritten.

    Raises SubmissionError: another ending, replies of several runs or to items that the file lacks, or a question
    file that holds replies; BenchmarkError if that is no question file of MMAU or MMAR.
    """
    path, questions = Path(path), Path(questions)
    kind, records = _official(questions)
    if path.suffix not in ((".json",) if kind == "mmau" else (".json", ".jsonl")):
        raise SubmissionError(f"{path}: {kind.upper()}'s script reads .json{' or .jsonl' * (kind == 'mmar')}")
    if path.resolve() == questions.resolve():
        raise SubmissionError(f"{path}: would overwrite the question file; name another")
    if leaderboard and kind != "mmar":
        raise SubmissionError(f"{questions}: is of {kind.upper()}; the leaderboard's layout is MMAR's")
    texts = _by_item(replies, {item.id for _, item in records}, questions)
    predictions = [record | _fields(item, kind, texts, parsed) for record, item in records]
    if leaderboard:
        predictions = [
            {"id": record["id"], "thinking_prediction": parsing.thoughts(texts.get(item.id, ("", ""))[0])}
            | {key: line[key] for key in (KEYS[kind][0], FAILED) if key in line}
            for line, (record, item) in zip(predictions, records)
        ]
    missing = tuple(item.id for (_, item), record in zip(records, predictions) if FAILED in record)
    if missing:
        log.warning(
            "%s: %d of %d replies are missing, written as failed", path, len(missing), len(predictions)
        )
    # ASCII alone: the official scripts open files in whatever encoding their machine has
    lines = "".join(json.dumps(record) + "\n" for record in predictions)
    path.write_text(
        lines if path.suffix == ".jsonl" else json.dumps(predictions, indent=2) + "\n", encoding="ascii"
    )
    release = releases.identify([item for _, item in records]).name
    return Submission(path=path, n=len(predictions), failed=missing, release=release)


def write_sakura(
    path: str | Path, folder: str | Path, replies: Sequence[RunReply], *, parsed: bool = False
) -> Submission:
    """Write the replies to one hop of SAKURA as its judge reads them: an object `results` with an entry a clip.

    Raises SubmissionError: not .json, replies of both hops, a clip's name in two tracks (give one track's folder),
    or replies to items that the folder lacks.
    """
    path = Path(path)
    if path.suffix != ".json":
        raise SubmissionError(f"{path}: SAKURA's judge reads .json")
    hops = {item.rpartition("/")[2] for item, _, _ in replies}
    if len(hops) != 1:
        raise SubmissionError(
            f"replies to {len(hops)} hops of SAKURA ({', '.join(sorted(hops))}); give one run"
        )
    loaded = benchmarks.load(folder, split=hops.pop(), need_clips=False)
    texts = _by_item(replies, {item.id for item in loaded}, folder)
    results: dict[str, dict[str, str]] = {}
    for item in loaded:
        lettered = [f"({chr(ord('a') + i)}) {option}" for i, option in enumerate(item.options)]
        if item.clip.name in results:
            raise SubmissionError(f"{folder}: {item.clip.name} lies in two tracks; give one track's folder")
        results[item.clip.name] = {
            "instruction": " ".join([item.question, *lettered]),
            "label": lettered[item.gold],
            **_fields(item, "sakura", texts, parsed),
        }
    path.write_text(json.dumps({"results": results}, indent=2) + "\n", encoding="ascii")
    missing = tuple(item.id for item in loaded if FAILED in results[item.clip.name])
    return Submission(path=path, n=len(results), failed=missing, release=releases.identify(loaded).name)


def official(log: Sequence[predictions.Prediction]) -> pd.DataFrame:
    """The predictions of a file, as `predictions.records` reads them, by the official rule (`parsing.mmau_match`)
    and by ours.

    One row per item: item, modality, answered (there is a reply), official and ours (it counts as right).
    The rule sees the raw record, as the scripts do.
    """
    rows = []
    for each in log:
        is_match = parsing.mmau_match(each.reply.text, each.record["choices"], each.record["answer"])
        right = outcomes.grade(each.item, each.reply).outcome == Outcome.CORRECT
        rows.append((each.item.id, each.item.modality, each.reply.finish != "failed", is_match, right))
    return pd.DataFrame(rows, columns=["item", "modality", "answered", "official", "ours"])


def compare(frame: pd.DataFrame, by: str = "modality") -> dict[str, dict[str, Any]]:
    """Counts and accuracies of `official`'s rows by modality (or another column), then "overall".

    n (items), answered, matched (right by the official rule), accuracy (of n, a missing reply being no match),
    accuracy_answered (of the answered: what a script prints that skips records without a reply; None if there
    are none), and of the n items: both, official_only, ours_only, neither (right by which rule).
    """
    report = {}
    for group, rows in outcomes.groups(frame, by):
        n, answered, n_official = len(rows), int(rows["answered"].sum()), int(rows["official"].sum())
        n_both = int((rows["official"] & rows["ours"]).sum())
        ours_only = int(rows["ours"].sum()) - n_both
        report[group] = {
            "n": n,
            "answered": answered,
            "matched": n_official,
            "accuracy": n_official / n,
            "accuracy_answered": n_official / answered if answered else None,
            "both": n_both,
            "official_only": n_official - n_both,
            "ours_only": ours_only,
            "neither": n - n_official - ours_only,
        }
    return report


def _official(questions: Path) -> tuple[str, list[tuple[dict[str, Any], Item]]]:
    """Which benchmark it is, and its records as they stand there, each with the item that it describes."""
    records = list(benchmarks.json_records(questions))
    loaded = benchmarks.load(questions.resolve(), need_clips=False)
    for position, record in records:
        if held := sorted({*predictions.REPLY_KEYS, FAILED} & set(record)):
            raise SubmissionError(
                f"{position}: holds replies already ({', '.join(held)}); give the official question file"
            )
    kind = "mmar" if "audio_path" in records[0][1] else "mmau"
    return kind, [(record, item) for (_, record), item in zip(records, loaded, strict=True)]


def _by_item(replies: Sequence[RunReply], ids: set[str], questions: str | Path) -> dict[str, tuple[str, str]]:
    """By item the reply, and why it is missing or ""."""
    texts: dict[str, tuple[str, str]] = {}
    for item, text, error in replies:
        if item in texts:
            raise SubmissionError(f"item {item!r} stands more than once; give one run at a time")
        texts[item] = (
            ("", error or "failed") if text is None else (text, "" if text.strip() else "empty reply")
        )
    if unknown := [item for item in texts if item not in ids]:
        raise SubmissionError(
            f"{len(unknown)} items, e.g. {unknown[0]!r}, are not in {questions}; give the file that was asked"
        )
    return texts


def _fields(item: Item, kind: str, texts: dict[str, tuple[str, str]], parsed: bool) -> dict[str, str]:
    """What is added to an item's record."""
    text, why = texts.get(item.id, ("", UNASKED))
    reading = parsing.read(text, item.options) if parsed and not why else None
    if reading and reading.choice is not None:
        text = item.options[reading.choice]
    return dict.fromkeys(KEYS[kind], "" if why else text) | ({FAILED: why} if why else {})
