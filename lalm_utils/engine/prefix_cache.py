"""Automatic prefix caching: keys and values of what prompts begin with are computed once.

In: the embeddings of a batch's prompts. Out: a KV cache of their prefixes, for a prefill of the suffixes alone. The
prefix of a prompt ends with its last clip: several methods, agent steps and questions share it, and the clip makes up
most of a short prompt. This buys the "four methods" ratio of notebook 11. Prompts on different clips still share the
system prefix, all that comes before the first clip; caching it buys another 7 % on the embedded model, of whose prompts
it is a seventh.

Prefixes are cached within a budget of bytes and evicted at random: runs pass over the same items again and again, and
the usual rule, to evict what was used longest ago, would evict each clip just before it is asked about again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn
from transformers import DynamicCache

PREFIX_BATCH = 8  # prefixes computed in one pass
# The least share of a batch's tokens that the cache must spare. Below it one pass over whole prompts is faster than one
# over missing prefixes and one over suffixes: 0.67 s instead of 0.90 s per 16 prompts with nothing cached.
MIN_SPARED = 0.25
MIN_SYSTEM_TOKENS = 8  # a shorter system prefix is not worth a cache of its own
MAX_SYSTEM_PREFIXES = 16
LENGTH_STEP = (
    8  # tokens; oneDNN compiles a kernel for each new length of a batch: 13.6 -> 13.0 s on first use
)
# PyTorch's attention on a CPU works on blocks of 32 keys, and a partial block costs more: 2.7 ms for 122 keys, 1.3 for
# 128. Filling blocks: 3.58 -> 3.26 s (one reply), 5.12 -> 4.82 s (four methods), 15.05 -> 14.71 s (five samples).
KEY_BLOCK = 32


@dataclass(frozen=True, kw_only=True)
class PromptEmbeddings:
    """One prompt: its embeddings (length, width), and the length of its prefix (0: it has no clip).

    Prompts with equal `key` have equal prefixes; `system_ids`, the tokens before the first clip, are a part of them.
    """

    embeds: torch.Tensor
    prefix_length: int
    key: Hashable
    system_ids: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CachedPrefixes:
    """A KV cache with a prefix of each prompt of a batch (None: all are empty), its mask (batch, longest), and the
    number of tokens in it per prompt. Masked positions fill up the blocks of keys."""

    cache: DynamicCache | None
    mask: torch.Tensor
    lengths: tuple[int, ...]

    def suffixes(self, prompts: Sequence[PromptEmbeddings]) -> tuple[torch.Tensor, torch.Tensor]:
        """What is still to be read of `prompts`, left-padded, and the mask of prefixes and suffixes."""
        padded, mask = pad_left([p.embeds[length:] for p, length in zip(prompts, self.lengths)])
        return padded, torch.cat([self.mask, mask], -1)


class PrefixCache:
    """Keys and values by prefix. `computed` counts the prefixes that were computed, alone or in a whole prompt."""

    def __init__(
        self,
        forward: Callable[[torch.Tensor, torch.Tensor, DynamicCache | None], DynamicCache],
        budget: int,
    ) -> None:
        """forward: from left-padded embeddings, the mask of all, and the cache before them (None: empty) to the cache
        that includes them; budget: bytes, 0 to cache nothing."""
        self.forward, self.budget = forward, budget
        self.entries: dict[Hashable, torch.Tensor] = {}  # each (layers, 2, heads, length, width)
        self.system_entries: dict[tuple[int, ...], torch.Tensor] = {}  # likewise, by tokens
        self.computed = self.size = 0
        self._random = random.Random(0)

    def lookup(self, prompts: Sequence[PromptEmbeddings]) -> CachedPrefixes | None:
        """The prefixes of `prompts`, missing ones computed; None where that spares too little or exceeds the budget.

        After None, read the prompts whole, or from their system prefix, and `insert` the result.
        """
        distinct = {prompt.key: prompt for prompt in prompts if prompt.prefix_length}
        missing = [prompt for key, prompt in distinct.items() if key not in self.entries]
        spared = sum(p.prefix_length for p in prompts) - sum(p.prefix_length for p in missing)
        if not self.budget or spared < MIN_SPARED * sum(len(prompt.embeds) for prompt in prompts):
            return None
        states = {key: self.entries[key] for key in distinct if key in self.entries}
        for first in range(0, len(missing), PREFIX_BATCH):
            states |= self._compute(missing[first : first + PREFIX_BATCH])
            if sum(entry.nbytes for entry in states.values()) * len(distinct) > self.budget * len(states):
                return None
        for prompt in missing:
            self._add(prompt.key, states[prompt.key])
        return _batched(prompts, states)

    def system_prefix(self, prompts: Sequence[PromptEmbeddings]) -> CachedPrefixes:
        """The system prefix that all `prompts` share; empty where they differ or it is under MIN_SYSTEM_TOKENS."""
        ids, device = prompts[0].system_ids, prompts[0].embeds.device
        mask = torch.ones((len(prompts), 0), dtype=torch.long, device=device)
        if not self.budget or len(ids) < MIN_SYSTEM_TOKENS or any(p.system_ids != ids for p in prompts):
            return CachedPrefixes(cache=None, mask=mask, lengths=(0,) * len(prompts))
        if ids not in self.system_entries:
            if len(self.system_entries) == MAX_SYSTEM_PREFIXES:
                self.system_entries.clear()
            alone = self.forward(*pad_left([prompts[0].embeds[: len(ids)]]), None)
            self.system_entries[ids] = _states(alone)[:, :, 0, :, -len(ids) :]
        filling = _filling(len(ids) + _rounded(len(p.embeds) - len(ids) for p in prompts))
        # masked positions come after it, so that `insert` finds it at the start
        states = nn.functional.pad(self.system_entries[ids], (0, 0, 0, filling))
        states = states[:, :, None].expand(-1, -1, len(prompts), -1, -1, -1)
        mask = nn.functional.pad(mask.new_ones((len(prompts), len(ids))), (0, filling))
        return CachedPrefixes(cache=_cache(states), mask=mask, lengths=(len(ids),) * len(prompts))

    def insert(self, prompts: Sequence[PromptEmbeddings], cache: DynamicCache, *, n_system: int) -> None:
        """Cache the prefixes of `prompts` after a prefill of whole prompts: `cache` begins with the `n_system` tokens
        that all share; the others are left-padded."""
        token = sum(part[0, :, 0].nbytes for layer in cache.layers for part in (layer.keys, layer.values))
        for row, prompt in enumerate(prompts):
            if 0 < prompt.prefix_length * token <= self.budget and prompt.key not in self.entries:
                self.computed += 1
                self._add(prompt.key, _prefix_states(prompt, row, cache, n_system))

    def _compute(self, prompts: Sequence[PromptEmbeddings]) -> dict[Hashable, torch.Tensor]:
        prefixes = [replace(prompt, embeds=prompt.embeds[: prompt.prefix_length]) for prompt in prompts]
        system = self.system_prefix(prefixes)
        self.computed += len(prompts)
        cache = self.forward(*system.suffixes(prefixes), system.cache)
        return {p.key: _prefix_states(p, row, cache, system.lengths[0]) for row, p in enumerate(prefixes)}

    def _add(self, key: Hashable, states: torch.Tensor) -> None:
        self.entries[key] = states
        self.size += states.nbytes
        while self.size > self.budget:
            keys = list(self.entries)
            self.size -= self.entries.pop(keys[self._random.randrange(len(keys))]).nbytes


def _batched(prompts: Sequence[PromptEmbeddings], states: dict[Hashable, torch.Tensor]) -> CachedPrefixes:
    """The prefixes of a batch against the right edge, with masked positions before them."""
    example = next(iter(states.values()))
    layers, _, heads, _, width = example.shape
    longest = max(prompt.prefix_length for prompt in prompts)
    longest += _filling(longest + _rounded(len(p.embeds) - p.prefix_length for p in prompts))
    mask = torch.zeros((len(prompts), longest), dtype=torch.long, device=example.device)
    batch = example.new_zeros((layers, 2, len(prompts), heads, longest, width))
    for row, prompt in enumerate(prompts):
        if prompt.prefix_length:
            batch[:, :, row, :, -prompt.prefix_length :] = states[prompt.key]
            mask[row, -prompt.prefix_length :] = 1
    return CachedPrefixes(cache=_cache(batch), mask=mask, lengths=tuple(p.prefix_length for p in prompts))


def _rounded(lengths: Iterable[int]) -> int:
    longest = max(lengths)
    return longest + -longest % LENGTH_STEP


def _filling(length: int) -> int:
    """How many masked positions fill up the last block of keys."""
    return -length % KEY_BLOCK


def _prefix_states(prompt: PromptEmbeddings, row: int, cache: DynamicCache, n_system: int) -> torch.Tensor:
    """The prefix of the prompt in `row` of `cache`: (layers, 2, heads, length, width), a copy of its own."""
    parts = [part[row] for layer in cache.layers for part in (layer.keys, layer.values)]
    end = parts[0].shape[-2] - len(prompt.embeds) + prompt.prefix_length
    rest = slice(end - prompt.prefix_length + n_system, end)
    copies = [torch.cat([part[:, :n_system], part[:, rest]], -2) for part in parts]
    return torch.stack(copies).unflatten(0, (-1, 2))


def _states(cache: DynamicCache) -> torch.Tensor:
    """(layers, 2, batch, heads, length, width): keys and values."""
    return torch.stack([torch.stack([layer.keys, layer.values]) for layer in cache.layers])


def _cache(states: torch.Tensor) -> DynamicCache:
    cache = DynamicCache()
    for number, (keys, values) in enumerate(states):
        cache.update(keys, values, number)
    return cache


def pad_left(rows: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """(batch, longest, width) of rows (length, width), zeros on the left, and the mask (batch, longest).

    `longest` is a multiple of LENGTH_STEP.
    """
    longest = _rounded(map(len, rows))
    padded = rows[0].new_zeros((len(rows), longest, rows[0].shape[-1]))
    mask = torch.zeros((len(rows), longest), dtype=torch.long, device=rows[0].device)
    for number, row in enumerate(rows):
        padded[number, longest - len(row) :] = row
        mask[number, longest - len(row) :] = 1
    return padded, mask
