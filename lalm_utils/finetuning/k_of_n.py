"""What a model knows: how many of N sampled replies to a question are right (arXiv 2505.19294, "K@N").

In: a model, items with a right option, and the store. Out: tables of samples, of how many of them are right, and of
the share of items that each K would label IDK.

Samples are drawn under the plain prompt. A refused or unreadable sample is not a right one. An item with a
failed sample is left out, and said: N samples were asked for, and fewer are another experiment.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lalm_utils import benchmarks, bootstrap, outcomes, paper, prompts
from lalm_utils.items import Item
from lalm_utils.items import sample as draw_items
from lalm_utils.models import Model
from lalm_utils.outcomes import Outcome
from lalm_utils.paper import MEASURED, PRINTED
from lalm_utils.runs import MAX_NEW_TOKENS
from lalm_utils.store import Store

N = 5  # samples an item, as in the paper's 5@5
TEMPERATURE = 1.0  # the paper prints none; the text-LLM work that it extends (arXiv 2401.13275) has 1.0
METHOD = "plain"
# Shares of a benchmark that does not come with these splits.
PARTS = {"idk": 0.4, "dev": 0.1, "test": 0.5}
FACTS = ("item", "modality", "level", "task", "novel")
SHARES = ("group", "k", "source", "share", "low", "high", "n")

log = logging.getLogger(__name__)


def splits(benchmark: str | Path, *, seed: int = 0, **sizes: int | None) -> dict[str, list[Item]]:
    """Items to learn from ("idk"), to choose settings on ("dev") and to report on ("test"), disjoint in clips.

    sizes: idk=, dev=, test=: how many items of each, drawn by `items.sample` with `seed` (None: all). "mini"
    has these splits. Any other benchmark is dealt into them by a hash of each clip's file name, in the shares
    of PARTS, its unanswerable items left out. Raises ValueError for a part that ends up empty.
    """
    if unknown := set(sizes) - set(PARTS):
        raise ValueError(f"no part {sorted(unknown)[0]!r}: the parts are {', '.join(PARTS)}")
    if str(benchmark) == "mini":
        return {part: benchmarks.load("mini", split=part, n=sizes.get(part), seed=seed) for part in PARTS}
    parts: dict[str, list[Item]] = {part: [] for part in PARTS}
    for item in benchmarks.load(benchmark):
        if item.answerable:
            parts[_part(item.clip.name)].append(item)
    if empty := [part for part, members in parts.items() if not members]:
        raise ValueError(f"{benchmark}: too few clips to deal, none falls to {', '.join(empty)}")
    return {
        part: members if sizes.get(part) is None else draw_items(members, sizes[part], seed=seed)
        for part, members in parts.items()
    }


def sample(
    model: Model,
    items: Sequence[Item],
    *,
    store: Store,
    n: int = N,
    temperature: float = TEMPERATURE,
    seed: int = 0,
    max_new_tokens: int | None = None,
) -> pd.DataFrame:
    """`n` replies to each item under the plain prompt, graded: one row per (item, sample).

    Columns: item, modality, level, task, novel, sample (from 0), reply, choice (the option read, or none), outcome.
    The samples of an item share one prefill. `max_new_tokens`: as for `runs.ask`. Raises ValueError for n under 1, for
    temperature 0 (all replies would be equal) and for an item without a right option, whose label would not be the
    model's doing.
    """
    if n < 1 or not temperature > 0:
        raise ValueError(f"n={n}, temperature={temperature}: n is at least 1, and temperature above 0")
    refuse_goldless(items)
    replies = store.ask(
        model,
        [prompts.render(item, METHOD) for item in items],
        n=n,
        temperature=temperature,
        max_new_tokens=MAX_NEW_TOKENS[METHOD] if max_new_tokens is None else max_new_tokens,
        seed=seed,
    )
    rows = []
    for item, samples in zip(items, replies, strict=True):
        facts = [getattr(item, name) for name in ("id", *FACTS[1:])]
        for number, reply in enumerate(samples):
            grade = outcomes.grade(item, reply)
            rows.append([*facts, number, reply.text, grade.choice, grade.outcome.value])
    frame = pd.DataFrame(rows, columns=[*FACTS, "sample", "reply", "choice", "outcome"])
    return frame.astype({"choice": "Int64"})


def is_known(right: int, *, k: int) -> bool:
    """The K@N rule: a model knows an item if at least `k` of its N samples are right."""
    return right >= k


def count_correct(samples: pd.DataFrame) -> pd.DataFrame:
    """One row per item: item, modality, level, task, novel, n (samples), right (how many of them, 0 to n).

    Items with a failed sample are left out: they are logged, and listed in frame.attrs["failed"]. Raises
    ValueError where nothing is left, or where items have different numbers of samples.
    """
    failed = sorted(samples.loc[samples["outcome"] == Outcome.FAILED, "item"].unique())
    if failed:
        log.warning("%d of %d items left out, as a sample of theirs failed: %s",
                    len(failed), samples["item"].nunique(), ", ".join(failed[:3]))  # fmt: skip
    whole = samples[~samples["item"].isin(failed)]
    if whole.empty:
        raise ValueError(f"no samples to count ({len(failed)} items failed): ask again, or ask other items")
    whole = whole.assign(n=1, right=(whole["outcome"] == Outcome.CORRECT).astype(int))
    rules = dict.fromkeys(FACTS[1:], "first") | {"n": "sum", "right": "sum"}
    frame = whole.groupby("item", sort=False).agg(rules).reset_index()
    if frame["n"].nunique() != 1:
        numbers = ", ".join(map(str, sorted(frame["n"].unique())))
        raise ValueError(f"items have {numbers} samples each: K of N needs one N for all")
    frame.attrs["failed"] = failed
    return frame


def votes(samples: pd.DataFrame) -> pd.Series:
    """By item, how many of its samples name the same option, at most: 0 to N. Those without an option name none."""
    largest = samples.groupby(["item", "choice"]).size().groupby("item").max()
    return largest.reindex(samples["item"].unique(), fill_value=0)


def share_by_k(counts: pd.DataFrame) -> pd.DataFrame:
    """The share of items labelled IDK for K = 1 to N: what the figure idk_share_by_k draws.

    counts: as `count_correct` returns it. Columns group, k, source, share, low, high (Wilson, 95 %) and n (items).
    Groups: each modality, "overall", and "known content" and "novel content" where there are both.
    """
    groups = list(outcomes.groups(counts))
    if counts["novel"].nunique() == 2:
        names = {False: "known content", True: "novel content"}
        groups += [(name, counts[counts["novel"] == novel]) for novel, name in names.items()]
    rows = []
    for group, part in groups:
        for k in range(1, int(counts["n"].iloc[0]) + 1):
            idk, n = int((~is_known(part["right"], k=k)).sum()), len(part)
            rows.append((group, k, MEASURED, idk / n, *bootstrap.wilson(idk, n), n))
    return pd.DataFrame(rows, columns=list(SHARES))


def printed_shares() -> pd.DataFrame:
    """The shares that the paper prints, as rows of `share_by_k`; it prints neither intervals nor n."""
    rows = [("overall", k, PRINTED, share / 100) for k, share in paper.IDK_SHARES.items()]
    return pd.DataFrame([(*row, np.nan, np.nan, np.nan) for row in rows], columns=list(SHARES))


def refuse_goldless(items: Sequence[Item]) -> None:
    """ValueError for the first item without a right option."""
    for item in items:
        if item.gold is None:
            raise ValueError(
                f"item {item.id!r} has no right option: leave unanswerable and withheld items out"
            )


def _part(name: str) -> str:
    """The part that a clip belongs to, by its file name."""
    share = int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:8]) / 2**64
    bounds = np.cumsum(list(PARTS.values()))
    return list(PARTS)[int(np.searchsorted(bounds[:-1], share, side="right"))]
