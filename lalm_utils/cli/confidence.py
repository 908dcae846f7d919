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
    is_answer = table["outcome"].isin(["correct", "wrong", "unreadable"]).to_numpy()
    selection = [prediction for prediction, keep in zip(predictions, is_answer, strict=True) if keep]
    if not selection:
        raise PredictionError(
            f"{path}: no answer among {len(table)} replies; a confidence is measured on answers"
        )
    missing = [prediction.item.id for prediction in selection if prediction.record.get(column) is None]
    if missing:
        present = sorted(set().union(*(prediction.record for prediction in selection)))
        problem = f"has no {column!r}" if len(missing) == len(selection) else f"{column!r} is missing"
        raise PredictionError(
            f"{path}: {problem} in {len(missing)} of {len(selection)} answers, e.g. {short_repr(missing[0])}; the keys "
            f"are {join(present)}; name one that holds a number for each answer"
        )
    scores = [_number(prediction, column, path) for prediction in selection]
    return table[is_answer].assign(score=scores, right=table.loc[is_answer, "outcome"].eq("correct"))


def _number(prediction: Prediction, column: str, path: Path) -> float:
    value = prediction.record[column]
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise PredictionError(
            f"{path}, item {short_repr(prediction.item.id)}: {column} is {short_repr(value)}; a confidence is a finite "
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
        is_calibration = frame["split"].eq(calibrate).to_numpy()
    else:
        is_calibration = np.zeros(len(frame), bool)
        is_calibration[np.random.default_rng(seed).permutation(len(frame))[: len(frame) // 2]] = True
    if not is_calibration.any() or is_calibration.all():
        splits = frame.loc[frame["split"] != "", "split"].value_counts()
        if calibrate and splits.empty:
            raise PredictionError(
                f"{path}: none of {len(frame)} answers has a split, so none is of {calibrate!r}; leave --calibrate out "
                "for a random half"
            )
        present = ", ".join(f"{name} {n}" for name, n in splits.items()) or "none"
        raise PredictionError(
            f"{path}: {is_calibration.sum()} of {len(frame)} answers to fix the threshold on, and both sides need "
            f"some; answers by split: {present}; name one of several, or leave --calibrate out for a random half"
        )
    least = risk_coverage.fewest(alpha, delta)
    if is_calibration.sum() < least:
        raise PredictionError(
            f"{path}: {is_calibration.sum()} answers to fix the threshold on; alpha {alpha:g} and delta {delta:g} need "
            f"at least {least}, even if all are right; give more answers, or a higher --alpha or --delta"
        )
    calibration, test = frame[is_calibration], frame[~is_calibration]
    rule = risk_coverage.promise(calibration["score"], calibration["right"], alpha=alpha, delta=delta)
    retained = test.loc[test["score"] > rule.threshold, "right"]
    wrong, n = int((~retained).sum()), len(retained)
    low, high = bootstrap.wilson(wrong, n)
    return {
        "alpha": alpha, "delta": delta, "calibrate": calibrate or f"a random half, seed {seed}",
        "calibration": {"answers": len(calibration), "coverage": rule.coverage},
        "answer": {math.inf: "none", -math.inf: "all"}.get(rule.threshold, "above the threshold"),
        "threshold": finite(rule.threshold),
        "test": {"answers": len(test), "kept": n, "coverage": n / len(test), "wrong": wrong,
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
    report = {
        group: {"column": column} | group_measures
        for group, group_measures in measures(frame, by, seed).items()
    }
    promise_fields = promise(frame, path, alpha=alpha, delta=delta, calibrate=calibrate, seed=seed)
    report["overall"]["promise"] = promise_fields
    return report


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


def _promise_text(fields: Mapping[str, Any]) -> str:
    calibration, test = fields["calibration"], fields["test"]
    goal = f"at most {fields['alpha']:.1%} of the answers wrong, with confidence {1 - fields['delta']:.0%}"
    source = f"fixed on {calibration['answers']} answers ({fields['calibrate']})"
    if fields["answer"] == "none":
        return f"No threshold can promise {goal}: {source}; give more answers, or a higher --alpha"
    rule = "all" if fields["answer"] == "all" else f"above {fields['threshold']:.6g}"
    text = f"Promise: {goal}: answer {rule}, {source}. It holds for questions like these alone.\n"
    if not test["kept"]:
        return f"{text}Of the other {test['answers']} answers none is above it"
    risk = bootstrap.interval_text(test["risk"], *test["interval"], digits=3)
    retained = f"{test['kept']} are kept ({test['coverage']:.1%})"
    return f"{text}Of the other {test['answers']} answers {retained}; wrong among them: {risk}"
