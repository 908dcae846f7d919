"""Layouts of question files: the keys by which each is known, and its records in MMAU's schema.

In: a record as a benchmark's file has it. Out: `kind_of`, which benchmark it belongs to; `mmau_schema`, the same record
under MMAU's keys, as items.from_record reads it; `unfit`, why a record is no question of one clip and several options.

    MMAU        audio_id and task
    MMAR        audio_path and modality
    SH-Bench    idk_answer and speaker; the option that declines is known by the first
    AQUA-Bench  audio_filename and type: unanswerable unless Solvable; "None of the above" is the option that declines
    DCASE       question_text and multi_choice: the challenge of 2026, task 5; the evaluation set has no answers
    MMAU-Pro    audio_path and length_type: the published table as JSON lines; audio_path is a list of clips
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from lalm_utils.items import FIELDS, MODALITIES, BenchmarkError, question_id
from lalm_utils.messages import short_repr

Record = dict[str, Any]

KEYS = {  # in the order in which they are tried
    "mmau": {"audio_id", "task"},
    "mmar": {"audio_path", "modality"},
    "sh-bench": {"idk_answer", "speaker"},
    "aqua-bench": {"audio_filename", "type"},
    "dcase": {"question_text", "multi_choice"},
    "mmau-pro": {"audio_path", "length_type"},
}
RENAMED = {  # to MMAU's names
    "mmau": {},
    "mmar": {"audio_path": "audio_id", "modality": "task"},
    "sh-bench": {"audio": "audio_id", "options": "choices",
                 "speaker": "category", "type": "sub-category"},
    "aqua-bench": {"options": "choices", "type": "category", "subtype": "sub-category"},
    "dcase": {"audio_path": "audio_id", "question_text": "question", "multi_choice": "choices"},
    "mmau-pro": {"audio_path": "audio_id", "sub-cat": "sub-category"},
}  # fmt: skip
REQUIRED = {
    "mmau": FIELDS,
    "mmar": ("id", "audio_path", "question", "choices", "answer", "modality"),
    "sh-bench": ("audio", "question", "options", "answer", "speaker", "type", "idk_answer"),
    "aqua-bench": ("id", "audio_filename", "question", "options", "answer", "type"),
    "dcase": ("id", "audio_path", "question_text", "multi_choice"),
    "mmau-pro": ("id", "audio_path", "question", "choices", "answer", "category"),
}
UNKNOWN_MODALITY = "mix-sound-music-speech"  # of files that do not say
AQUA_SOURCES = {"ESC-50-master": "sound", "vocalsound_16k": "sound", "music_dataset": "music"}
AQUA_REASONS = {"AAD": "absent_answer", "IASD": "unfit_options", "IAQD": "unfit_question"}


def kind_of(record: Mapping[str, Any]) -> str:
    """The kind of question file that a record's keys belong to; "" for none."""
    return next((kind for kind, keys in KEYS.items() if keys <= set(record)), "")


def kinds_text() -> str:
    """The kinds with the keys by which they are known, for messages."""
    return " nor ".join(f"{kind.upper()} ({' and '.join(sorted(keys))})" for kind, keys in KEYS.items())


def mmau_schema(kind: str, position: str, record: Record) -> Record:
    """A record of a question file of this kind, one of KEYS, with MMAU's keys. Raises BenchmarkError."""
    if kind == "mmau" and "id" not in record and isinstance(record.get("audio_id"), str):
        # MMAU's first files name no ids; later ones use the clip's name, so replies of both can be joined.
        record = {"id": PurePosixPath(record["audio_id"]).stem, **record}
    missing = [key for key in REQUIRED[kind] if key not in record]
    if missing:
        raise BenchmarkError(
            f"{position}, item {short_repr(record.get('id'))}: missing field {', '.join(missing)}; "
            f"{kind.upper()} needs {', '.join(REQUIRED[kind])}; add it"
        )
    if kind == "mmau":
        return record
    renamed = {RENAMED[kind].get(key, key): value for key, value in record.items()}
    if kind in FURTHER:
        renamed |= FURTHER[kind](position, record)
    # All but MMAU are published as one set a file and name no split.
    return {"split": "test", **renamed, "dataset": kind}


def unfit(kind: str, record: Mapping[str, Any]) -> str:
    """Why a record is no multiple-choice question about one clip, in words; "" if it is one. Only MMAU-Pro has such."""
    if kind != "mmau-pro":
        return ""
    clips, choices = record.get("audio_path"), record.get("choices")
    if isinstance(clips, list) and len(clips) > 1:
        return "several clips"
    return "no options to choose from" if choices is None or choices == [] else ""


def _sh_bench(position: str, record: Mapping[str, Any]) -> Record:
    """All clips are speech; the option that declines is named in every record, but not offered in every file.

    Where none is named (null), its wording tells (declining.py).
    """
    audio, question, options = (record[key] for key in ("audio", "question", "options"))
    texts = [audio, question, *options] if isinstance(options, list) else [None]
    if not all(isinstance(text, str) for text in texts):
        raise BenchmarkError(f"{position}: audio, question and options are no texts; mend the record")
    declining_text = record["idk_answer"] if record["idk_answer"] in options else None
    rest = [option for option in options if option != declining_text]
    named = {} if record["idk_answer"] is None else {"declining_option": declining_text}
    return {"id": question_id(audio, question, rest), "task": "speech"} | named


def _aqua(position: str, record: Mapping[str, Any]) -> Record:
    """The options are cut from the question, what is said behind them stays; the clip is named from its source on.

    The published files hold the authors' own folders before it ("/net/.../vocalsound_16k/audio_16k/x.wav").
    """
    file, question, options = (record[key] for key in ("audio_filename", "question", "options"))
    texts = [file, question, *options] if isinstance(options, list) else [None]
    if not all(isinstance(text, str) for text in texts):
        raise BenchmarkError(
            f"{position}: audio_filename, question and options are no texts; mend the record"
        )
    kind = str(record["type"])
    if kind.lower() != "solvable" and kind not in AQUA_REASONS:
        raise BenchmarkError(
            f"{position}: type {short_repr(kind)}; Solvable, {', '.join(AQUA_REASONS)} are known; mend the record"
        )
    listing = " ".join(f"({chr(ord('a') + i)}) {option}" for i, option in enumerate(options))
    pieces = (piece.strip() for piece in question.partition(listing)[::2])
    parts = PurePosixPath(file).parts
    source = next((i for i, part in enumerate(parts) if part in AQUA_SOURCES), None)
    fields = {
        "id": _id(record),
        "audio_id": file if source is None else str(PurePosixPath(*parts[source:])),
        "question": "\n".join(filter(None, pieces)),
        "task": UNKNOWN_MODALITY if source is None else AQUA_SOURCES[parts[source]],
    }
    if kind in AQUA_REASONS:
        fields |= {"answer": None, "declining_option": record["answer"], "answerable": False}
        fields |= {"unanswerable_reason": AQUA_REASONS[kind]}
    return fields


def _dcase(position: str, record: Mapping[str, Any]) -> Record:
    return {"id": _id(record), "answer": record.get("answer"), "task": UNKNOWN_MODALITY}


def _mmau_pro(position: str, record: Mapping[str, Any]) -> Record:
    """The modality is what the category names ("sound", "music", "speech", or mixes); others do not say."""
    clips, category = record["audio_path"], str(record["category"]).lower()
    modalities = [modality for modality in MODALITIES if modality in category]
    modality = (
        ("mix-" if len(modalities) > 1 else "") + "-".join(modalities) if modalities else UNKNOWN_MODALITY
    )
    clip = clips[0] if isinstance(clips, list) and len(clips) == 1 else clips
    return {"id": _id(record), "audio_id": clip, "task": modality}


def _id(record: Mapping[str, Any]) -> Any:
    """Numbers are ids as well."""
    return str(record["id"]) if type(record["id"]) is int else record["id"]


FURTHER = {"sh-bench": _sh_bench, "aqua-bench": _aqua, "dcase": _dcase, "mmau-pro": _mmau_pro}
