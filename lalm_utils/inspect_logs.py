"""Logs of inspect_ai: the samples of a `.json` log, or of an `.eval` log, which is a zip.

In: the log. Out: its samples as records in MMAU's schema, with the reply under `model_output` (reply_logs.py), and
what is to be said about them. Nothing in a log is executed, and nothing of a zip is written to disk: its entries are
read by name, within bounds, as JSON.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lalm_utils import benchmarks
from lalm_utils.benchmarks import MAX_BYTES, Entry, Record
from lalm_utils.items import BenchmarkError
from lalm_utils.messages import join, short_repr

MAX_ENTRIES = 100_000  # of a zip
_SAMPLE = re.compile(r"samples/[^/]+\.json")
_CONVERT = "write it anew with `inspect log convert --to json`"


def read_zip(file: Path) -> tuple[list[Entry], list[str]]:
    """The records and notes of an `.eval` log. Raises BenchmarkError."""
    try:
        if file.stat().st_size > MAX_BYTES:
            raise BenchmarkError(f"{file}: {file.stat().st_size:,} bytes; at most {MAX_BYTES:,}; split it")
        with zipfile.ZipFile(file) as archive:
            infos = {info.filename: info for info in archive.infolist()}
            names = sorted(filter(_SAMPLE.fullmatch, infos))
            _refuse_other_archives(file, infos, names)
            size = sum(infos[name].file_size for name in names)
            if len(infos) > MAX_ENTRIES or size > MAX_BYTES:
                raise BenchmarkError(
                    f"{file}: {len(infos):,} entries, {size:,} bytes of samples; at most {MAX_ENTRIES:,} and "
                    f"{MAX_BYTES:,}; split it"
                )
            status = ""
            if "header.json" in infos and infos["header.json"].file_size <= MAX_BYTES:
                status = _entry(archive, "header.json", file).get("status", "")
            # One sample after the other, each reduced to its record: events take most of a log.
            records = [_record(f"{file}, {name}", _entry(archive, name, file)) for name in names]
    except BenchmarkError:
        raise
    except NotImplementedError as error:
        raise BenchmarkError(
            f"{file}: packed in a way that is not read here ({error}); {_CONVERT}"
        ) from error
    except (zipfile.BadZipFile, RuntimeError, OSError, EOFError, ValueError) as error:
        raise BenchmarkError(f"{file}: not a whole zip ({error}); fetch it again, or {_CONVERT}") from error
    return _first_epoch(records, status)


def read_object(log: Mapping[str, Any], file: Path) -> tuple[list[Entry], list[str]]:
    """The records and notes of a `.json` log. Raises BenchmarkError."""
    samples = log["samples"]
    if (
        not isinstance(samples, list)
        or not samples
        or not all(isinstance(sample, dict) for sample in samples)
    ):
        raise BenchmarkError(
            f"{file}: samples is {short_repr(samples)[:80]}, no list of samples; give a whole log"
        )
    records = [_record(f"{file}, sample {i}", sample) for i, sample in enumerate(samples, start=1)]
    return _first_epoch(records, log.get("status", ""))


def _refuse_other_archives(file: Path, infos: Mapping[str, Any], names: list[str]) -> None:
    if any(name.endswith("/sample.json") for name in infos):
        raise BenchmarkError(
            f"{file}: an inspect_ai log in chunks (its version 3), which is not read here; {_CONVERT}"
        )
    if not names:
        raise BenchmarkError(
            f"{file}: a zip without samples/*.json, so no log of inspect_ai; it holds {join(infos, 5) or 'nothing'}"
        )


def _entry(archive: zipfile.ZipFile, name: str, file: Path) -> Record:
    with archive.open(name) as stream:
        content = stream.read(MAX_BYTES + 1)
    try:
        return benchmarks.json_object(content.decode("utf-8-sig"), f"{file}, {name}")
    except UnicodeDecodeError as error:
        raise BenchmarkError(
            f"{file}, {name}: not UTF-8 at byte {error.start}; fetch the log again"
        ) from error


def _record(position: str, sample: Record) -> tuple[str, Record, int]:
    """Position, record and epoch of a sample."""
    epoch = sample.get("epoch", 1)
    if isinstance(epoch, bool) or not isinstance(epoch, int):
        raise BenchmarkError(f"{position}: epoch {short_repr(epoch)}; a whole number is needed")
    choices = sample.get("choices")
    if not isinstance(choices, list) or not choices:
        raise BenchmarkError(f"{position}: no choices; only multiple choice is scored here")
    question, clip = _question(position, sample)
    metadata = sample.get("metadata") if isinstance(sample.get("metadata"), dict) else {}
    text, stop = _reply(sample.get("output"))
    record = {
        "id": str(sample.get("id")),
        "clip": clip or f"sample {sample.get('id')}",
        "question": question,
        "choices": choices,
        "answer": _answer(position, sample.get("target"), choices),
        "dataset": "inspect_ai",
        "task": metadata.get("modality", metadata.get("task")),
        "category": metadata.get("category"),
        "model_output": text,
        "cut": stop == "max_tokens",
    }
    return position, record, epoch


def _question(position: str, sample: Mapping[str, Any]) -> tuple[str, str]:
    """The text of the input's last user message, and the name of its clip, "" if none is given."""
    content = sample.get("input")
    if isinstance(content, list):
        turns = [turn for turn in content if isinstance(turn, dict) and turn.get("role") == "user"]
        content = turns[-1].get("content") if turns else None
    parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
    parts = [part for part in parts if isinstance(part, dict)]
    texts = [part.get("text") for part in parts if part.get("type") == "text"]
    clips = [part.get("audio") for part in parts if part.get("type") == "audio"]
    attachments = sample.get("attachments") if isinstance(sample.get("attachments"), dict) else {}
    texts = [
        attachments.get(text.removeprefix("attachment://"), text) for text in texts if isinstance(text, str)
    ]
    if not texts:
        raise BenchmarkError(f"{position}: input {short_repr(sample.get('input'))} holds no question")
    return "\n".join(map(str, texts)), next((clip for clip in clips if isinstance(clip, str)), "")


def _answer(position: str, target: Any, choices: list[Any]) -> Any:
    """The text of the option that `target`, a letter as inspect_ai's multiple choice has it, names."""
    targets = target if isinstance(target, list) else [target]
    if len(targets) != 1:
        raise BenchmarkError(f"{position}: target {short_repr(target)}; one right option is needed")
    letter = targets[0].strip() if isinstance(targets[0], str) else ""
    index = ord(letter) - ord("A") if len(letter) == 1 else -1
    return choices[index] if 0 <= index < len(choices) else targets[0]


def _reply(output: Any) -> tuple[str | None, str]:
    """The reply's text, None if there is none, and why it ended."""
    output = output if isinstance(output, dict) else {}
    choices = output.get("choices")
    first = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    message = first.get("message") if isinstance(first.get("message"), dict) else {}
    content = message.get("content", output.get("completion"))
    if isinstance(content, list):  # parts: text, and a reasoning model's reasoning
        texts = [
            part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"
        ]
        content = "\n".join(text for text in texts if isinstance(text, str))
    return content, str(first.get("stop_reason", ""))


def _first_epoch(records: list[tuple[str, Record, int]], status: Any) -> tuple[list[Entry], list[str]]:
    """Of each question its first epoch in the log, which need not be 1: a run may have lost a sample."""
    epochs: dict[str, int] = {}
    for _, record, epoch in records:
        epochs[record["id"]] = min(epoch, epochs.get(record["id"], epoch))
    first = [(position, record) for position, record, epoch in records if epoch == epochs[record["id"]]]
    notes = []
    if len(first) < len(records):
        notes.append(f"{len(records) - len(first)} replies of further epochs are not read")
    if status not in ("", "success"):
        notes.append(f"the log's status is {short_repr(status)}: it may lack samples")
    return first, notes
