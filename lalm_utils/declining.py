"""Options that decline: "I do not have an answer", "Unanswerable", "None of the above", in any wording.

In: the items of one file. Out: the same items, each with the index of its option that declines in `Item.declining`;
to choose it is a refusal (`mark`); or items that get such an option at a place of our choice (`offer`). A file's
records may name it (`declining_option`), and so may the caller. Otherwise it is recognised by its wording, but only
where the answer key is known and never names it in the whole file: an option that is the right answer somewhere is
an answer.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from lalm_utils.items import BenchmarkError, Item
from lalm_utils.refusals import is_declining


def mark(items: Sequence[Item], option: str = "", *, by_wording: bool = True) -> list[Item]:
    """The items of one whole file, each with `declining` set where one of its options declines.

    option : the text of the option that declines; then no other is looked for. What a record named stays.
    by_wording : False where the file itself says which options decline. Two options of one item that decline by their
    wording are both answers. Raises BenchmarkError if `option` is the answer of an item.
    """
    right_answers = {_plain(item.options[item.gold]) for item in items if item.gold is not None}
    if option and _plain(option) in right_answers:
        item = next(
            item for item in items if item.gold is not None and same_option(option, item.options[item.gold])
        )
        raise BenchmarkError(
            f"item {item.id!r}: its answer is {option!r}, which is named as the option that declines; name another, "
            "or, if nobody can know the answer, set answerable to false and answer to null"
        )
    if not (option or by_wording):
        return list(items)
    return [item if item.declining is not None else _marked(item, option, right_answers) for item in items]


def offer(items: Sequence[Item], text: str, index: int | None = None) -> list[Item]:
    """The items with `text` as one more option, which declines, at `index` of their lists; None: at the end of each.

    Ids stay, so that runs with and without the option pair by question. Raises BenchmarkError for an item that has
    an option that declines already, or one of this text, and for an index beyond its list.
    """
    return [_offered(item, text, index) for item in items]


def _offered(item: Item, text: str, index: int | None) -> Item:
    present = item.declining if item.declining is not None else _first_like(item, text)
    if present is not None:
        raise BenchmarkError(
            f"item {item.id!r}: has the option {item.options[present]!r} already, and one that declines is enough; "
            "leave the item out, or ask it as it is"
        )
    position = len(item.options) if index is None else index
    if not 0 <= position <= len(item.options):
        raise BenchmarkError(
            f"item {item.id!r}: index {index} for a further option; its {len(item.options)} options leave 0 to "
            f"{len(item.options)}, or None for the end"
        )
    options = (*item.options[:position], text, *item.options[position:])
    gold = item.gold if item.gold is None else item.gold + (item.gold >= position)
    return replace(item, options=options, gold=gold, declining=position)


def same_option(first: str, second: str) -> bool:
    """Whether two texts are one option but for case, punctuation at the ends, and spaces."""
    return _plain(first) == _plain(second)


def _first_like(item: Item, text: str) -> int | None:
    return next((i for i, option in enumerate(item.options) if same_option(option, text)), None)


def _marked(item: Item, option: str, right_answers: set[str]) -> Item:
    if option:
        indices = [i for i, text in enumerate(item.options) if same_option(text, option)]
    elif item.gold is None and item.answerable:
        indices = []  # withheld: the answer may be any of them
    else:
        indices = [
            i for i, text in enumerate(item.options) if _declines(text) and _plain(text) not in right_answers
        ]
    return replace(item, declining=indices[0]) if len(indices) == 1 else item


@lru_cache(maxsize=65536)
def _declines(text: str) -> bool:
    return is_declining(text)  # a file repeats its options


def _plain(text: str) -> str:
    """In lower case, without punctuation at the ends, with single spaces and straight apostrophes."""
    text = unicodedata.normalize("NFKC", text).replace("’", "'").casefold()
    return " ".join(text.split()).strip(" .!,;:\"'()*_")
