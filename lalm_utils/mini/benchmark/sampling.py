"""Drawing questions: levels, pools of labels, answers and their positions.

The option set is drawn first and the answer uniformly from it; where it stands is dealt from a deck that holds
each position equally often. So no text tells the answer. Decks are kept per number of options only: with a deck
per task and level a label that was right once is not right again, and the text tells what the answer is *not*
(LOG.md has the figures).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Dealer:
    """Keeps the decks of one split. One dealer deals all items of a split, in order."""

    decks: dict[tuple[str, int], list[int]] = field(default_factory=dict)

    def card(self, deck: str, count: int, rng: np.random.Generator) -> int:
        """Next card of the deck of 0..count-1, four of each, reshuffled when used up."""
        cards = self.decks.setdefault((deck, count), [])
        if not cards:
            cards.extend(int(card) % count for card in rng.permutation(4 * count))
        return cards.pop()


@dataclass(frozen=True, kw_only=True)
class Pools:
    """The labels one item may use. A novel item's pools hold only labels that never occur in `train`."""

    events: tuple[str, ...]
    textures: tuple[str, ...]
    instruments: tuple[str, ...]
    languages: Mapping[str, str]
    words: Mapping[str, tuple[str, ...]]
    voices: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class Draw:
    """What a generator draws from: a random generator, the level, the pools and the dealer."""

    rng: np.random.Generator
    level: str
    pools: Pools
    dealer: Dealer

    def lever(self, easy, medium, hard):
        """The value of a lever at this level."""
        return {"easy": easy, "medium": medium, "hard": hard}[self.level]

    def uniform(self, span: tuple[float, float]) -> float:
        return float(self.rng.uniform(*span))

    def pick(self, values: Sequence):
        return values[int(self.rng.integers(len(values)))]

    def sample(self, values: Sequence, count: int) -> list:
        return [values[int(i)] for i in self.rng.permutation(len(values))[:count]]

    def deal(self, options: Sequence[str]) -> tuple[tuple[str, ...], int]:
        """Options in their final order and the index of the answer, drawn uniformly from them."""
        return self.place(options, self.pick(sorted(options)))

    def place(self, options: Sequence[str], answer: str) -> tuple[tuple[str, ...], int]:
        """Options in their final order when the answer is settled already: only its position is dealt."""
        others = [option for option in self.sample(options, len(options)) if option != answer]
        index = self.dealer.card("position", len(options), self.rng)
        return (*others[:index], answer, *others[index:]), index

    def window(self, low: int, high: int, count: int = 4) -> tuple[tuple[str, ...], int]:
        """`count` neighbouring whole numbers within low..high; which of them is the answer is dealt."""
        first = int(self.rng.integers(low, high - count + 2))
        numbers = [str(first + i) for i in range(count)]
        return self.place(numbers, numbers[self.dealer.card("rank", count, self.rng)])

    def word_question(self, wordings: Sequence[str], **slots: str) -> tuple[str, tuple[str, ...]]:
        """One of the wordings, its slots filled, and all of them."""
        filled = tuple(wording.format(**slots) for wording in wordings)
        return self.pick(filled), filled
