"""What a confidence beside each reply is worth, and a threshold with a promise: `score --confidence COLUMN`.

In: predictions and their outcome table. Out: fields for the report of score.py, and their text. What is measured is
risk_coverage.py's; an answer is a reply from which an option was read or should have been, so refusals are left out.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lalm_utils import bootstrap, outcomes, risk_coverage
from lalm_utils.cli import finite
from lalm_utils.cli.predictions import Prediction, PredictionError
from lalm_utils.messages import join, short_repr

N_BOOT = 500


def share(text: str) -> float:
    """A number inside (0, 1), as a type of argparse."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number between 0 and 1, as 0.1 is")
    return value


def answers(predictions: Sequence[Prediction], table: pd.DataFrame, column: str, path: Path) -> pd.DataFrame:
    """The rows of `table` that are answers, with score (the value under `column`) and right.

    PredictionError where an answer has no number there, or there is no answer at all.
    """
    given = table["outcome"].isin(["correct", "wrong", "unreadable"]).to_numpy()
    own = [each for each, is_answer in zip(predictions, given, strict=True) if is_answer]
    if not own:
        raise PredictionError(
            f"{path}: no answer among {len(table)} replies; a confidence is measured on answers"
        )
    lacking = [each.item.id for each in own if each.record.get(column) is None]
    if lacking:
        present = sorted(set().union(*(each.record for each in own)))
        where = f"has no {column!r}" if len(lacking) == len(own) else f"{column!r} is missing"
        raise PredictionError(
            f"{path}: {where} in {len(lacking)} of {len(own)} answers, e.g. {short_repr(lacking[0])}; the keys are "
            f"{join(present)}; name one that holds a number for each answer"
        )
    scores = [_number(each, column, path) for each in own]
    return table[given].assign(score=scores, right=table.loc[given, "outcome"].eq("correct"))


def _number(each: Prediction, column: str, path: Path) -> float:
    value = each.record[column]
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise PredictionError(
            f"{path}, item {short_repr(each.item.id)}: {column} is {short_repr(value)}; a confidence is a finite "
            "number, higher being surer"
        )
    return number


def measures(frame: pd.DataFrame, by: str, seed: int) -> dict[str, dict[str, Any]]:
    """By group: answers, and each measure with intervals and status; those of calibration if all lie in [0, 1]."""
    probability = bool(frame["score"].between(0, 1).all())
    rows = risk_coverage.report(
        frame, "score", by=by, probability=probability, n_boot=N_BOOT, seed=seed
    ).replace({np.nan: None})
    return {
        group: {
            "answers": int(part["n"].iloc[0]), **dict(zip(part["metric"], part["value"])),
            "intervals": {r.metric: None if r.low is None else [r.low, r.high] for r in part.itertuples()},
            "status": {r.metric: r.status for r in part.itertuples() if r.status},
        }
        for group, part in rows.groupby("group", sort=False)
    }  # fmt: skip


def promise(
    frame: pd.DataFrame, path: Path, *, alpha: float, delta: float, calibrate: str, seed: int
) -> dict[str, Any]:
    """A threshold fixed on part of the answers, and what became of it on the others.

    calibrate: the split to fix it on; "": a random half by `seed`. threshold is null where all or none is answered, as
    `answer` says. PredictionError for an unknown split, one that leaves nothing, and too few answers to promise on.
    """
    if calibrate:
        fixed = frame["split"].eq(calibrate).to_numpy()
    else:
        fixed = np.zeros(len(frame), bool)
        fixed[np.random.default_rng(seed).permutation(len(frame))[: len(frame) // 2]] = True
    if not fixed.any() or fixed.all():
        present = ", ".join(f"{name} {n}" for name, n in frame["split"].value_counts().items())
        raise PredictionError(
            f"{path}: {fixed.sum()} of {len(frame)} answers to fix the threshold on, and both sides need some; "
            f"answers by split: {present}; name one of several, or leave --calibrate out for a random half"
        )
    least = risk_coverage.fewest(alpha, delta)
    if fixed.sum() < least:
        raise PredictionError(
            f"{path}: {fixed.sum()} answers to fix the threshold on; alpha {alpha:g} and delta {delta:g} need at least "
            f"{least}, even if all are right; give more answers, or a higher --alpha or --delta"
        )
    own, rest = frame[fixed], frame[~fixed]
    made = risk_coverage.promise(own["score"], own["right"], alpha=alpha, delta=delta)
    kept = rest.loc[rest["score"] > made.threshold, "right"]
    wrong, n = int((~kept).sum()), len(kept)
    low, high = bootstrap.wilson(wrong, n)
    return {
        "alpha": alpha, "delta": delta, "calibrate": calibrate or f"a random half, seed {seed}",
        "calibration": {"answers": len(own), "coverage": made.coverage},
        "answer": {math.inf: "none", -math.inf: "all"}.get(made.threshold, "above the threshold"),
        "threshold": finite(made.threshold),
        "test": {"answers": len(rest), "kept": n, "coverage": n / len(rest), "wrong": wrong,
                 "risk": wrong / n if n else None, "interval": [low, high] if n else None},
    }  # fmt: skip


def fields(
    predictions: Sequence[Prediction], table: pd.DataFrame, column: str, path: Path, *, by: str, why: str,
    alpha: float, delta: float, calibrate: str, seed: int,
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """For the report, by group: the measures of `column`; "overall" also has the promise. why: why all is withheld."""
    if why:
        return {group: {"column": column, "withheld": why} for group, _ in outcomes.groups(table, by)}
    frame = answers(predictions, table, column, path)
    found = {group: {"column": column} | each for group, each in measures(frame, by, seed).items()}
    made = promise(frame, path, alpha=alpha, delta=delta, calibrate=calibrate, seed=seed)
    found["overall"]["promise"] = made
    return found


def as_text(report: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The paragraphs of a report that has these fields."""
    groups = {group: each["confidence"] for group, each in report.items() if "confidence" in each}
    overall = groups["overall"]
    title = f"Is {overall['column']} a confidence? Risk and coverage of the answers"
    if "withheld" in overall:
        return [title, overall["withheld"]]
    parts = [title]
    for names in (risk_coverage.RANKING[:4], risk_coverage.RANKING[4:], risk_coverage.PROBABILITY):
        rows = {
            group: {"answers": each["answers"]} | {name: _cell(each, name) for name in names}
            for group, each in groups.items()
            if names[0] in each
        }
        parts += [pd.DataFrame(rows).T.to_string()] if rows else []
    return [*parts, _promise_text(overall["promise"])]


def _cell(each: Mapping[str, Any], name: str) -> str:
    if each[name] is None:
        return "undefined"
    low, high = each["intervals"][name] or (math.nan, math.nan)
    return bootstrap.interval_text(each[name], low, high, digits=3)


def _promise_text(made: Mapping[str, Any]) -> str:
    fixed, test = made["calibration"], made["test"]
    wish = f"at most {made['alpha']:.1%} of the answers wrong, with confidence {1 - made['delta']:.0%}"
    source = f"fixed on {fixed['answers']} answers ({made['calibrate']})"
    if made["answer"] == "none":
        return f"No threshold can promise {wish}: {source}; give more answers, or a higher --alpha"
    rule = "all" if made["answer"] == "all" else f"above {made['threshold']:.6g}"
    text = f"Promise: {wish}: answer {rule}, {source}. It holds for questions like these alone.\n"
    if not test["kept"]:
        return f"{text}Of the other {test['answers']} answers none is above it"
    risk = bootstrap.interval_text(test["risk"], *test["interval"], digits=3)
    kept = f"{test['kept']} are kept ({test['coverage']:.1%})"
    return f"{text}Of the other {test['answers']} answers {kept}; wrong among them: {risk}"
