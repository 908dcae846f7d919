"""Outcome tables built from counts, for the tests of metrics, comparisons, intervals and tables."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lalm_utils.metrics import Transitions
from lalm_utils.outcomes import REPLY_OUTCOMES


def run(outcomes: list[str], modality: str | list[str] = "sound", **columns) -> pd.DataFrame:
    """An outcome table of items q0, q1, ... with these outcomes."""
    frame = pd.DataFrame({"item": [f"q{i}" for i in range(len(outcomes))], "outcome": outcomes})
    return frame.assign(modality=modality, **{"answerable": True} | columns)


def letters(text: str) -> pd.DataFrame:
    """An outcome table of one item a letter, e.g. "ccwr": the first half sound, the second music."""
    names = {"c": "correct", "w": "wrong", "r": "refused", "u": "unreadable", "f": "failed"}
    modality = ["sound" if index < len(text) / 2 else "music" for index in range(len(text))]
    return run([names[letter] for letter in text], modality)


def count_table(correct=0, wrong=0, refused=0, unreadable=0, failed=0, **columns) -> pd.DataFrame:
    numbers = {
        "correct": correct,
        "wrong": wrong,
        "refused": refused,
        "unreadable": unreadable,
        "failed": failed,
    }
    return run([name for name, n in numbers.items() for _ in range(n)], **columns)


def transition_tables(**transitions: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A pair of tables from counts such as correct_to_refused=20."""
    pairs = [name.split("_to_") for name, n in transitions.items() for _ in range(n)]
    return run([old for old, _ in pairs]), run([new for _, new in pairs])


def value(frame: pd.DataFrame, metric: str, group: str = "overall", column: str = "value"):
    [cell] = frame.loc[(frame["metric"] == metric) & (frame["group"] == group), column]
    return cell


def cells(**transitions: int) -> Transitions:
    table = np.zeros((4, 4), int)
    for name, n in transitions.items():
        old, new = name.split("_to_")
        table[REPLY_OUTCOMES.index(old), REPLY_OUTCOMES.index(new)] = n
    return Transitions(cells=table)
