"""From one prefill per prompt to n replies, with the prompt's options as drafts of them.

In: a decoder and a batch of prompts that it has read. Out: `Written` replies. It knows nothing of audio or text.

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

import numpy as np
import torch

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


@torch.inference_mode()
def write(
    decoder: Decoder,
    prefix: Prefix,
    *,
    n: int,
    temperature: float,
    uniform: torch.Tensor | None,
    max_new_tokens: int,
    ends: Set[int],
    drafts: Sequence[Iterable[Sequence[int]]] = (),
) -> list[list[Written]]:
    """`n` replies per prompt, each up to a token of `ends` or `max_new_tokens`.

    `uniform` (batch, n, max_new_tokens) is not looked at when greedy; then n is 1. `drafts`: per prompt, tokens that a
    reply may consist of. Prompts whose streams have all ended leave the batch.
    """
    streams = [[_Stream(most=max_new_tokens) for _ in range(n)] for _ in prefix.mask]
    after = [continuations(some) for some in drafts] or [{}] * len(streams)
    first = choose(prefix.logits[:, None], temperature, None if uniform is None else uniform[:, :, 0])
    for row, tokens in zip(streams, first.expand(-1, n).tolist()):
        for stream, token in zip(row, tokens):
            stream.take([token], ends)
    rows, lengths = np.arange(len(streams)), prefix.mask.sum(-1)
    seen = prefix.mask.bool()[:, None].expand(-1, n, -1)
    while (live := np.array([not all(stream.done for stream in streams[row]) for row in rows])).any():
        if live.mean() <= COMPACT_BELOW:
            kept = torch.from_numpy(live.nonzero()[0]).to(seen.device)
            prefix.cache.batch_select_indices(kept)
            rows, lengths, seen = rows[live], lengths[kept], seen[kept]
        for row in rows:
            for stream in streams[row]:
                stream.guess(after[row])
        step = _Step.of([streams[row] for row in rows], seen.device)
        hidden = decoder.extend(prefix, step.tokens, lengths[:, None] + step.behind, step.saw(seen))
        drawn = None if uniform is None else uniform[rows[step.row], :, step.number]
        chosen = _chosen(decoder, hidden[step.row, step.column], temperature, drawn)
        seen = torch.cat([seen, step.take(chosen, ends)], -1)
    return [[Written(tokens=stream.tokens, ended=stream.ended) for stream in row] for row in streams]


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
    row: (
        np.ndarray
    )  # (m,): of each true token, its row, column, and the number in the reply of the one it leads to
    column: np.ndarray
    number: np.ndarray

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
