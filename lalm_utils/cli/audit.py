"""The command `python -m lalm_utils audit`: what is doubled, skewed or missing in a benchmark. No model is asked.

In: a benchmark, as `benchmarks.load` takes it; if there is one, the outcome table of a run without audio
(`runs.ask(audio=False)`). Out: a row of facts per item (`facts`), a tidy table of counts and shares by modality and
overall (`table`), and both as a report, in text or JSON. Clips that cannot be heard are counted here, where `run` would
refuse them. A wrong gold option cannot be seen from the file.

Baselines that hear nothing: option A, the longest option (its share where several are as long), chance, and a model
without audio. Where these come near a model's accuracy, the accuracy says little about hearing.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from lalm_utils import benchmarks, outcomes, releases
from lalm_utils.audio import AudioError, MissingClip, ShortClip, check_clip, is_silent
from lalm_utils.cli import ARGUMENTS, add_arguments, finite, write_json
from lalm_utils.items import BenchmarkError, Item
from lalm_utils.messages import join
from lalm_utils.outcomes import Outcome, OutcomeError

WINDOW = 30.0  # seconds, what Whisper-type encoders hear
FINDINGS = {  # column of `facts`: what is said of an item that has it
    "duplicate_question": "asks of the same clip what an earlier item asks",
    "repeated_option": "lists an option twice",
    "repeated_gold": "lists the gold option twice",
    "missing_clip": "has no clip",
    "unreadable_clip": "has a clip that cannot be read",
    "short_clip": "has a clip under 0.1 s",
    "long_clip": "has a clip longer than the window",
    "silent_clip": "has a clip in which nothing can be heard",
}
CLIPS = tuple(name for name in FINDINGS if name.endswith("_clip"))
BASELINES = ("always_first", "always_longest", "chance", "text_only")
COLUMNS = ("group", "measure", "value", "n")


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add `audit` to the subcommands of `python -m lalm_utils`."""
    parser = commands.add_parser(
        "audit",
        help="count what is doubled, skewed or missing in a benchmark",
        description="Count duplicates, places of the gold options and clips that cannot be heard, and say what "
        "always answering A, or the longest option, would score.",
    )
    add_arguments(parser, "--split", "--json")
    add = parser.add_argument
    add("benchmark", metavar="BENCHMARK", help=ARGUMENTS["--benchmark"]["help"])
    add("--no-clips", action="store_true", help="do not look for the audio")
    add("--text-only", type=Path, metavar="TABLE",
        help="the outcome table (CSV) of a model asked without audio, as one more baseline")  # fmt: skip
    parser.set_defaults(run=run, faults=(ValueError,))


def run(args: argparse.Namespace) -> int:
    """Audit, write, print. Returns the exit code, 0: findings are no error."""
    result = report(args.benchmark, split=args.split, clips=not args.no_clips, text_only=args.text_only)
    if args.json:
        write_json(args.json, result)
    print(as_text(result))
    return 0


def report(
    benchmark: str, *, split: str | None = None, clips: bool = True, text_only: Path | None = None
) -> dict[str, Any]:
    """release {name, sha256}, measures {group: {measure: {value, n}}}, found {finding: ids}, faults (records that
    are no items), unreadable (why clips are), clips (opened or not)
    and text_only (the table's path or None). A p that is not computed is null."""
    items, faults = benchmarks.read(benchmark, split=split)
    if not items:
        raise BenchmarkError(
            f"{benchmark}: none of {len(faults)} records can be used, the first: {faults[0]}"
        )
    benchmarks.refuse_duplicates(items, benchmark)
    rows, release = facts(items, clips=clips), releases.identify(items)
    outcome_table = None if text_only is None else outcomes.read_table(text_only)
    measures: dict[str, dict[str, Any]] = {}
    for row in table(rows, text_only=outcome_table).itertuples():
        measures.setdefault(row.group, {})[row.measure] = {"value": finite(row.value), "n": row.n}
    return {
        "release": {"name": release.name, "sha256": release.sha256},
        "measures": measures,
        "found": items_by_finding(rows),
        "faults": faults,
        "unreadable": [why for why in rows.get("why", ()) if why],
        "clips": clips,
        "text_only": None if text_only is None else str(text_only),
    }


def as_text(result: Mapping[str, Any]) -> str:
    """The report as a plain-text table, a line per measure, followed by what was found in which items."""
    measures = result["measures"]
    rows = [
        {"": name} | {group: _cell(name, values.get(name)) for group, values in measures.items()}
        for name in measures["overall"]  # which has every measure
    ]
    parts = [f"benchmark: {result['release']['name']}", pd.DataFrame(rows).to_string(index=False)]
    for name, ids in result["found"].items():
        if ids:
            parts.append(f"{name}: {len(ids)} items; each {FINDINGS[name]}: {join(ids, 5)}")
    if result["unreadable"]:
        parts.append("\n  ".join(["why clips cannot be read, the first five:", *result["unreadable"][:5]]))
    if result["faults"]:
        n, some = len(result["faults"]), "".join(f"\n  {fault}" for fault in result["faults"][:5])
        parts.append(
            f"faulty records: {n}, left out above, and `run` refuses the file; the first {min(n, 5)}:{some}"
        )
    if not result["clips"]:
        parts.append("clips: not looked for")
    if result["text_only"] is None:
        parts.append("text_only: no run without audio was given (--text-only TABLE)")
    return "\n\n".join(parts)


def facts(
    items: Sequence[Item], *, clips: bool = True, silence: bool = True, window: float = WINDOW
) -> pd.DataFrame:
    """A row per item: item, modality, n_options, gold, answerable, withheld, FINDINGS, always_first,
    always_longest, chance (probability of being right; NaN without a gold option).

    clips: open each clip; else the columns of CLIPS are left out. silence: decode each, to tell the silent ones; else
    that column is left out, and headers alone are read. window: seconds.
    """
    questions: set[tuple[Path, str]] = set()
    distinct = {item.clip for item in items} if clips else ()
    faults = {clip: _clip_findings(clip, window, silence) for clip in distinct}
    rows = []
    for item in items:
        question = (item.clip, " ".join(item.question.casefold().split()))
        rows.append(_facts(item) | {"duplicate_question": question in questions} | faults.get(item.clip, {}))
        questions.add(question)
    return pd.DataFrame(rows).astype({"gold": "Int64"})


def table(item_facts: pd.DataFrame, *, text_only: pd.DataFrame | None = None) -> pd.DataFrame:
    """COLUMNS, by modality and "overall", of the rows of `facts`: a tidy table.

    Counts (of n items): items, answerable, withheld, unanswerable, FINDINGS, and options_K, items of K options.
    Of the n items with a gold option: BASELINES; gold_A_of_K, the share of those with K options whose gold
    option is A; and gold_p_of_K, the p of such shares if every place were as likely: exact for two options, by
    chi-square for more, NaN where fewer than five are expected at a place. A repeated gold option counts as the
    first of its places.

    text_only: the outcome table of the same items asked without audio. Raises OutcomeError if it lacks items,
    or if its replies failed.
    """
    if text_only is not None:
        item_facts = item_facts.assign(text_only=_text_only(item_facts, text_only))
    rows = [
        (group, measure, float(value), n)
        for group, part in outcomes.groups(item_facts)
        for measure, value, n in (*_counts(part), *_shares(part))
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def items_by_finding(item_facts: pd.DataFrame) -> dict[str, list[str]]:
    """The ids of the items with each finding, of the rows of `facts`."""
    return {
        name: item_facts.loc[item_facts[name], "item"].tolist() for name in FINDINGS if name in item_facts
    }


def summary(frame: pd.DataFrame) -> str:
    """The overall rows of `table` in a line: what was found, and the baselines in per cent."""
    overall = frame[frame["group"] == "overall"].set_index("measure")["value"]
    findings = [f"{int(overall[name])} {name}" for name in FINDINGS if overall.get(name)]
    baselines = [f"{name} {overall[name]:.1%}" for name in BASELINES if name in overall]
    hint = "" if "text_only" in overall else "; no run without audio was given"
    return f"{', '.join(findings) or 'nothing found'}; {', '.join(baselines)}{hint}"


def _facts(item: Item) -> dict[str, Any]:
    gold = None if item.gold is None else item.options[item.gold]
    longest = [option for option in item.options if len(option) == max(map(len, item.options))]
    right = {"always_first": item.options[0] == gold, "always_longest": longest.count(gold) / len(longest),
             "chance": item.chance}  # fmt: skip
    return {
        "item": item.id,
        "modality": item.modality,
        "n_options": len(item.options),
        "gold": item.gold,
        "answerable": item.answerable,
        "withheld": item.answerable and gold is None,
        "repeated_option": len(set(item.options)) < len(item.options),
        "repeated_gold": item.options.count(gold) > 1,
        **{name: np.nan if gold is None else float(value) for name, value in right.items()},
    }


def _clip_findings(clip: Path, window: float, silence: bool) -> dict[str, bool | str]:
    fault, seconds, why, silence_finding = "", 0.0, "", {"silent_clip": False} if silence else {}
    try:
        seconds = check_clip(clip)
        if silence:
            silence_finding["silent_clip"] = is_silent(clip, max_seconds=window)
    except MissingClip:
        fault = "missing_clip"
    except ShortClip:
        fault = "short_clip"
    except AudioError as error:
        fault, why = "unreadable_clip", str(error)
    faults = {name: name == fault for name in ("missing_clip", "unreadable_clip", "short_clip")}
    return faults | {"long_clip": seconds > window, "why": why} | silence_finding


def _text_only(item_facts: pd.DataFrame, run: pd.DataFrame) -> pd.Series:
    """By row of `item_facts`: 1 right, 0 not, NaN without a gold option."""
    outcomes.validate(run)
    outcomes.refuse_failed(run)
    graded = item_facts["gold"].notna()
    if missing := sorted(set(item_facts.loc[graded, "item"]) - set(run["item"])):
        raise OutcomeError(
            f"{len(missing)} items, e.g. {missing[0]!r}, are not in the run without audio: ask it of the same items"
        )
    right = run.set_index("item")["outcome"].eq(Outcome.CORRECT).astype(float)
    return item_facts["item"].map(right).where(graded)


def _counts(part: pd.DataFrame) -> Iterator[tuple[str, float, int]]:
    counts = {"items": len(part), "answerable": part["answerable"].sum(), "withheld": part["withheld"].sum(),
              "unanswerable": (~part["answerable"]).sum()}  # fmt: skip
    counts |= {name: part[name].sum() for name in FINDINGS if name in part}
    sizes = part["n_options"].value_counts().sort_index()
    counts |= {f"options_{size}": count for size, count in sizes.items()}
    yield from ((name, count, len(part)) for name, count in counts.items())


def _shares(part: pd.DataFrame) -> Iterator[tuple[str, float, int]]:
    graded = part[part["gold"].notna()]
    yield from ((name, graded[name].mean(), len(graded)) for name in BASELINES if name in graded)
    for size, rows in graded.groupby("n_options"):
        counts = np.bincount(rows["gold"].astype(int), minlength=size)
        yield from (
            (f"gold_{chr(65 + i)}_of_{size}", count / len(rows), len(rows)) for i, count in enumerate(counts)
        )
        yield f"gold_p_of_{size}", _p_uniform(counts), len(rows)


def _p_uniform(counts: np.ndarray) -> float:
    if len(counts) == 2:
        return float(stats.binomtest(int(counts[0]), int(counts.sum())).pvalue)
    return float(stats.chisquare(counts).pvalue) if counts.sum() >= 5 * len(counts) else float("nan")


def _cell(name: str, cell: Mapping[str, Any] | None) -> str:
    if cell is None:
        return ""
    if cell["value"] is None:
        return "none graded" if cell["n"] == 0 else "too few"
    if name.startswith("gold_p_"):
        return f"{cell['value']:.2g}"
    return f"{cell['value']:.3f}" if name.startswith("gold_") or name in BASELINES else f"{cell['value']:.0f}"
