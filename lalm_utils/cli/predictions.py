"""Replies made elsewhere, as the commands read them: reply_logs.py with errors of this room.

In: the path of a file in any layout that reply_logs.py knows. Out: its predictions and its outcome table.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lalm_utils import outcomes, reply_logs
from lalm_utils.items import BenchmarkError
from lalm_utils.reply_logs import CUT_KEY, FINISH_KEY, REPLY_KEYS, Prediction, ReplyLog

__all__ = ["CUT_KEY", "FINISH_KEY", "REPLY_KEYS", "Prediction", "PredictionError", "read", "records", "table"]


class PredictionError(ValueError):
    """A predictions file that cannot be scored. The message names file, item, rule and next step."""


def table(predictions: Sequence[Prediction], path: Path) -> pd.DataFrame:
    """The outcome table of the predictions in the file at `path`; items without a reply are `failed`."""
    items, replies = zip(*((each.item, each.reply) for each in predictions))
    return outcomes.table(items, replies, model=path.name, method="", seed=0)


def read(
    path: Path, declining_option: str = "", questions: Path | None = None, columns: Sequence[str] = ()
) -> ReplyLog:
    """What reply_logs.read reads. Raises PredictionError where that raises BenchmarkError."""
    try:
        return reply_logs.read(path, declining_option=declining_option, questions=questions, columns=columns)
    except BenchmarkError as error:
        raise PredictionError(str(error)) from error


def records(path: Path, questions: Path | None = None) -> list[Prediction]:
    """All predictions of a file, in order, checked. Raises PredictionError."""
    return read(path, questions=questions).predictions
