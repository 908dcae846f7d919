"""An audit of a benchmark's items: what is doubled, where the gold options stand, which clips cannot be heard.

In: items; if there is one, the outcome table of a run without audio (`runs.ask(audio=False)`). Out: a row of facts per
item (`facts`), and a tidy table of counts and shares by modality and overall (`table`). No model is asked, and a wrong
gold option cannot be seen from the file. What a benchmark's loader refuses never comes here.

Baselines that hear nothing: option A, the longest option (its share where several are as long), chance, and a model
without audio. Where these come near a model's accuracy, the accuracy says little about hearing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from lalm_utils import outcomes
from lalm_utils.audio import AudioError, MissingClip, ShortClip, check_clip
from lalm_utils.items import Item
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
}
CLIPS = ("missing_clip", "unreadable_clip", "short_clip", "long_clip")
BASELINES = ("always_first", "always_longest", "chance", "text_only")
COLUMNS = ("group", "measure", "value", "n")


def facts(items: Sequence[Item], *, clips: bool = True, window: float = WINDOW) -> pd.DataFrame:
    """A row per item: item, modality, n_options, gold, answerable, withheld, FINDINGS, always_first,
    always_longest, chance (probability of being right; NaN without a gold option).

    clips: open each clip's header; else the columns of CLIPS are left out. window: seconds.
    """
    seen: set[tuple[Path, str]] = set()
    heard = {clip: _clip(clip, window) for clip in {item.clip for item in items}} if clips else {}
    rows = []
    for item in items:
        asked = (item.clip, " ".join(item.question.casefold().split()))
        rows.append(_facts(item) | {"duplicate_question": asked in seen} | heard.get(item.clip, {}))
        seen.add(asked)
    return pd.DataFrame(rows).astype({"gold": "Int64"})


def table(found: pd.DataFrame, *, text_only: pd.DataFrame | None = None) -> pd.DataFrame:
    """COLUMNS, by modality and "overall", of the rows of `facts`: a tidy table.

    Counts (of n items): items, answerable, withheld, unanswerable, FINDINGS, and options_K, items of K options.
    Of the n items with a gold option: BASELINES; gold_A_of_K, the share of those with K options whose gold
    option is A; and gold_p_of_K, the p of such shares if every place were as likely: exact for two options, by
    chi-square for more, NaN where fewer than five are expected at a place. A repeated gold option counts as the
    first of its places.

    text_only: the outcome table of the same items asked without audio. Raises OutcomeError if it lacks items,
    or if its replies failed.
    """
    heard = _text_only(found, text_only)
    found = found if heard is None else found.assign(text_only=heard)
    rows = [
        (group, measure, float(value), n)
        for group, part in outcomes.groups(found)
        for measure, value, n in (*_counts(part), *_shares(part))
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def named(found: pd.DataFrame) -> Mapping[str, list[str]]:
    """The ids of the items with each finding, of the rows of `facts`."""
    return {name: found.loc[found[name], "item"].tolist() for name in FINDINGS if name in found}


def summary(frame: pd.DataFrame) -> str:
    """The overall rows of `table` in a line: what was found, and the baselines in per cent."""
    overall = frame[frame["group"] == "overall"].set_index("measure")["value"]
    said = [f"{int(overall[name])} {name}" for name in FINDINGS if overall.get(name)]
    baselines = [f"{name} {overall[name]:.1%}" for name in BASELINES if name in overall]
    unheard = "" if "text_only" in overall else "; no run without audio was given"
    return f"{', '.join(said) or 'nothing found'}; {', '.join(baselines)}{unheard}"


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


def _clip(clip: Path, window: float) -> dict[str, bool]:
    fault, seconds = "", 0.0
    try:
        seconds = check_clip(clip)
    except MissingClip:
        fault = "missing_clip"
    except ShortClip:
        fault = "short_clip"
    except AudioError:
        fault = "unreadable_clip"
    return {name: name == fault for name in CLIPS} | {"long_clip": seconds > window}


def _text_only(found: pd.DataFrame, run: pd.DataFrame | None) -> pd.Series | None:
    """By row of `found`: 1 right, 0 not, NaN without a gold option."""
    if run is None:
        return None
    outcomes.validate(run)
    outcomes.refuse_failed(run)
    graded = found["gold"].notna()
    if missing := sorted(set(found.loc[graded, "item"]) - set(run["item"])):
        raise OutcomeError(
            f"{len(missing)} items, e.g. {missing[0]!r}, are not in the run without audio: ask it of the same items"
        )
    right = run.set_index("item")["outcome"].eq(Outcome.CORRECT).astype(float)
    return found["item"].map(right).where(graded)


def _counts(part: pd.DataFrame) -> Iterator[tuple[str, float, int]]:
    n = len(part)
    counts = {"items": n, "answerable": part["answerable"].sum(), "withheld": part["withheld"].sum(),
              "unanswerable": n - part["answerable"].sum()}  # fmt: skip
    counts |= {name: part[name].sum() for name in FINDINGS if name in part}
    sizes = part["n_options"].value_counts().sort_index()
    counts |= {f"options_{size}": count for size, count in sizes.items()}
    yield from ((name, count, n) for name, count in counts.items())


def _shares(part: pd.DataFrame) -> Iterator[tuple[str, float, int]]:
    graded = part[part["gold"].notna()]
    yield from ((name, graded[name].mean(), len(graded)) for name in BASELINES if name in graded)
    for size, rows in graded.groupby("n_options"):
        at = np.bincount(rows["gold"].astype(int), minlength=size)
        yield from (
            (f"gold_{chr(65 + i)}_of_{size}", count / len(rows), len(rows)) for i, count in enumerate(at)
        )
        yield f"gold_p_of_{size}", _p_uniform(at), len(rows)


def _p_uniform(at: np.ndarray) -> float:
    if len(at) == 2:
        return float(stats.binomtest(int(at[0]), int(at.sum())).pvalue)
    return float(stats.chisquare(at).pvalue) if at.sum() >= 5 * len(at) else float("nan")
