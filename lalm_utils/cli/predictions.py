"""Replies made elsewhere, read from an official question file with a reply beside each question.

In: the path of an MMAU or MMAR file (JSON array or JSON lines). Out: its outcome table. No audio is opened,
and neither `audio_id` nor `question` is needed: a reply is graded against its options alone. This module
computes no metric.

The reply stands under one of `REPLY_KEYS`; official scripts and their own documentation differ on the name.
A reply that is absent, null, NaN or blank is *missing*, and its item has the outcome `failed`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lalm_utils import benchmarks, items, models, outcomes
from lalm_utils.items import BenchmarkError
from lalm_utils.messages import short_repr

REPLY_KEYS = ("model_output", "model_prediction", "answer_prediction", "response")

CUT_KEY = "truncated"  # beside the reply: whether the clip was longer than the model hears; may be absent


class PredictionError(ValueError):
    """A predictions file that cannot be scored. The message names file, item, rule and next step."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One record of a predictions file, the item that it describes, and the reply that it holds."""

    record: Mapping[str, Any]
    item: items.Item
    reply: models.Reply  # failed if it is missing


def table(predictions: Sequence[Prediction], path: Path) -> pd.DataFrame:
    """The outcome table of the predictions in the file at `path`; items without a reply are `failed`."""
    items, replies = zip(*((each.item, each.reply) for each in predictions))
    return outcomes.table(items, replies, model=path.name, method="", seed=0)


def records(path: Path, questions: Path | None = None) -> list[Prediction]:
    """All predictions of a file, in order, checked.

    With `questions`, an official question file, `path` needs an id and a reply in each record, or maps ids to
    replies; the two are joined by id. Questions without a reply are missing ones; replies to no question are refused.
    Raises PredictionError: no such file, not JSON, empty, a duplicate id, an answer that is no option or is
    withheld, an unanswerable item, a reply that is not text, reply keys that conflict, or no reply at all.
    """
    predictions: dict[str, Prediction] = {}
    for position, record in _records(path) if questions is None else _join_by_id(path, questions):
        item = _item(position, record)
        if item.id in predictions:
            raise PredictionError(
                f"{position}: duplicate id {short_repr(item.id)}; an id names one item; remove one of them"
            )
        predictions[item.id] = Prediction(record=record, item=item, reply=_reply(position, record))
    if all(each.reply.finish == "failed" for each in predictions.values()):
        raise PredictionError(
            f"{path}: no reply in any of its {len(predictions)} items; a reply stands under "
            f"{', '.join(REPLY_KEYS)}; rename your key"
        )
    return list(predictions.values())


def _join_by_id(path: Path, questions: Path) -> list[tuple[str, Mapping[str, Any]]]:
    """The records of `questions`, each with the reply that `path` holds under its id."""
    replies: dict[Any, Mapping[str, Any]] = {}
    for position, record in _replies(path):
        if record.get("id") is None:
            raise PredictionError(f"{position}: no id; replies are joined with {questions} by id; add it")
        if record["id"] in replies:
            raise PredictionError(
                f"{position}: duplicate id {short_repr(record['id'])}; keep one reply to an item"
            )
        replies[record["id"]] = {key: record[key] for key in (*REPLY_KEYS, CUT_KEY) if key in record}
    asked = _records(questions)
    unknown = sorted(set(map(str, replies)) - {str(record.get("id")) for _, record in asked})
    if unknown:
        raise PredictionError(
            f"{path}: {len(unknown)} ids are not in {questions}, e.g. {short_repr(unknown[0])}; give the file of "
            "the questions that were asked"
        )
    by_id = {str(name): reply for name, reply in replies.items()}
    bare = ({key: value for key, value in record.items() if key not in REPLY_KEYS} for _, record in asked)
    return [
        (position, record | by_id.get(str(record.get("id")), {}))
        for (position, _), record in zip(asked, bare)
    ]


def _replies(path: Path) -> list[tuple[str, Mapping[str, Any]]]:
    """The records of a file of replies; a map from id to reply is a record per id."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return _records(path)  # JSON lines, or a reason why not
    if not isinstance(content, dict) or "id" in content:
        return _records(path)
    return [(str(path), {"id": name, REPLY_KEYS[0]: reply}) for name, reply in content.items()]


def _records(path: Path) -> list[tuple[str, Mapping[str, Any]]]:
    try:
        return list(benchmarks.json_records(path))
    except BenchmarkError as error:
        raise PredictionError(str(error)) from error


def _item(position: str, record: Mapping[str, Any]) -> items.Item:
    """The record as an item. Its clip is a stand-in: where the audio once lay is of no concern."""
    kind = "mmau" if "task" in record else "mmar"
    modality = record.get("task", record.get("modality"))
    if modality is None and "choices" not in record and set(REPLY_KEYS) & set(record):
        raise PredictionError(
            f"{position}, item {short_repr(record.get('id'))}: no question, only {', '.join(map(str, record))}; give "
            "the file of the questions too, to be joined by id: --questions FILE"
        )
    if modality is None:
        raise PredictionError(
            f"{position}, item {short_repr(record.get('id'))}: no modality; MMAU has it under task, MMAR under "
            "modality; add it"
        )
    record = {"question": "not given"} | dict(record) | {"task": modality, "audio_id": "not-opened.wav"}
    try:
        item = items.from_record(record, Path.cwd(), benchmark=kind)
    except BenchmarkError as error:
        raise PredictionError(f"{position}, {error}; mend the item") from error
    if not item.answerable:
        raise PredictionError(
            f"{position}, item {short_repr(item.id)}: unanswerable, so no option is right; score the others alone"
        )
    if item.gold is None:
        raise PredictionError(
            f"{position}, item {short_repr(item.id)}: its answer is withheld; score a split that has answers"
        )
    return item


def _reply(position: str, record: Mapping[str, Any]) -> models.Reply:
    texts = {key: record[key] for key in REPLY_KEYS if not _missing(record.get(key))}
    for key, text in texts.items():
        if not isinstance(text, str):
            raise PredictionError(
                f"{position}, item {short_repr(record['id'])}: {key} is {short_repr(text)}, not a text; give "
                "the model's raw reply"
            )
    if len(set(texts.values())) > 1:
        raise PredictionError(
            f"{position}, item {short_repr(record['id'])}: conflicting replies under {' and '.join(texts)}; "
            "keep one key"
        )
    if not texts:
        return models.failed("no reply in the file")
    truncated = record.get(CUT_KEY) is True  # as `run` writes it
    return models.Reply(text=next(iter(texts.values())), n_tokens=0, finish="stop", truncated=truncated)


def _missing(reply: Any) -> bool:
    # NaN, the only value unlike itself, is how some writers spell an absent text.
    return reply is None or (isinstance(reply, str) and not reply.strip()) or reply != reply
