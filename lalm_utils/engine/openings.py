"""What prompts begin with, read once: keys and values of everything up to the end of the clips.

In: the beginnings of a batch's prompts as embeddings. Out: a cache to go on from. A clip is asked about by several
methods, agent steps and questions, and takes most of a short prompt's tokens; this is the part that they share, an
*opening*. What comes before the first clip, a *stem*, is shared by prompts on different clips as well: of the embedded
model's prompts it is a seventh. It knows nothing of audio or text.

Openings are kept within a budget of bytes. What is thrown out is drawn at random: runs pass over the same items again
and again, and the usual rule, to drop what was not used for longest, would drop each clip just before it is asked about
again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn
from transformers import DynamicCache

AT_ONCE = 8  # openings read in one pass
WORTHWHILE = (
    0.25  # share of a batch's tokens from which two passes, openings and the rest, are faster than one
)
LEAST_STEM, MOST_STEMS = 8, 16  # tokens, from which a stem is worth a cache of its own; and how many are kept
STEP = 8  # tokens: oneDNN makes a kernel for each length of a batch, so new lengths took 5 % of the time of new prompts
KEYS = 32  # that attention on a CPU handles at once: a block that is not full costs more (2.7 ms for 122, 1.3 for 128)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One prompt: its embeddings (length, width), and how many of them its opening has (0: none to share).

    Rows with equal `key` have equal openings, and those with equal `stem`, tokens before the first clip, equal stems.
    """

    embeds: torch.Tensor
    opening: int
    key: Hashable
    stem: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Past:
    """Beginnings of a batch, left-padded, as a cache (None: of nothing), with mask (batch, longest) and lengths.

    Masked places make the length of whole prompts a multiple of `KEYS`, where there is a cache.
    """

    cache: DynamicCache | None
    mask: torch.Tensor
    held: tuple[int, ...]

    def rest(self, rows: Sequence[Row]) -> tuple[torch.Tensor, torch.Tensor]:
        """What of the batch's `rows` is still to be read, left-padded, and the mask of all."""
        padded, mask = left_padded([row.embeds[held:] for row, held in zip(rows, self.held)])
        return padded, torch.cat([self.mask, mask], -1)


class Openings:
    """Keys and values by opening. `passes` counts the openings that were read, alone or in a whole prompt."""

    def __init__(
        self, read: Callable[[torch.Tensor, torch.Tensor, DynamicCache | None], DynamicCache], budget: int
    ) -> None:
        """`read` takes left-padded embeddings, the mask of all and the cache of what came before (None: nothing), and
        returns the cache with them; `budget` is in bytes, and 0 keeps nothing."""
        self.read, self.budget = read, budget
        self.kept: dict[Hashable, torch.Tensor] = {}  # (layers, 2, heads, length, width)
        self.stems: dict[tuple[int, ...], torch.Tensor] = {}  # likewise
        self.passes = self.size = 0
        self._draw = random.Random(0)

    def past(self, rows: Sequence[Row]) -> Past | None:
        """The openings of `rows`, or None where that would spare too little, or one batch would overrun the budget.

        None means: read the prompts whole, or what follows their stem, and `keep` what comes of it.
        """
        wanted = {row.key: row for row in rows if row.opening}
        missing = [row for key, row in wanted.items() if key not in self.kept]
        spared = sum(row.opening for row in rows) - sum(row.opening for row in missing)
        if not self.budget or spared < WORTHWHILE * sum(len(row.embeds) for row in rows):
            return None
        found = {key: self.kept[key] for key in wanted if key in self.kept}
        for first in range(0, len(missing), AT_ONCE):
            found |= self._read(missing[first : first + AT_ONCE])
            if sum(one.nbytes for one in found.values()) * len(wanted) > self.budget * len(found):
                return None
        for row in missing:
            self._keep(row.key, found[row.key])
        return _assembled(rows, found)

    def begun(self, rows: Sequence[Row]) -> Past:
        """The one stem of all `rows`, or nothing where they have several, or too short a one."""
        stem, mask = rows[0].stem, torch.ones((len(rows), 0), dtype=torch.long, device=rows[0].embeds.device)
        if not self.budget or len(stem) < LEAST_STEM or any(row.stem != stem for row in rows):
            return Past(cache=None, mask=mask, held=(0,) * len(rows))
        if stem not in self.stems:
            if len(self.stems) == MOST_STEMS:
                self.stems.clear()
            alone = self.read(*left_padded([rows[0].embeds[: len(stem)]]), None)
            self.stems[stem] = _states(alone)[:, :, 0, :, -len(stem) :]
        unfilled = _unfilled(len(stem) + _longest(len(row.embeds) - len(stem) for row in rows))
        states = nn.functional.pad(self.stems[stem], (0, 0, 0, unfilled))  # `keep` finds the stem first
        states = states[:, :, None].expand(-1, -1, len(rows), -1, -1, -1)
        mask = nn.functional.pad(mask.new_ones((len(rows), len(stem))), (0, unfilled))
        return Past(cache=_cache(states), mask=mask, held=(len(stem),) * len(rows))

    def keep(self, rows: Sequence[Row], cache: DynamicCache, *, stem: int) -> None:
        """Keep the openings of `rows`, of whose whole prompts a pass left `cache`: `stem` tokens that all begin with,
        then the others, left-padded."""
        token = sum(part[0, :, 0].nbytes for layer in cache.layers for part in (layer.keys, layer.values))
        for place, row in enumerate(rows):
            if 0 < row.opening * token <= self.budget and row.key not in self.kept:
                self.passes += 1
                self._keep(row.key, _opening(row, place, cache, stem))

    def _read(self, rows: Sequence[Row]) -> dict[Hashable, torch.Tensor]:
        alone = [replace(row, embeds=row.embeds[: row.opening]) for row in rows]
        start = self.begun(alone)
        self.passes += len(rows)
        cache = self.read(*start.rest(alone), start.cache)
        return {row.key: _opening(row, place, cache, start.held[0]) for place, row in enumerate(alone)}

    def _keep(self, key: Hashable, states: torch.Tensor) -> None:
        self.kept[key] = states
        self.size += states.nbytes
        while self.size > self.budget:
            names = list(self.kept)
            self.size -= self.kept.pop(names[self._draw.randrange(len(names))]).nbytes


def _assembled(rows: Sequence[Row], found: dict[Hashable, torch.Tensor]) -> Past:
    layers, _, heads, _, width = next(iter(found.values())).shape
    some, longest = next(iter(found.values())), max(row.opening for row in rows)
    longest += _unfilled(longest + _longest(len(row.embeds) - row.opening for row in rows))
    mask = torch.zeros((len(rows), longest), dtype=torch.long, device=some.device)
    states = some.new_zeros((layers, 2, len(rows), heads, longest, width))
    for place, row in enumerate(rows):
        if row.opening:
            states[:, :, place, :, -row.opening :] = found[row.key]
            mask[place, -row.opening :] = 1
    return Past(cache=_cache(states), mask=mask, held=tuple(row.opening for row in rows))


def _longest(lengths: Iterable[int]) -> int:
    longest = max(lengths)
    return longest + -longest % STEP


def _unfilled(length: int) -> int:
    return -length % KEYS


def _opening(row: Row, place: int, cache: DynamicCache, stem: int) -> torch.Tensor:
    """The opening of the batch's row at `place`: (layers, 2, heads, length, width), a copy of its own."""
    parts = [part[place] for layer in cache.layers for part in (layer.keys, layer.values)]
    end = parts[0].shape[-2] - len(row.embeds) + row.opening
    behind = slice(end - row.opening + stem, end)
    own = [torch.cat([part[:, :stem], part[:, behind]], -2) for part in parts]
    return torch.stack(own).unflatten(0, (-1, 2))


def _states(cache: DynamicCache) -> torch.Tensor:
    """(layers, 2, batch, heads, length, width): keys and values."""
    return torch.stack([torch.stack([layer.keys, layer.values]) for layer in cache.layers])


def _cache(states: torch.Tensor) -> DynamicCache:
    cache = DynamicCache()
    for number, (keys, values) in enumerate(states):
        cache.update(keys, values, number)
    return cache


def left_padded(rows: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """(batch, longest, width) of rows (length, width), zeros on the left, and the mask (batch, longest).

    `longest` is a multiple of `STEP`.
    """
    longest = _longest(map(len, rows))
    padded = rows[0].new_zeros((len(rows), longest, rows[0].shape[-1]))
    mask = torch.zeros((len(rows), longest), dtype=torch.long, device=rows[0].device)
    for place, row in enumerate(rows):
        padded[place, longest - len(row) :] = row
        mask[place, longest - len(row) :] = 1
    return padded, mask
