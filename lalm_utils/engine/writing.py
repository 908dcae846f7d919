"""From one prefill per prompt to n replies, with the prompt's options as drafts of them.

In: a decoder and batches of prompts that it has read. Out: `Written` replies. It knows nothing of audio or text.

The prompt is never copied per sample. The n samples of a prompt are *streams* side by side in one row, under a mask
that lets a stream see the prompt and its own past only: decoding 5 samples takes half the time of copying the cache
5 times. Streams with the same tokens so far are read as one, until they part.

A reply to a multiple-choice question is mostly one of the options. So once a stream's tokens are those that an option
begins with, the rest of that option is read together with its last token, in one step, and what the model would have
chosen after each of them is compared with the draft: what agrees stands, the first that does not replaces the draft
(speculative decoding, arXiv 2211.17192, with drafts that cost nothing). A step reads all weights however few its
tokens are, so a draft that is wrong costs little; and every token is the model's own choice at its own random number,
as without drafts, up to numerical ties.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import DynamicCache

from lalm_utils.engine.asked import Written
from lalm_utils.engine.decoding import Decoder, Prefix, choose

MOST_DRAFTED = 6  # tokens of a draft that are read at once
ROWS = 128  # logits made at once: those of a large vocabulary fill gigabytes
COMPACT_BELOW = 0.75  # share of live rows under which finished ones are dropped: dropping copies the cache

Continuations = Mapping[tuple[int, ...], tuple[int, ...]]  # from the first tokens of a draft to the others


def continuations(drafts: Iterable[Sequence[int]]) -> Continuations:
    """By every beginning of a draft, how it goes on; of drafts that begin alike, how the first does."""
    found: dict[tuple[int, ...], tuple[int, ...]] = {}
    for draft in map(tuple, drafts):
        for length in range(1, len(draft)):
            found.setdefault(draft[:length], draft[length:])
    return found


@dataclass(kw_only=True)
class _Stream:
    """One reply as it comes. Its last token is chosen and not read yet, and so is `draft`, a guess at the next."""

    most: int
    tokens: list[int] = field(default_factory=list)
    draft: tuple[int, ...] = ()
    ended: bool = False
    drafted: bool = True  # the tokens so far may be a draft's; if not, those to come cannot make them so

    @property
    def done(self) -> bool:
        return self.ended or len(self.tokens) == self.most

    def guess(self, after: Continuations) -> None:
        known = after.get(tuple(self.tokens), ()) if self.drafted else ()
        self.drafted = bool(known)
        self.draft = known[: min(MOST_DRAFTED, self.most - len(self.tokens) - 1)]

    def take(self, chosen: Sequence[int], ends: Set[int]) -> int:
        """Go on with what was chosen after the last token and after each of the draft's, as far as these agree.

        Returns how many of the tokens read stand.
        """
        for place, token in enumerate(chosen):
            if token in ends:
                self.ended = True
                return place + 1
            self.tokens.append(token)
            if self.done or self.draft[place : place + 1] != (token,):
                return place + 1
        return len(chosen)


@dataclass(kw_only=True)
class _Row:
    """A prompt whose replies are being written."""

    streams: list[_Stream]
    after: Continuations
    uniform: np.ndarray | None  # (n, max_new_tokens)

    @property
    def done(self) -> bool:
        return all(stream.done for stream in self.streams)

    @property
    def written(self) -> list[Written]:
        return [Written(tokens=stream.tokens, ended=stream.ended) for stream in self.streams]


class Writer:
    """Writes replies to prompts that come batch by batch; those that are not done go on with the next batch's.

    So the last streams of a batch, whose steps cost nearly as much as those of all, seldom run alone.
    """

    def __init__(
        self, decoder: Decoder, *, n: int, temperature: float, max_new_tokens: int, ends: Set[int]
    ) -> None:
        """`n` replies per prompt (greedy: 1), each up to a token of `ends` or `max_new_tokens`."""
        self.decoder, self.temperature, self.ends = decoder, temperature, ends
        self.n, self.most = n, max_new_tokens
        self.rows: list[_Row] = []  # of the cache; some may be done
        self.cache: Any = None
        self.seen = self.lengths = torch.empty(0)

    @torch.inference_mode()
    def add(
        self, prefix: Prefix, *, uniform: torch.Tensor | None, drafts: Sequence[Iterable[Sequence[int]]] = ()
    ) -> list[_Row]:
        """Take in a batch of prompts. Their rows have the replies in `written` once `run` is through with them.

        `uniform` (batch, n, max_new_tokens): the numbers to draw at; None when greedy. `drafts`: per prompt, tokens
        that a reply may consist of.
        """
        after = [continuations(some) for some in drafts] or [{}] * len(prefix.mask)
        drawn = [None] * len(after) if uniform is None else uniform.cpu().numpy()
        first = choose(
            prefix.logits[:, None], self.temperature, None if uniform is None else uniform[:, :, 0]
        )
        fresh = []
        for tokens, known, numbers in zip(first.expand(-1, self.n).tolist(), after, drawn):
            streams = [_Stream(most=self.most) for _ in tokens]
            for stream, token in zip(streams, tokens):
                stream.take([token], self.ends)
            fresh.append(_Row(streams=streams, after=known, uniform=numbers))
        seen, lengths = prefix.mask.bool()[:, None].expand(-1, self.n, -1), prefix.mask.sum(-1)
        self._drop_done(share=1.0)
        if self.rows:
            prefix.cache, seen = _joined(self.cache, prefix.cache), _stacked(self.seen, seen)
            lengths = torch.cat([self.lengths, lengths])
        self.cache, self.seen, self.lengths = prefix.cache, seen, lengths
        self.rows = [*self.rows, *fresh]
        return fresh

    def run(self, *, until: int = 0) -> None:
        """Step by step, until no more than `until` prompts are left."""
        while sum(not row.done for row in self.rows) > until:
            self._drop_done(share=COMPACT_BELOW)
            self._step()

    def _drop_done(self, *, share: float) -> None:
        """Drop rows that are done, if those that are not are at most `share` of all."""
        live = [place for place, row in enumerate(self.rows) if not row.done]
        if len(live) == len(self.rows) or len(live) > share * len(self.rows):
            return
        self.rows = [self.rows[place] for place in live]
        if live:
            kept = torch.tensor(live, device=self.seen.device)
            self.cache.batch_select_indices(kept)
            self.seen, self.lengths = self.seen[kept], self.lengths[kept]

    @torch.inference_mode()
    def _step(self) -> None:
        for row in self.rows:
            for stream in row.streams:
                stream.guess(row.after if not stream.done else {})
        step = _Step.of([row.streams for row in self.rows], self.seen.device)
        hidden = self.decoder.extend(
            self.cache, step.tokens, self.lengths[:, None] + step.behind, step.saw(self.seen)
        )
        drawn = None
        if self.temperature:
            drawn = np.stack([self.rows[row].uniform[:, at] for row, at in zip(step.row, step.number)])
            drawn = torch.from_numpy(drawn).to(hidden.device)
        chosen = _chosen(self.decoder, hidden[step.row, step.column], self.temperature, drawn)
        self.seen = torch.cat([self.seen, step.take(chosen, self.ends)], -1)


def _joined(one: DynamicCache, other: DynamicCache) -> DynamicCache:
    """The rows of both, against the right edge. `one` and `other` are used up."""
    cache = DynamicCache()
    for number, (mine, yours) in enumerate(zip(one.layers, other.layers)):
        cache.update(_stacked(mine.keys, yours.keys, -2), _stacked(mine.values, yours.values, -2), number)
        mine.keys = mine.values = yours.keys = yours.values = None
    return cache


def _stacked(one: torch.Tensor, other: torch.Tensor, along: int = -1) -> torch.Tensor:
    """The rows of both, the shorter ones with zeros before them."""
    longest = max(one.shape[along], other.shape[along])
    behind = (0, 0) * (-along - 1)
    padded = [nn.functional.pad(x, (*behind, longest - x.shape[along], 0)) for x in (one, other)]
    return torch.cat(padded)


def _chosen(
    decoder: Decoder, hidden: torch.Tensor, temperature: float, drawn: torch.Tensor | None
) -> list[list[int]]:
    """(m, n) tokens after (m, width) states, drawn at (m, n) numbers."""
    parts = [None] * len(hidden) if drawn is None else drawn.split(ROWS)
    made = [
        choose(decoder.head(some)[:, None], temperature, at) for some, at in zip(hidden.split(ROWS), parts)
    ]
    return torch.cat(made).tolist()


@dataclass(frozen=True, kw_only=True)
class _Step:
    """What is read in one step: (rows, groups * width) tokens, group by group, and the places of the m true ones.

    A group are the streams of a row that have the same tokens so far.
    """

    groups: Sequence[Sequence[Sequence[int]]]  # by row and group, the numbers of its streams
    streams: Sequence[Sequence[_Stream]]
    leads: torch.Tensor  # (rows, groups): the first stream of each
    width: int
    tokens: torch.Tensor
    behind: torch.Tensor  # (rows, groups * width): places behind the prompt
    row: np.ndarray  # (m,): the place of each true token,
    column: np.ndarray
    number: np.ndarray  # and which token of the reply is chosen after it

    @classmethod
    def of(cls, streams: Sequence[Sequence[_Stream]], device: torch.device) -> _Step:
        groups = [_alike(row) for row in streams]
        width = 1 + max(len(stream.draft) for row in streams for stream in row)
        shape = (len(streams), max(map(len, groups)), width)
        tokens, behind, true = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.zeros(shape, bool)
        leads = np.zeros(shape[:2], np.int64)
        for row, alike in enumerate(groups):
            for place, (lead, *_) in enumerate(alike):
                stream = streams[row][lead]
                some = (stream.tokens[-1], *stream.draft)
                leads[row, place] = lead
                tokens[row, place, : len(some)] = some
                true[row, place, : len(some)] = True
                behind[row, place] = len(stream.tokens) - 1 + np.arange(width)
        row, group, place = true.nonzero()
        return cls(
            groups=groups,
            streams=streams,
            leads=torch.from_numpy(leads).to(device),
            width=width,
            tokens=torch.from_numpy(tokens).flatten(1).to(device),
            behind=torch.from_numpy(behind).flatten(1).to(device),
            row=row,
            column=group * width + place,
            number=behind[row, group, place] + 1,
        )

    def saw(self, seen: torch.Tensor) -> torch.Tensor:
        """(rows, groups * width, all): the tokens before this step that a group may see, and its own up to each."""
        rows, count = self.leads.shape
        before = seen[torch.arange(rows, device=seen.device)[:, None], self.leads]
        own = torch.ones(self.width, self.width, dtype=torch.bool, device=seen.device).tril()
        own = torch.block_diag(*[own] * count).bool()
        return torch.cat([before.repeat_interleave(self.width, 1), own.expand(rows, -1, -1)], -1)

    def take(self, chosen: Sequence[Sequence[int]], ends: Set[int]) -> torch.Tensor:
        """Hand each stream what was chosen for it; (rows, n, groups * width): the tokens of this step that it keeps."""
        (rows, count), n, left = self.leads.shape, len(self.streams[0]), iter(chosen)
        stands = np.zeros((rows, n, count, self.width), bool)
        for row, alike in enumerate(self.groups):
            for place, numbers in enumerate(alike):
                draft = self.streams[row][numbers[0]].draft
                after = [next(left) for _ in range(1 + len(draft))]
                for number in numbers:
                    kept = self.streams[row][number].take([several[number] for several in after], ends)
                    stands[row, number, place, :kept] = True
        return torch.from_numpy(stands).flatten(2).to(self.tokens.device)


def _alike(streams: Sequence[_Stream]) -> list[list[int]]:
    """The numbers of streams that go on, grouped by the tokens that they have."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for number, stream in enumerate(streams):
        if not stream.done:
            groups.setdefault(tuple(stream.tokens), []).append(number)
    return list(groups.values())
