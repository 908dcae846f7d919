"""Results of tools that evaluate audio models alone, as records in MMAU's schema for reply_logs.py.

In: what their files hold. Out: records with the reply under `model_output` and the clip's name under `clip`, and notes
of what was left out. A tool's own verdict never decides; SAKURA's judge is quoted in a note.

    SAKURA           an object whose `results` map each clip to instruction, label and response; or the judge's file,
                     with model_response and Judgement
    AQUA-Bench       its question file with each reply under `response`
    UltraEval-Audio  lines of type, id and data: prompt, inference, eval ... of one item under one id
    AU-Harness       run_logs/.../run.log: lines of instruction, reference and candidate. The options stand in the
                     instruction without separators, so the replies are joined with the question file by their texts
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from lalm_utils import benchmarks, parsing, question_layouts
from lalm_utils.benchmarks import Entry, Record
from lalm_utils.items import BenchmarkError
from lalm_utils.messages import join, short_repr
from lalm_utils.tool_logs import letter_or_text, prompt_parts

HARNESS_KEYS = frozenset(("instruction", "reference", "candidate"))
ULTRAEVAL_KEYS = frozenset(("type", "id", "data"))


def is_sakura(first: Record) -> bool:
    """Whether an object is a file of answers to SAKURA or of its judge."""
    results = first.get("results")
    entry = next(iter(results.values()), None) if isinstance(results, dict) else None
    return isinstance(entry, dict) and {"instruction", "label"} <= set(entry)


def sakura_records(content: Record, path: Any) -> tuple[list[Entry], list[str]]:
    """One record a clip."""
    records, verdicts = [], Counter()
    for clip, entry in content["results"].items():
        position = f"{path}, {clip}"
        fields = [entry.get(key) for key in ("instruction", "label")] if isinstance(entry, dict) else [None]
        if not all(isinstance(field, str) for field in fields):
            raise BenchmarkError(
                f"{position}: {short_repr(entry)} has no texts instruction and label; mend the entry"
            )
        try:
            question, choices = benchmarks.split_options(fields[0])
            answer = benchmarks.lettered_answer(fields[1], choices)
        except BenchmarkError as error:
            raise BenchmarkError(f"{position}: {error}; mend the entry") from error
        if "Judgement" in entry:
            verdicts[str(entry["Judgement"]).strip(" .\"'").lower()] += 1
        records.append((position, {
            "id": clip, "clip": clip, "question": question, "choices": choices, "answer": answer, "dataset": "SAKURA",
            "task": None, "model_output": entry.get("model_response", entry.get("response")),
        }))  # fmt: skip
    n_verdicts = sum(verdicts.values())
    note = f"the file's judge calls {verdicts['correct']} of {n_verdicts} replies correct; it decides nothing here"
    return records, [note] if n_verdicts else []


def aqua_records(entries: Sequence[Entry]) -> tuple[list[Entry], list[str]]:
    """The solvable questions; the unanswerable ones have no right option and are counted in a note, by reason."""
    records, counts = [], {}
    for position, raw in entries:
        record = question_layouts.mmau_schema("aqua-bench", position, raw) | {
            "model_output": raw.get("response")
        }
        if record.get("answerable", True):
            records.append((position, record))
            continue
        reply, choices = record["model_output"], record["choices"]
        declining = (
            choices.index(record["declining_option"]) if record["declining_option"] in choices else None
        )
        kind = (
            parsing.read(reply, choices, declining=declining).kind if isinstance(reply, str) else "no reply"
        )
        counts.setdefault(record["unanswerable_reason"], Counter())[kind] += 1
    notes = [
        f"{sum(kinds.values())} unanswerable items ({reason}) are not scored: {kinds[parsing.REFUSED]} declined, "
        f"{kinds[parsing.OPTION]} answered all the same"
        for reason, kinds in counts.items()
    ]
    if not records:
        raise BenchmarkError(
            f"{entries[0][0]}: no solvable question in the file; score the file of all four types"
        )
    return records, notes


def ultraeval_records(entries: Sequence[Entry]) -> tuple[list[Entry], list[str]]:
    """One record an id, from its prompt, inference and eval. An item that broke off says no answer and is left out."""
    steps: dict[Any, dict[str, Any]] = {}
    positions: dict[Any, str] = {}
    for position, line in entries:
        if not set(line) >= ULTRAEVAL_KEYS:
            raise BenchmarkError(
                f"{position}: {join(line)} are the keys; type, id and data are needed in each line"
            )
        key = str(line["id"])
        positions.setdefault(key, position)
        steps.setdefault(key, {})[str(line["type"])] = line["data"] if isinstance(line["data"], dict) else {}
    records = []
    for key, step in steps.items():
        if "eval" not in step:
            continue
        texts, clips = _contents(step.get("prompt", {}).get("content"))
        # MMAU's template has an instruction and the first option behind the question, on its line
        listing = re.sub(
            r"(?:\s{2,}Select one option\b[^\n]*?)?(?<=[.:?])[ \t]+A\. ", "\nA. ", "\n".join(texts)
        )
        question, choices = prompt_parts(positions[key], listing)
        answer = step["eval"].get("ref")
        answer = answer.upper() if isinstance(answer, str) and len(answer) == 1 else answer
        clip = clips[0] if clips else f"id {key}"
        records.append((positions[key], {
            "id": key, "clip": clip, "question": question, "choices": choices, "dataset": "UltraEval-Audio",
            "answer": letter_or_text(answer, choices), "task": None,
            "model_output": step.get("inference", {}).get("content"),
        }))  # fmt: skip
    if not records:
        raise BenchmarkError(
            f"{entries[0][0]}: no item with a step eval, which says the answer; log a finished run"
        )
    n_incomplete = len(steps) - len(records)
    return records, [f"{n_incomplete} items broke off before eval and are left out"] if n_incomplete else []


def _contents(prompt: Any) -> tuple[list[str], list[str]]:
    """The texts and the clips of a prompt: a text, or turns with a list of contents."""
    if isinstance(prompt, str):
        return [prompt], []
    turns = [turn for turn in prompt if isinstance(turn, dict)] if isinstance(prompt, list) else []
    contents = [turn["contents"] for turn in turns if isinstance(turn.get("contents"), list)]
    parts = [part for parts in contents for part in parts if isinstance(part, dict)]
    return tuple(
        [str(part.get("value")) for part in parts if part.get("type") == kind] for kind in ("text", "audio")
    )


def harness_replies(entries: Sequence[Entry], questions: Sequence[Entry]) -> tuple[dict[str, str], list[str]]:
    """The replies of AU-Harness by the question's id, and notes: a line belongs to the question that it quotes.

    Questions of the same words on several clips are told apart by their order, which is the log's. Raises
    BenchmarkError where a line quotes no question, another number of lines than of questions is found, or the
    reference is another answer.
    """
    runs = Counter(tuple(line.get(key) for key in ("dataset", "model", "metric")) for _, line in entries)
    if len({run[:2] for run in runs}) > 1:
        raise BenchmarkError(
            f"{entries[0][0]}: {len(runs)} runs in one log, e.g. {short_repr(list(runs)[1])}; keep the lines of one"
        )
    first = next(iter(runs))
    ids: dict[tuple[str, str, str], list[str]] = {}
    for _, record in questions:
        choices = record.get("choices")
        listing = " ".join(map(str, choices)) if isinstance(choices, list) else ""
        key = (str(record.get("question")), listing, str(record.get("answer")))
        ids.setdefault(key, []).append(str(record.get("id")))
    replies: dict[str, str] = {}
    for position, line in entries:
        if line.get("metric") != first[2]:
            continue
        instruction, reference = str(line["instruction"]), str(line["reference"])
        candidates = [
            key for key in ids if key[2] == reference and key[0] in instruction and key[1] in instruction
        ]
        key = max(candidates, key=lambda key: len(key[0]), default=None)
        if key is None or not ids[key]:
            raise BenchmarkError(
                f"{position}: {short_repr(instruction)} with the reference {short_repr(reference)} is no question of "
                "the file, or more often than there; give the questions that were asked"
            )
        replies[ids[key].pop(0)] = line["candidate"]
    note = f"{len(runs)} metrics in the log; the lines of {first[2]} are read"
    return replies, [note] if len(runs) > 1 else []
