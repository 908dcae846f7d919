"""Options in another order: does a model choose an option, or a place?

In: items; later the outcome tables of runs on them. Out: the same questions with their options rotated
(`reordered`), a table's choices as the items number them (`in_order_of`), and how often the chosen text stays
(`agreement`). It asks no model.

Options are rotated, not shuffled, so neighbours stay neighbours. Gold options are dealt to all places in turn, as
evenly as the number of items allows: always answering A then scores chance, whatever a benchmark's skew.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from lalm_utils import bootstrap, outcomes
from lalm_utils.items import Item
from lalm_utils.outcomes import OutcomeError


def reordered(items: Sequence[Item], *, seed: int) -> list[Item]:
    """Each item with its options rotated; the gold index follows. Items keep their order.

    Items of as many options are dealt places in the order of a hash of seed and id, so it depends on which items
    there are, not on their order. An item that is dealt the place that its gold option has stays as it is; one
    without a gold option is rotated as if its first option were gold. A repeated gold option counts at the first
    of its places, as ever, which may then be less even.
    """
    dealt: Counter[int] = Counter()
    places = {}
    for item in sorted(items, key=lambda item: hashlib.sha256(f"{seed}/{item.id}".encode()).digest()):
        size = len(item.options)
        places[item.id] = dealt[size] % size
        dealt[size] += 1
    return [_rotated(item, places[item.id]) for item in items]


def in_order_of(items: Sequence[Item], table: pd.DataFrame, asked: Sequence[Item]) -> pd.DataFrame:
    """The outcome table of a run on `asked`, with gold and choice as `items` number their options.

    items, asked: the same questions in the table's order. Replies stay as they are: a letter in one is of the order
    in which the options were asked. Raises OutcomeError for other items than the table's.
    """
    _check(items, table)
    _check(asked, table)
    rows = zip(items, asked, table["choice"], strict=True)
    choice = [pd.NA if pd.isna(at) else item.options.index(other.options[at]) for item, other, at in rows]
    gold = [item.gold if item.gold is not None else pd.NA for item in items]
    index = table.index
    return table.assign(
        choice=pd.Series(choice, index, dtype="Int64"), gold=pd.Series(gold, index, dtype="Int64")
    )


def agreement(items: Sequence[Item], first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """By modality and overall: of the n items where an option was read in both runs, the share where it has one text.

    first, second: outcome tables whose choices are numbered as in `items` (`in_order_of`), in their order. Returns
    group, n, share, low, high (Wilson); NaN without items. Raises OutcomeError for tables of other items.
    """
    _check(items, first)
    _check(items, second)
    rows = zip(items, first["choice"], second["choice"], strict=True)
    same = [None if pd.isna(a) or pd.isna(b) else item.options[a] == item.options[b] for item, a, b in rows]
    found = []
    for group, part in outcomes.groups(first.reset_index(drop=True).assign(_same=same)):
        kept = part["_same"].dropna()
        n, k = len(kept), int(kept.sum())
        found.append((group, n, k / n if n else float("nan"), *bootstrap.wilson(k, n)))
    return pd.DataFrame(found, columns=["group", "n", "share", "low", "high"])


def _rotated(item: Item, place: int) -> Item:
    size = len(item.options)
    shift = ((item.gold or 0) - place) % size
    options = item.options[shift:] + item.options[:shift]
    gold = None if item.gold is None else options.index(item.options[item.gold])
    return replace(item, options=options, gold=gold)


def _check(items: Sequence[Item], table: pd.DataFrame) -> None:
    if [item.id for item in items] != table["item"].tolist():
        raise OutcomeError(
            f"the table has {len(table)} rows and there are {len(items)} items, which are not the same in the same "
            "order: give the items that were asked"
        )
