"""Logs of lmms-eval and tables of VLMEvalKit, as records in MMAU's schema for reply_logs.py.

In: lines of a `*_samples_*.jsonl`, or a table MODEL_DATASET.xlsx, .tsv or .csv. Out: records with the reply under
`model_output`, and under `clip` the clip's name or what stands for it: the record's own number.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from lalm_utils import benchmarks
from lalm_utils.benchmarks import Entry, Record
from lalm_utils.items import BenchmarkError
from lalm_utils.messages import join, short_repr

TABLES = (".tsv", ".csv", ".xlsx")
TABLE_KEYS = frozenset(("question", "A", "B", "answer", "prediction"))
FAILED = "Failed to obtain answer"  # how VLMEvalKit's predictions begin where a call broke
_LETTERED = re.compile(r"\s*\(?([A-Z])[.):]\s*(\S.*)")


# ---- lmms-eval


def lmms_record(position: str, record: Record) -> Record:
    """A line of a sample log in MMAU's schema. Its document is not always kept; then the prompt says what was asked."""
    if record.get("doc_id") is None:
        raise BenchmarkError(
            f"{position}: no doc_id, which says of which document it is; give the log as it was written"
        )
    document = next(
        (
            doc
            for doc in (record.get("doc"), record.get("submission"))
            if isinstance(doc, dict) and "question" in doc
        ),
        {},
    )
    if document:
        question, choices = document["question"], document.get("choices", document.get("options"))
        choices = _choice_list(position, choices)
    else:
        question, choices = prompt_parts(position, record.get("input"))
    clip = document.get("audio_id", document.get("audio_path"))
    return {
        "id": f"doc {record['doc_id']}",
        "clip": clip if isinstance(clip, str) else f"doc {record['doc_id']}",
        "question": question,
        "choices": choices,
        "answer": letter_or_text(document.get("answer") or record.get("target"), choices),
        "dataset": "lmms-eval",
        "task": document.get("task", document.get("modality")),
        "category": document.get("category"),
        "sub-category": document.get("sub-category"),
        "model_output": _lmms_reply(position, record.get("resps", record.get("filtered_resps"))),
    }


def _lmms_reply(position: str, replies: Any) -> Any:
    """The first reply of the one request of a document; a document of several requests was scored by likelihood."""
    if not isinstance(replies, list) or len(replies) != 1:
        raise BenchmarkError(
            f"{position}: not one reply, but {short_repr(replies)[:80]}; log-likelihoods of options are no replies: "
            "score a task that generates (generate_until)"
        )
    while isinstance(replies, list) and replies:
        replies = replies[0]
    return replies or None


def _choice_list(position: str, choices: Any) -> Any:
    """A list, which some data sets hold as the text of a JSON array."""
    try:
        return json.loads(choices) if isinstance(choices, str) else choices
    except (ValueError, RecursionError) as error:
        raise BenchmarkError(f"{position}: choices {short_repr(choices)} are no list ({error})") from error


def prompt_parts(position: str, prompt: Any) -> tuple[str, list[str]]:
    """Question and options of a prompt that lists them as lines "A. ...", "B. ..." and so on."""
    lines = prompt.split("\n") if isinstance(prompt, str) else []
    matches = [(number, match) for number, line in enumerate(lines) if (match := _LETTERED.fullmatch(line))]
    start = next((i for i in reversed(range(len(matches))) if matches[i][1][1] == "A"), len(matches))
    options = [
        match[2].strip() for letter, (_, match) in zip(ascii_uppercase, matches[start:]) if match[1] == letter
    ]
    question = "\n".join(lines[: matches[start][0]]).strip() if options else ""
    if len(options) < 2 or not question:
        raise BenchmarkError(
            f"{position}: no document with question and choices, and no lines A., B. ... below a question in input "
            f"{short_repr(prompt)[:120]}; log the samples of a multiple-choice task"
        )
    return question, options


def letter_or_text(answer: Any, choices: Any) -> Any:
    """The option that a letter such as "B" or "(B)" names; any other answer, or an option, as it is."""
    letter = answer.strip("() .") if isinstance(answer, str) else ""
    if not isinstance(choices, list) or answer in choices or not re.fullmatch("[A-Z]", letter):
        return answer
    index = ascii_uppercase.index(letter)
    return choices[index] if index < len(choices) else answer


# ---- VLMEvalKit


def table_records(entries: Sequence[Entry]) -> list[Entry]:
    """Rows of a table in MMAU's schema."""
    records = []
    for position, row in entries:
        if not TABLE_KEYS.issubset(row):
            raise BenchmarkError(
                f"{position}: no table of VLMEvalKit, which has {', '.join(sorted(TABLE_KEYS))}; found "
                f"{join(row) or 'no columns'}"
            )
        letters = [letter for letter in ascii_uppercase if row.get(letter) not in (None, "")]
        if letters != list(ascii_uppercase[: len(letters)]):
            raise BenchmarkError(
                f"{position}: options under {', '.join(letters)}; A, B, ... without a gap are needed"
            )
        choices = [str(row[letter]) for letter in letters]
        reply = row["prediction"]
        if isinstance(reply, int | float) and reply == reply:  # a cell of a workbook that holds a number
            reply = str(reply)
        failed = isinstance(reply, str) and reply.startswith(FAILED)
        clip = next((row[key] for key in ("audio_path", "audio", "video") if row.get(key)), None)
        records.append((position, {
            "id": str(row.get("index")), "clip": str(clip or f"index {row.get('index')}"), "question": row["question"],
            "choices": choices, "answer": letter_or_text(row["answer"], choices), "dataset": "VLMEvalKit",
            "task": row.get("modality"), "category": row.get("category"), "sub-category": row.get("l2-category"),
            "model_output": None if failed else reply,
        }))  # fmt: skip
    return records


def read_table(path: Path) -> list[Entry]:
    """The rows of a .tsv, .csv or .xlsx file. Raises BenchmarkError."""
    if path.suffix == ".xlsx":
        return _workbook(path)
    return list(benchmarks.csv_rows(path, dialect="excel-tab" if path.suffix == ".tsv" else "excel"))


def _workbook(path: Path) -> list[Entry]:
    """The rows of the first sheet, if the package that reads workbooks is at hand."""
    try:
        import openpyxl
    except ImportError:
        raise BenchmarkError(
            f"{path}: a workbook needs the package openpyxl, which is not installed: pip install 'lalm_utils[tables]', "
            "or save the table as .tsv"
        ) from None
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(info.file_size for info in archive.infolist())
        if size > benchmarks.MAX_BYTES:
            raise BenchmarkError(
                f"{path}: unpacks to {size:,} bytes, at most {benchmarks.MAX_BYTES:,}; split it"
            )
        sheet = openpyxl.load_workbook(path, read_only=True, data_only=True).worksheets[0]
        header, *rows = sheet.iter_rows(values_only=True)
    except BenchmarkError:
        raise
    except (ValueError, KeyError, OSError, IndexError, zipfile.BadZipFile) as error:
        raise BenchmarkError(f"{path}: no workbook with a table ({error}); save the table as .tsv") from error
    names = [str(name) for name in header]
    return [(f"{path}, row {i}", dict(zip(names, row))) for i, row in enumerate(rows, start=2)]
