"""What a question is sampled from: the level, the pools of labels, the answer and its position among the options.

The options are sampled first and the answer uniformly from them; its position comes from a shuffled deck that holds
each position equally often. So no text gives the answer away. There is one deck for each number of options: with a
deck per task and level a label that was right once would not be right again, and the text would say what the answer
is *not* (LOG.md has the figures).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lalm_utils.mini.benchmark.scene import QuestionSpec, Scene


@dataclass
class BalancedPositions:
    """Positions of answers, each equally often. One object serves all items of a split, in order."""

    decks: dict[tuple[str, int], list[int]] = field(default_factory=dict)

    def next_index(self, deck: str, count: int, rng: np.random.Generator) -> int:
        """The next number of a deck of 0..count-1, four of each, shuffled anew when used up."""
        numbers = self.decks.setdefault((deck, count), [])
        if not numbers:
            numbers.extend(int(number) % count for number in rng.permutation(4 * count))
        return numbers.pop()


@dataclass(frozen=True, kw_only=True)
class Pools:
    """The labels one item may use. A novel item's pools hold only labels that no clip of `train` holds."""

    events: tuple[str, ...]
    textures: tuple[str, ...]
    instruments: tuple[str, ...]
    languages: Mapping[str, str]
    words: Mapping[str, tuple[str, ...]]
    voices: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class SamplingContext:
    """What a task samples its question from: random numbers, the level, pools of labels, positions of answers."""

    rng: np.random.Generator
    level: str
    pools: Pools
    positions: BalancedPositions

    def difficulty(self, easy, medium, hard):
        """The value of a parameter of difficulty at this level."""
        return {"easy": easy, "medium": medium, "hard": hard}[self.level]

    def uniform(self, span: tuple[float, float]) -> float:
        return float(self.rng.uniform(*span))

    def pick(self, values: Sequence):
        return pick(values, self.rng)

    def sample(self, values: Sequence, count: int) -> list:
        return [values[int(i)] for i in self.rng.permutation(len(values))[:count]]

    def choose_answer(self, options: Sequence[str]) -> tuple[tuple[str, ...], int]:
        """Options in their final order and the index of the answer, which is sampled uniformly from them."""
        return self.place_answer(options, self.pick(sorted(options)))

    def place_answer(self, options: Sequence[str], answer: str) -> tuple[tuple[str, ...], int]:
        """Options in their final order and the index of a given answer, whose position comes from the deck."""
        others = [option for option in self.sample(options, len(options)) if option != answer]
        index = self.positions.next_index("position", len(options), self.rng)
        return (*others[:index], answer, *others[index:]), index

    def nth_in_sequence(self, pool: Sequence[str], size: int) -> tuple[tuple[str, ...], int, list[str], int]:
        """Four options of the pool, the answer's index, and a sequence of `size` options with its position there."""
        options, gold = self.choose_answer(self.sample(pool, 4))
        position = int(self.rng.integers(size))
        sequence = self.sample(without(options, gold), size - 1)
        sequence.insert(position, options[gold])
        return options, gold, sequence, position

    def number_window(self, low: int, high: int, count: int = 4) -> tuple[tuple[str, ...], int]:
        """`count` neighbouring whole numbers within low..high; the answer's rank comes from a deck of its own."""
        first = int(self.rng.integers(low, high - count + 2))
        numbers = [str(first + i) for i in range(count)]
        return self.place_answer(numbers, numbers[self.positions.next_index("rank", count, self.rng)])

    def question(
        self, wordings: Sequence[str], options: tuple[str, ...], gold: int, *, pool: Iterable[str] = (),
        slots: Mapping[str, str] | None = None, build: Callable[[np.random.Generator], Scene], rationale: str,
        **truth: Any,
    ) -> QuestionSpec:  # fmt: skip
        """The question in one of its wordings, slots filled; without `pool` no label beyond the options is possible."""
        filled = tuple(wording.format(**(slots or {})) for wording in wordings)
        return QuestionSpec(
            question=self.pick(filled), wordings=filled, options=options, gold=gold, pool=tuple(pool) or options,
            build=build, rationale=rationale, truth=truth,
        )  # fmt: skip


def without(options: Sequence[str], gold: int) -> list[str]:
    """The options but the answer."""
    return [option for number, option in enumerate(options) if number != gold]


def pick(values: Sequence, rng: np.random.Generator) -> Any:
    """One of the values, each equally likely."""
    return values[int(rng.integers(len(values)))]


def with_article(label: str) -> str:
    return f"{'an' if label[0] in 'aeiou' else 'a'} {label}"
