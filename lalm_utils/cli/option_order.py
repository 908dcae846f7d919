"""Options in another order: does a model choose an option, or a position?

In: items; later the outcome tables of runs on them. Out: the same questions with their options rotated (`rotate`), and
a table's choices as the benchmark numbers them (`restore`).

Options are rotated, not shuffled, so neighbours stay neighbours. Gold options go to all positions in turn, as evenly as
the number of items allows: always answering A then scores chance, whatever a benchmark's skew.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

import pandas as pd

from lalm_utils.items import Item
from lalm_utils.outcomes import OutcomeError


def rotate(items: Sequence[Item], *, seed: int) -> list[Item]:
    """Each item with its options rotated; the gold index follows. Items keep their order.

    Items of as many options get positions in the order of a hash of seed and id, so it depends on which items there
    are, not on their order. An item whose gold option is at its position already stays as it is; one without a gold
    option is rotated as if its first option were gold. A repeated gold option counts at the first of its positions,
    as ever, which may then be less even.
    """
    counts: Counter[int] = Counter()
    positions = {}
    for item in sorted(items, key=lambda item: hashlib.sha256(f"{seed}/{item.id}".encode()).digest()):
        size = len(item.options)
        positions[item.id] = counts[size] % size
        counts[size] += 1
    return [_rotate(item, positions[item.id]) for item in items]


def restore(items: Sequence[Item], table: pd.DataFrame, rotated: Sequence[Item]) -> pd.DataFrame:
    """The outcome table of a run on `rotated`, with gold, declining and choice as `items` number their options.

    items, rotated: the same questions in the table's order. Replies stay as they are: a letter in one means the order
    of the prompt. Raises OutcomeError for other items than the table's.
    """
    ids = table["item"].tolist()
    if not ids == [item.id for item in items] == [item.id for item in rotated]:
        raise OutcomeError(
            f"the table has {len(table)} rows and there are {len(items)} items, which are not the same in the same "
            "order: give the items that were asked"
        )
    rows = zip(items, rotated, table["choice"], strict=True)
    choice = [pd.NA if pd.isna(at) else item.options.index(other.options[at]) for item, other, at in rows]
    columns = {"choice": choice} | {
        name: [getattr(item, name) for item in items] for name in ("gold", "declining")
    }
    return table.assign(
        **{name: pd.Series(values, table.index, dtype="Int64") for name, values in columns.items()}
    )


def _rotate(item: Item, position: int) -> Item:
    size = len(item.options)
    shift = ((item.gold or 0) - position) % size
    return item.reordered([*range(shift, size), *range(shift)])
