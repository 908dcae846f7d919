"""Outcome tables built from counts, for the tests of metrics, flows, gains and intervals."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lalm_utils.flows import ANSWERED, Flows


def run(found: list[str], modality: str | list[str] = "sound", **columns) -> pd.DataFrame:
    """An outcome table of items q0, q1, ... with these outcomes."""
    frame = pd.DataFrame({"item": [f"q{i}" for i in range(len(found))], "outcome": found})
    return frame.assign(modality=modality, **{"answerable": True} | columns)


def counted(correct=0, wrong=0, refused=0, unreadable=0, failed=0, **columns) -> pd.DataFrame:
    numbers = {
        "correct": correct,
        "wrong": wrong,
        "refused": refused,
        "unreadable": unreadable,
        "failed": failed,
    }
    return run([name for name, n in numbers.items() for _ in range(n)], **columns)


def moved(**flows: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A pair of tables from counts such as correct_to_refused=20."""
    pairs = [name.split("_to_") for name, n in flows.items() for _ in range(n)]
    return run([old for old, _ in pairs]), run([new for _, new in pairs])


def value(frame: pd.DataFrame, metric: str, group: str = "overall", column: str = "value"):
    [found] = frame.loc[(frame["metric"] == metric) & (frame["group"] == group), column]
    return found


def cells(**flows: int) -> Flows:
    table = np.zeros((4, 4), int)
    for name, n in flows.items():
        old, new = name.split("_to_")
        table[ANSWERED.index(old), ANSWERED.index(new)] = n
    return Flows(cells=table)
