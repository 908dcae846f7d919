"""Benchmarks: the items of MMAU, MMAR, SAKURA or the embedded benchmark, read from disk.

In: "mini", or the path of a question file or of a benchmark's folder. Out: a list of `Item`s, every one of them
checked, or one `BenchmarkError` that names file, item, rule and next step; nothing is dropped on the way but MMAU-Pro's
questions of several clips or without options, which are counted in a warning.

The layout is recognised by what is inside, never by a file's name alone:
- a folder with `data/<Track>/metadata.csv` (or `<Track>/metadata.csv`, or itself such a track) is SAKURA;
- any other folder must hold exactly one question file: a .json or .jsonl that starts as an array, or whose
  first line is an object with the keys below (so a manifest beside it is no rival);
- a question file is a JSON array if its first character is `[`, otherwise one JSON object a line;
- the first record decides by its keys, which question_layouts.py lists: MMAU, MMAR, SH-Bench, AQUA-Bench, DCASE 2026
  task 5, MMAU-Pro;
- an MMAU record without an id is named by its clip, as MMAU's first files have none; SH-Bench's are named by what
  they ask.

A question file may be gzipped. An option that declines is known to its item (declining.py).
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import logging
import os
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from lalm_utils import declining, question_layouts
from lalm_utils.audio import AudioError, check_clip, stand_in_for
from lalm_utils.items import BenchmarkError, Item, from_record, sample
from lalm_utils.messages import join, short_repr
from lalm_utils.question_layouts import Record

MINI = "mini"
MINI_SPLITS = ("dev", "idk", "test", "unanswerable", "final")
PROBES = tuple(
    f"trust-{axis}" for axis in ("hallucination", "safety", "privacy", "fairness", "authentication")
)
MAX_BYTES = 200_000_000  # a question file; MMAU's 10,000 items take 6 MB
MAX_VALUES = 4_000_000  # of it, counted by what opens, parts and ends them; MMAU's 10,000 items have 350,000
TRACKS = {"Animal": "sound", "Emotion": "speech", "Gender": "speech", "Language": "speech"}
HOPS = ("single", "multi")
GZIP = b"\x1f\x8b"
SAKURA_COLUMNS = ("file", "single_instruction", "single_answer", "multi_instruction", "multi_answer")

Entry = tuple[str, Record]  # "FILE, line 3" and the record that stands there
log = logging.getLogger(__name__)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def load(
    benchmark: str | Path,
    *,
    split: str | None = None,
    n: int | None = None,
    seed: int = 0,
    need_clips: bool = True,
) -> list[Item]:
    """Items of "mini" or of the benchmark at a path, in the order of the file.

    split: mini "dev", "idk", "test" (default), "unanswerable", "final" or one of PROBES; SAKURA "single" (default) or
        "multi";
        in MMAU a value of its `split` field, in MMAR "test" (default: all of the file).
    n: sample that many (`sample`); None, or more than there are: all.
    need_clips: the clips of the returned items are checked by their headers. False reads questions whose
        audio is not at hand, for scoring replies made elsewhere.

    Unanswerable items (`answerable` false in the file) and withheld answers (answer null or "", as in MMAU's
    test set) both have gold None. The first have `answerable` False; the second True: asked, but not graded.
    A folder that is called "mini" is written "./mini". Raises BenchmarkError.
    """
    items, faults = read(benchmark, split=split)
    if len(faults) == 1:
        raise BenchmarkError(faults[0])
    if faults:
        listing = "".join(f"\n  {fault.rpartition('; ')[0]}" for fault in faults[:5])
        raise BenchmarkError(
            f"{benchmark}: {len(faults)} of {len(items) + len(faults)} records cannot be used, the first "
            f"{len(faults[:5])}:{listing}\nMend or remove them in a copy of the file"
        )
    refuse_duplicates(items, benchmark)
    selection = items if n is None else sample(items, n, seed=seed)
    if need_clips:
        check_clips(selection, benchmark)
    return selection


def read(benchmark: str | Path, *, split: str | None = None) -> tuple[list[Item], list[str]]:
    """The items of `benchmark`, and of each record that is none, where it stands and which rule it breaks.

    As `load` reads them, but nothing is sampled and no clip is looked for. BenchmarkError for what is no benchmark.
    """
    if str(benchmark) == MINI:
        path, split = _mini_folder(split or "test"), None
    else:
        path = Path(os.path.expanduser(benchmark))
    faults: list[str] = []
    root, records = read_records(path, split, faults)
    items = []
    for position, record in records:
        try:
            items.append(from_record(record, root))
        except BenchmarkError as error:
            faults.append(f"{position}, {error}; mend or remove it in a copy of the file")
    has_declining_option = any("declining_option" in record for _, record in records)
    return declining.mark(items, by_wording=not has_declining_option), faults


def refuse_duplicates(items: Sequence[Item], source: str | Path) -> None:
    """BenchmarkError if an id names several items."""
    duplicates = [id for id, count in Counter(item.id for item in items).items() if count > 1]
    if duplicates:
        raise BenchmarkError(
            f"{source}, item {short_repr(duplicates[0])}: duplicate id, {len(duplicates)} such; an id names one item; "
            "rename or remove the others in a copy of the file"
        )


def _mini_folder(split: str) -> Path:
    """The folder of a split of the embedded benchmark, a benchmark like any other once it is rendered."""
    if split not in (*MINI_SPLITS, *PROBES):
        raise BenchmarkError(
            f"mini: no split {split!r}; choose one of {', '.join((*MINI_SPLITS, *PROBES))} (train is generated on the "
            "fly by lalm_utils.mini.benchmark.plan.plan('train', size=...))"
        )
    from lalm_utils.mini import benchmark  # loads the generator's packages, for those who ask for it

    return benchmark.ensure(split)


def planned_items(split: str) -> list[Item]:
    """The items of a split of the embedded benchmark as planned: no clip is rendered."""
    from lalm_utils.mini import benchmark

    return [from_record(record, Path.cwd()) for record in benchmark.planned_records(split)]


def synthesise_speech(text: str) -> np.ndarray:
    """`text` as the embedded benchmark's synthesizer says it: (n,) float32 at 16 kHz. ValueError for no text."""
    from lalm_utils.mini import benchmark

    return benchmark.say(text).samples


def generator_version() -> str:
    """The version of the embedded benchmark's generator."""
    from lalm_utils.mini import benchmark

    return benchmark.generator_version()


def check_clips(items: Sequence[Item], source: str | Path) -> None:
    """BenchmarkError listing the first five items whose clip is missing, unreadable or under 0.1 s."""
    faults: dict[Path, str] = {}
    for clip in {item.clip: None for item in items}:
        try:
            check_clip(clip)
        except AudioError as error:
            faults[clip] = str(error)
    faulty = [item for item in items if item.clip in faults]
    if faulty:
        listing = "".join(f"\n  item {short_repr(item.id)}: {faults[item.clip]}" for item in faulty[:5])
        raise BenchmarkError(
            f"{source}: {len(faulty)} of {len(items)} items have a missing or unreadable clip, the first "
            f"{len(faulty[:5])}:{listing}\nPut the audio where the file says, or read without it "
            "(need_clips=False) to score replies made elsewhere"
        )


def read_records(
    path: Path, split: str | None = None, faults: list[str] | None = None
) -> tuple[Path, list[Entry]]:
    """The folder that clips may not leave, and the records of `split` (None: all; SAKURA: "single").

    Raises BenchmarkError if the path is no benchmark, or a file is empty, too large, not UTF-8, not JSON or
    CSV, or has nothing in that split. A record that lacks fields goes to `faults`, or is refused without these.
    """
    path = path.parent if path.name == "metadata.csv" else path
    try:
        tracks = _tracks(path)
        file = _question_file(path) if path.is_dir() and not tracks else path
        is_file = file.is_file()
    except BenchmarkError:
        raise
    except (OSError, ValueError) as error:
        raise BenchmarkError(f"{path}: cannot be opened ({error}); give a file or folder") from error
    if tracks:
        return path, read_sakura(tracks, path, split or "single", faults)
    if not is_file:
        raise BenchmarkError(
            f'{path}: no such file or folder; give "mini", an MMAU or MMAR file, or a benchmark\'s folder'
        )
    return file.parent, _of_split(read_questions(file, faults), split, file, faults)


def read_questions(file: Path, faults: list[str] | None = None) -> list[Entry]:
    """All records of a question file in MMAU's schema, in order; `faults` as for `read_records`."""
    records = list(json_records(file))
    kind = question_layouts.kind_of(records[0][1])
    if not kind:
        raise BenchmarkError(
            f"{file}: neither {question_layouts.kinds_text()}: the first record has "
            f"{join(records[0][1]) or 'no keys'}; add the missing fields or give another file"
        )
    records = _fit(records, kind, file)
    return _convert(
        (
            (
                position,
                lambda position=position, record=record: question_layouts.mmau_schema(kind, position, record),
            )
            for position, record in records
        ),
        faults,
    )


def _fit(records: list[Entry], kind: str, file: Path) -> list[Entry]:
    """The records that are multiple-choice questions about one clip; a warning counts the others."""
    why = Counter(filter(None, (question_layouts.unfit(kind, record) for _, record in records)))
    if why.total() == len(records):
        raise BenchmarkError(
            f"{file}: no record is a multiple-choice question about one clip; give another file"
        )
    for reason, count in why.items():
        log.warning("%s: %d of %d records have %s and are left out", file, count, len(records), reason)
    return [(position, record) for position, record in records if not question_layouts.unfit(kind, record)]


def _convert(records: Iterable[tuple[str, Callable[[], Record]]], faults: list[str] | None) -> list[Entry]:
    """The records that can be made; of the others, why not, in `faults`, or as a BenchmarkError without these."""
    result = []
    for position, make in records:
        try:
            result.append((position, make()))
        except BenchmarkError as error:
            if faults is None:
                raise
            faults.append(str(error))
    return result


def _of_split(records: list[Entry], split: str | None, file: Path, faults: list[str] | None) -> list[Entry]:
    selection = [(position, record) for position, record in records if split in (None, record.get("split"))]
    if not selection and not faults:
        present = sorted({str(record.get("split")) for _, record in records})
        raise BenchmarkError(
            f"{file}: no item of split {split!r}; it holds {join(present)}; choose one or None for all"
        )
    return selection


def _question_file(folder: Path) -> Path:
    files = sorted(file for file in folder.iterdir() if file.suffix in (".json", ".jsonl") and file.is_file())
    matches = files if len(files) == 1 else [file for file in files if _holds_questions(file)]
    if len(matches) != 1:
        names = join(file.name for file in matches) or "none"
        raise BenchmarkError(
            f"{folder}: a benchmark's folder holds one question file (.json, .jsonl) or SAKURA's "
            f"data/<Track>/metadata.csv; found {names}; give the file's own path"
        )
    return matches[0]


def _holds_questions(file: Path) -> bool:
    """By its start alone, so that a damaged array still counts and is not passed over for its neighbour."""
    with file.open("rb") as stream:
        first = stream.readline(1_000_000).decode("utf-8-sig", errors="replace").strip()
    if first.startswith("["):
        return True
    try:
        record = json.loads(first)
    except (ValueError, RecursionError):
        return False
    return isinstance(record, dict) and question_layouts.kind_of(record) != ""


def json_records(file: Path, text: str | None = None) -> Iterator[Entry]:
    """The objects of a JSON array or of JSON lines, each with its position. Raises BenchmarkError.

    text: the file's, where it is read already.
    """
    text = read_text(file) if text is None else text
    _refuse_bombs(text, file)
    yield from _check_records(_parse_records(text, file), text, file)


def json_object(text: str, file: str | Path) -> Record:
    """The one JSON object that `text`, found in `file`, is. Raises BenchmarkError."""
    _refuse_bombs(text, file)
    [(_, record)] = _check_records([(str(file), _json(text, file, 1))], text, file)
    return record


_JSON_KINDS = {
    list: "an array", str: "a text", int: "a number", float: "a number", bool: "a truth value", type(None): "null",
}  # fmt: skip


def _check_records(records: list[tuple[str, Any]], text: str, file: str | Path) -> Iterator[Entry]:
    if not records:
        raise BenchmarkError(f"{file}: empty, an array without items; give the whole question file")
    escaped = _SURROGATE.search(text) is not None  # only an escape can bring one in
    for position, record in records:
        if not isinstance(record, dict):
            raise BenchmarkError(
                f"{position}: {_JSON_KINDS[type(record)]}, but an item is a JSON object; mend the file"
            )
        if escaped:
            _refuse_surrogates(position, record)
        yield position, record


def _parse_records(text: str, file: Path) -> list[tuple[str, Any]]:
    if text.lstrip().startswith("["):
        return [(f"{file}, element {i}", r) for i, r in enumerate(_json(text, file, 1), start=1)]
    # Not splitlines(): U+2028 and U+0085 may stand inside a JSON string.
    lines = enumerate(text.split("\n"), start=1)
    return [(f"{file}, line {i}", _json(line, file, i)) for i, line in lines if line.strip()]


def _refuse_bombs(text: str, file: str | Path) -> None:
    """A few megabytes of brackets or of line ends unfold to gigabytes of objects."""
    values = sum(map(text.count, "[{,\n"))
    if values > MAX_VALUES:
        raise BenchmarkError(
            f"{file}: {values:,} brackets, commas and line ends; a question file has at most {MAX_VALUES:,}; "
            "split it"
        )


def _refuse_surrogates(position: str, record: Record) -> None:
    try:
        json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise BenchmarkError(f"{position}: half a surrogate pair ({error}); mend the escape") from error


def _json(text: str, file: str | Path, line: int) -> Any:
    """Parse text that starts at `line` of the file."""
    try:
        return json.loads(text, object_pairs_hook=_unique_keys)
    except json.JSONDecodeError as error:
        raise BenchmarkError(
            f"{file}: not JSON at line {line + error.lineno - 1}, column {error.colno} ({error.msg}); "
            "expected an array of objects or one object a line; mend that line or fetch the file again"
        ) from error
    except (ValueError, RecursionError) as error:
        raise BenchmarkError(f"{file}: JSON from line {line} on is refused ({error}); mend it") from error


def _unique_keys(pairs: list[tuple[str, Any]]) -> Record:
    record = dict(pairs)
    if len(record) < len(pairs):
        raise ValueError(f"a key stands twice among {join(key for key, _ in pairs)}")
    return record


def read_text(file: Path) -> str:
    """A file's text, which may be gzipped. Raises BenchmarkError: unreadable, too large, not UTF-8, empty."""
    try:
        size = file.stat().st_size
        if not file.is_file():
            raise BenchmarkError(f"{file}: cannot be read (a folder, pipe or device); give a file")
        if size > MAX_BYTES:
            raise BenchmarkError(
                f"{file}: {size:,} bytes; a question file has at most {MAX_BYTES:,}; split it"
            )
        content = file.read_bytes()
        if content.startswith(GZIP):
            content = gunzip(content, file)
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BenchmarkError(f"{file}: {_why_no_text(content, file, error)}") from error
    except BenchmarkError:
        raise
    except (OSError, ValueError) as error:
        raise BenchmarkError(f"{file}: cannot be read ({error}); check its path and permissions") from error
    if stand_in := stand_in_for(file):
        raise BenchmarkError(f"{file}: no question file: {stand_in}")
    if not text.strip():
        raise BenchmarkError(f"{file}: empty file; fetch it again")
    return text


def _why_no_text(content: bytes, file: Path, error: UnicodeDecodeError) -> str:
    if content.startswith(b"PAR1"):
        return (
            "a parquet table, not JSON; write it as JSON lines: "
            f"pandas.read_parquet({file.name!r}).to_json('questions.jsonl', orient='records', lines=True)"
        )
    return f"not UTF-8 at byte {error.start}; save it as UTF-8"


def gunzip(content: bytes, file: Path) -> bytes:
    """What is gzipped, within the bound of a question file. Raises BenchmarkError."""
    try:
        with gzip.open(io.BytesIO(content)) as stream:
            content = stream.read(MAX_BYTES + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BenchmarkError(f"{file}: not gzip throughout ({error}); fetch it again") from error
    if len(content) > MAX_BYTES:
        raise BenchmarkError(
            f"{file}: unpacks to over {MAX_BYTES:,} bytes, the most a question file has; split it"
        )
    return content


def _tracks(path: Path) -> list[Path]:
    if (path / "metadata.csv").is_file():
        return [path]
    for folder in (path / "data", path):
        if matches := sorted(file.parent for file in folder.glob("*/metadata.csv")):
            return matches
    return []


def read_sakura(
    tracks: Iterable[Path], root: Path, split: str, faults: list[str] | None = None
) -> list[Entry]:
    """One hop ("single" or "multi") of every clip of the given track folders, in MMAU's schema.

    The track is the record's category and decides its modality; the label of the clip is kept in `truth`.
    """
    if split not in HOPS:
        raise BenchmarkError(f"{root}: SAKURA has no split {split!r}; choose one of {', '.join(HOPS)}")
    rows = ((position, row, track) for track in tracks for position, row in _rows(track / "metadata.csv"))
    conversions = (
        (position, lambda position=position, r=r, t=t: _sakura_record(position, r, t, root, split))
        for position, r, t in rows
    )
    return _convert(conversions, faults)


def _rows(file: Path) -> Iterator[tuple[str, dict[str, str]]]:
    track = file.resolve().parent.name
    if track not in TRACKS:
        raise BenchmarkError(
            f"{file}: unknown track {short_repr(track)}; there are {', '.join(TRACKS)}; rename it"
        )
    yield from csv_rows(file, SAKURA_COLUMNS, strict=True)


def csv_rows(file: Path, columns: Sequence[str] = (), **dialect: Any) -> Iterator[tuple[str, dict[str, str]]]:
    """Position and fields of each row of a table with a header. Raises BenchmarkError, also for one without rows or
    without one of `columns`. dialect: as for csv.DictReader.
    """
    reader = csv.DictReader(io.StringIO(read_text(file), newline=""), **dialect)
    try:
        if missing := [column for column in columns if column not in (reader.fieldnames or ())]:
            raise BenchmarkError(f"{file}: missing field {', '.join(missing)} in line 1; add the column")
        rows = [(f"{file}, line {reader.line_num}", row) for row in reader]
    except csv.Error as error:
        raise BenchmarkError(f"{file}: not CSV after line {reader.line_num} ({error}); mend it") from error
    if not rows:
        raise BenchmarkError(f"{file}: empty, no row below the first line; fetch it again")
    for position, row in rows:
        if None in row or None in row.values():
            raise BenchmarkError(f"{position}: more or fewer fields than line 1; mend quotes or separators")
        yield position, row


def _sakura_record(position: str, row: Mapping[str, str], track: Path, root: Path, hop: str) -> Record:
    name, file = track.resolve().name, row["file"].strip()
    try:
        question, options = split_options(row[f"{hop}_instruction"])
        answer = lettered_answer(row[f"{hop}_answer"], options)
    except BenchmarkError as error:
        raise BenchmarkError(f"{position}, item '{name}/{file}/{hop}': {error}; mend the row") from error
    return {
        "id": f"{name}/{file}/{hop}",
        # Joined, not pasted: an absolute name stays absolute, and is refused as one.
        "audio_id": str(PurePosixPath((track / "audio").relative_to(root).as_posix(), file)) if file else "",
        "question": question,
        "choices": options,
        "answer": answer,
        "dataset": "sakura",
        "task": TRACKS[name],
        "split": hop,
        "category": name,
        "truth": {"label": row["attribute_label"].strip()} if row.get("attribute_label") else {},
    }


def split_options(instruction: str) -> tuple[str, list[str]]:
    """("Which?", ["dog", "cat"]) from "Which? (a) dog (b) cat": from the last "(a)" on, letters in order."""
    start = [match.start() for match in re.finditer(r"(?<!\w)\(a\)", instruction, re.IGNORECASE)]
    pieces = re.split(r"(?<!\w)\(([a-z])\)", instruction[start[-1] :], flags=re.IGNORECASE) if start else []
    letters = "".join(pieces[1::2]).lower()
    if len(letters) < 2 or not "abcdefghijklmnopqrstuvwxyz".startswith(letters):
        raise BenchmarkError(
            f"options lettered {short_repr(letters)} in {short_repr(instruction)}; expected (a), (b), ... in order, "
            "at the end"
        )
    return instruction[: start[-1]].strip(), [piece.strip() for piece in pieces[2::2]]


def lettered_answer(answer: str, options: list[str]) -> str:
    """The text behind " (d) angry", whose letter must point at the same text; a bare text passes."""
    match = re.match(r"\s*\(([a-z])\)(.*)", answer, re.IGNORECASE | re.DOTALL)
    if not match:
        return answer.strip()
    letter, text = match[1].lower(), match[2].strip()
    index = ord(letter) - ord("a")
    if index >= len(options) or options[index].casefold().split() != text.casefold().split():
        raise BenchmarkError(
            f"answer {short_repr(answer.strip())} is no option of {short_repr(options)}, letter and text"
        )
    return options[index]
