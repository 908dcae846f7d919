"""Drawing questions: levels, pools of labels, and answers dealt from balanced decks.

The option set is drawn first and the answer is dealt from it, so that no text tells the answer: within a
(task, level) each label is right as often as its share of appearances, and each position as often as another.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Dealer:
    """Keeps the decks of one split. One dealer deals all items of a split, in order."""

    positions: dict[tuple, list[int]] = field(default_factory=dict)
    owed: dict[tuple, float] = field(default_factory=lambda: defaultdict(float))

    def answer(self, key: tuple, options: Sequence[str], rng: np.random.Generator) -> str:
        """The option that has been right least often for its share of appearances so far under `key`."""
        for option in options:
            self.owed[(*key, option)] += 1 / len(options)
        ties = rng.random(len(options)) * 1e-3
        chosen = int(np.argmax([self.owed[(*key, option)] + tie for option, tie in zip(options, ties)]))
        self.owed[(*key, options[chosen])] -= 1
        return options[chosen]

    def position(self, key: tuple, count: int, rng: np.random.Generator) -> int:
        """Next card of a shuffled deck of positions 0..count-1, reshuffled when used up."""
        deck = self.positions.setdefault((*key, count), [])
        if not deck:
            deck.extend(int(p) for p in rng.permutation(count))
        return deck.pop()


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
    task: str

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
        """Options in their final order and the index of the answer, from the balanced decks."""
        key = (self.task, self.level)
        answer = self.dealer.answer(key, sorted(options), self.rng)
        return self.place(options, answer)

    def place(self, options: Sequence[str], answer: str) -> tuple[tuple[str, ...], int]:
        """Options in their final order when the answer is settled already: only its position is dealt."""
        others = [option for option in self.sample(options, len(options)) if option != answer]
        index = self.dealer.position((self.task, self.level), len(options), self.rng)
        return (*others[:index], answer, *others[index:]), index

    def window(self, low: int, high: int, count: int = 4) -> tuple[tuple[str, ...], int]:
        """`count` neighbouring whole numbers within low..high, and the index of the one dealt as answer."""
        first = int(self.rng.integers(low, high - count + 2))
        rank = self.dealer.position((self.task, self.level, "rank"), count, self.rng)
        numbers = [str(first + i) for i in range(count)]
        return self.place(numbers, numbers[rank])

    def word_question(self, wordings: Sequence[str], **slots: str) -> tuple[str, tuple[str, ...]]:
        """One of the wordings, its slots filled, and all of them."""
        filled = tuple(wording.format(**slots) for wording in wordings)
        return self.pick(filled), filled
