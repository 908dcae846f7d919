"""Replies made elsewhere, read from the files that the tools which made them write.

In: a file. Out: a `ReplyLog`: for each record an Item without a clip, the reply as it came, and the probabilities of
the options where the file holds them. Every layout is turned into records in MMAU's schema, and these are read in one
way. No audio is opened, nothing is executed and nothing is unpacked to disk.

The layout is recognised by what is inside (a zip, a table's first line, the first record's keys):

    MMAU, MMAR   the official question file with each reply under one of REPLY_KEYS
    SH-Bench     its `results/*.json`: the question file with the reply under `pred`, and under `logp` the
                 probabilities (not logarithms) of the first token's letters, four or five of them whatever the
                 number of options; an option's own are taken
    lmms-eval    `*_samples_*.jsonl` (tool_logs.py)
    VLMEvalKit   the table MODEL_DATASET.xlsx, .tsv or .csv, a reply under `prediction` (tool_logs.py)
    inspect_ai   `.json` and `.eval` (inspect_logs.py)
    SAKURA, AQUA-Bench, UltraEval-Audio, and with the question file AU-Harness (audio_logs.py)

A reply that is absent, null, NaN or blank is *missing*, and its item has the outcome `failed`. Questions of official
files are known by their ids, all others by what is asked (`items.question_id`), so that two files of the same
questions pair in any order, with and without an option that declines.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lalm_utils import (
    audio_logs,
    benchmarks,
    declining,
    inspect_logs,
    items,
    models,
    question_layouts,
    tool_logs,
)
from lalm_utils.benchmarks import Entry, Record
from lalm_utils.items import BenchmarkError, Item
from lalm_utils.messages import join, short_repr
from lalm_utils.question_layouts import UNKNOWN_MODALITY

REPLY_KEYS = ("model_output", "model_prediction", "answer_prediction", "response")
CUT_KEY = "truncated"  # beside the reply: whether the clip was longer than the model hears; may be absent
FINISH_KEY = "finish"  # how the reply ended; "length": at the limit of tokens; may be absent
LAYOUTS = (
    "MMAU", "MMAR", "SH-Bench", "lmms-eval", "inspect_ai", "VLMEvalKit", "SAKURA", "AQUA-Bench", "UltraEval-Audio",
    "AU-Harness",
)  # fmt: skip
KINDS = (
    "sh-bench",
    "lmms-eval",
    "inspect_ai",
    "VLMEvalKit",
    "SAKURA",
    "aqua-bench",
    "UltraEval-Audio",
)  # benchmarks of items, beside MMAU and MMAR


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A record in MMAU's schema, the item that it describes, and the reply that it holds."""

    record: Mapping[str, Any]
    item: Item
    reply: models.Reply  # failed if it is missing
    probabilities: tuple[float, ...] | None = None  # of the options, in order; NaN where the file lacks one


@dataclass(frozen=True, kw_only=True)
class ReplyLog:
    """What a file holds. notes: what was left out or is missing, in words."""

    layout: str
    predictions: list[Prediction]
    notes: list[str]


def read(
    path: str | Path, *, declining_option: str = "", questions: str | Path | None = None,
    columns: Sequence[str] = (),
) -> ReplyLog:  # fmt: skip
    """All predictions of a file, in order, checked.

    questions : an official question file, where `path` has only an id and a reply in each record, or maps ids to
    replies: the two are joined by id. A question without a reply is a missing one; a reply to no question is refused.
    declining_option : the text of the option that declines; by default what the records say, else what its wording
    says (declining.py).
    columns : further keys beside the reply, to be kept where the two files are joined.

    Raises BenchmarkError: no such file, an unknown layout, a file over the bounds of a question file, a duplicate
    item, an answer that is no option or is withheld, an unanswerable item, a reply that is not text, or no reply at
    all.
    """
    path = Path(path)
    layout, entries, notes = (
        _records(path) if questions is None else _join_by_id(path, Path(questions), columns)
    )
    log_items = [_item(position, record) for position, record in entries]
    has_declining_option = any("declining_option" in record for _, record in entries)
    log_items = declining.mark(log_items, declining_option, by_wording=not has_declining_option)
    if "clip" in entries[0][1]:
        pairs = zip(log_items, entries, strict=True)
        log_items = [replace(item, id=_question_id(item, record["clip"])) for item, (_, record) in pairs]
    predictions: dict[str, Prediction] = {}
    for item, (position, record) in zip(log_items, entries, strict=True):
        if item.id in predictions:
            raise BenchmarkError(
                f"{position}: duplicate id {short_repr(item.id)}; an id names one item; remove one of them"
            )
        predictions[item.id] = Prediction(
            record=record,
            item=item,
            reply=_reply(position, record),
            probabilities=record.get("probabilities"),
        )
    if all(each.reply.finish == "failed" for each in predictions.values()):
        raise BenchmarkError(f"{path}: {_why_no_reply(list(predictions.values()))}")
    return ReplyLog(layout=layout, predictions=list(predictions.values()), notes=notes)


def _records(path: Path) -> tuple[str, list[Entry], list[str]]:
    """The layout, the records in MMAU's schema, and notes."""
    if path.suffix in tool_logs.TABLES:
        return "VLMEvalKit", tool_logs.table_records(tool_logs.read_table(path)), []
    if path.is_file() and zipfile.is_zipfile(path):
        return "inspect_ai", *inspect_logs.read_zip(path)
    text = benchmarks.read_text(path)
    if text.lstrip().partition("\n")[0].strip() == "{":  # one object over many lines
        entries = [(str(path), benchmarks.json_object(text, path))]
    else:
        entries = list(benchmarks.json_records(path, text))
    first = entries[0][1]
    if {"eval", "samples"} <= set(first) and len(entries) == 1:
        return "inspect_ai", *inspect_logs.read_object(first, path)
    if "doc_id" in first and {"resps", "filtered_resps"} & set(first):
        return (
            "lmms-eval",
            [(position, tool_logs.lmms_record(position, record)) for position, record in entries],
            [],
        )
    if question_layouts.kind_of(first) == "sh-bench":
        return "SH-Bench", *_sh_bench_records(entries)
    if len(entries) == 1 and audio_logs.is_sakura(first):
        return "SAKURA", *audio_logs.sakura_records(first, path)
    if question_layouts.kind_of(first) == "aqua-bench" and "response" in first:
        return "AQUA-Bench", *audio_logs.aqua_records(entries)
    if set(first) == audio_logs.ULTRAEVAL_KEYS:
        return "UltraEval-Audio", *audio_logs.ultraeval_records(entries)
    if audio_logs.HARNESS_KEYS.issubset(first):
        raise BenchmarkError(
            f"{entries[0][0]}: a log of AU-Harness does not part its options; give the file of the questions too, to "
            "be joined by their texts: --questions FILE"
        )
    if tool_logs.TABLE_KEYS.issubset(first):
        return "VLMEvalKit", tool_logs.table_records(entries), []
    return "MMAU" if "task" in first else "MMAR", entries, []


def _join_by_id(path: Path, questions: Path, columns: Sequence[str]) -> tuple[str, list[Entry], list[str]]:
    """The records of `questions`, each with the reply that `path` holds under its id."""
    reply_entries = _replies(path)
    replies: dict[str, Record] = {}
    more_notes: list[str] = []
    if reply_entries and audio_logs.HARNESS_KEYS.issubset(reply_entries[0][1]):
        texts, more_notes = audio_logs.harness_replies(reply_entries, _records(questions)[1])
        reply_entries = [(str(path), {"id": name, REPLY_KEYS[0]: text}) for name, text in texts.items()]
    for position, record in reply_entries:
        if record.get("id") is None:
            raise BenchmarkError(f"{position}: no id; replies are joined with {questions} by id; add it")
        if str(record["id"]) in replies:
            raise BenchmarkError(
                f"{position}: duplicate id {short_repr(record['id'])}; keep one reply to an item"
            )
        fields = (*REPLY_KEYS, CUT_KEY, FINISH_KEY, *columns)
        replies[str(record["id"])] = {key: record[key] for key in fields if key in record}
    layout, entries, notes = _records(questions)
    unknown = sorted(set(replies) - {str(record.get("id")) for _, record in entries})
    if unknown:
        raise BenchmarkError(
            f"{path}: {len(unknown)} ids are not in {questions}, e.g. {short_repr(unknown[0])}; give the file of "
            "the questions that were asked"
        )
    result = []
    for position, record in entries:
        question = {key: value for key, value in record.items() if key not in REPLY_KEYS}
        result.append((position, question | replies.get(str(record.get("id")), {})))
    return layout, result, [*notes, *more_notes]


def _replies(path: Path) -> list[Entry]:
    """The records of a file of replies; a map from id to reply is a record per id."""
    text = benchmarks.read_text(path)
    if not text.lstrip().startswith("{"):
        return list(benchmarks.json_records(path, text))
    try:
        content = benchmarks.json_object(text, path)
    except BenchmarkError:
        return list(benchmarks.json_records(path, text))  # JSON lines, or a reason why not
    if "id" in content:
        return list(benchmarks.json_records(path, text))
    return [(str(path), {"id": name, REPLY_KEYS[0]: reply}) for name, reply in content.items()]


def _question_id(item: Item, clip: str) -> str:
    options = [option for index, option in enumerate(item.options) if index != item.declining]
    return items.question_id(clip, item.question, options)


# ---- one record in MMAU's schema


def _item(position: str, record: Record) -> Item:
    """The record as an item. Its clip is a stand-in: where the audio once lay is of no concern."""
    kind = record.get("dataset") if record.get("dataset") in KINDS else "mmau" if "task" in record else "mmar"
    modality = record.get("task", record.get("modality"))
    if "clip" in record and str(modality).removeprefix("mix-").split("-")[0] not in items.MODALITIES:
        modality = UNKNOWN_MODALITY
    if modality is None and "choices" not in record and set(REPLY_KEYS) & set(record):
        raise BenchmarkError(
            f"{position}, item {short_repr(record.get('id'))}: no question, only {join(record)}; give the file of the "
            "questions too, to be joined by id: --questions FILE"
        )
    if modality is None:
        name = f", item {short_repr(record['id'])}" if record.get("id") is not None else ""
        raise BenchmarkError(
            f"{position}{name}: no modality; MMAU has it under task, MMAR under "
            f"modality; add it. Of no other layout that is known ({', '.join(LAYOUTS)}) are the keys found: "
            f"{join(record) or 'none'}"
        )
    record = {"question": "not given"} | dict(record) | {"task": modality, "audio_id": "not-opened.wav"}
    try:
        item = items.from_record(record, Path.cwd(), benchmark=kind)
    except BenchmarkError as error:
        raise BenchmarkError(f"{position}, {error}; mend the item") from error
    if not item.answerable:
        raise BenchmarkError(
            f"{position}, item {short_repr(item.id)}: unanswerable, so no option is right; score the others alone"
        )
    if item.gold is None:
        raise BenchmarkError(
            f"{position}, item {short_repr(item.id)}: its answer is withheld; score a split that has answers"
        )
    return item


def _reply(position: str, record: Record) -> models.Reply:
    texts = {key: record[key] for key in REPLY_KEYS if not _missing(record.get(key))}
    for key, text in texts.items():
        if not isinstance(text, str):
            raise BenchmarkError(
                f"{position}, item {short_repr(record['id'])}: {key} is {short_repr(text)}, not a text; give "
                "the model's raw reply"
            )
    if len(set(texts.values())) > 1:
        raise BenchmarkError(
            f"{position}, item {short_repr(record['id'])}: conflicting replies under {' and '.join(texts)}; "
            "keep one key"
        )
    if not texts:
        return models.failed("no reply in the file")
    return models.Reply(
        text=next(iter(texts.values())),
        n_tokens=0,
        finish="length" if record.get("cut") is True or record.get(FINISH_KEY) == "length" else "stop",
        truncated=record.get(CUT_KEY) is True,  # as `run` writes it
    )


def _why_no_reply(predictions: Sequence[Prediction]) -> str:
    """Of a file without any reply: whether its replies are empty or stand under no known key."""
    n, present = len(predictions), set().union(*(each.record for each in predictions))
    if present & set(REPLY_KEYS):
        return f"all {n} replies are empty or null; see why the model said nothing, and ask it again"
    return f"no reply in any of its {n} items; a reply stands under {', '.join(REPLY_KEYS)}; rename your key"


def _missing(reply: Any) -> bool:
    # NaN, the only value unlike itself, is how some writers spell an absent text.
    return reply is None or (isinstance(reply, str) and not reply.strip()) or reply != reply


# ---- SH-Bench


def _sh_bench_records(entries: Sequence[Entry]) -> tuple[list[Entry], list[str]]:
    records, n_longer, n_shorter = [], 0, 0
    for position, raw in entries:
        record = question_layouts.mmau_schema("sh-bench", position, raw) | {"model_output": raw.get("pred")}
        if raw.get("logp") is not None:
            probabilities, n = _probabilities(position, raw["logp"]), len(record["choices"])
            n_longer, n_shorter = n_longer + (len(probabilities) > n), n_shorter + (len(probabilities) < n)
            record["probabilities"] = (*probabilities[:n], *[math.nan] * (n - len(probabilities)))
        records.append((position, record))
    notes = []
    offers = [record.get("declining_option") is not None for _, record in records]
    if any(offers) and not all(offers):
        notes.append(
            f"{len(offers) - sum(offers)} items do not offer their idk_answer: none of their options declines"
        )
    if n_longer:
        notes.append(
            f"option probabilities: {n_longer} items have more than options; those of no option are dropped"
        )
    if n_shorter:
        notes.append(
            f"option probabilities: {n_shorter} items have fewer than options; the last options' are missing"
        )
    return records, notes


def _probabilities(position: str, values: Any) -> list[float]:
    numbers = values if isinstance(values, list) else [None]
    if not all(isinstance(p, int | float) and not isinstance(p, bool) and 0 <= p <= 1 for p in numbers):
        raise BenchmarkError(
            f"{position}: logp {short_repr(values)} holds no probabilities; numbers from 0 to 1 are needed"
        )
    return [float(p) for p in numbers]
