"""From one prefill per prompt to n replies, with the prompt's options as drafts of the reply.

In: a decoder and batches of prompts after their prefill. Out: `GeneratedSequence`s.

*Side by side.* The KV cache of a prompt is never copied per sample. Its n samples are *streams* in one row of the
batch, under a mask that lets a stream attend to the prompt and to its own tokens only: decoding 5 samples takes half
of the time of copying the cache 5 times. Streams with the same tokens so far are decoded as one, until they part.

*Drafts.* A reply to a multiple-choice question is mostly one of the options. Once a stream's tokens are those that an
option begins with, the rest of the option is fed together with its last token, in one step, and the model's own choice
after each of them is compared with the draft: what agrees is accepted, the first that does not replaces the draft. This
is speculative decoding (arXiv 2211.17192) with drafts that cost nothing, as in prompt lookup. A step reads all weights
however few its tokens are, so a wrong draft costs little; and every token is the model's own choice at its own random
number, as without drafts, up to numerical ties.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from lalm_utils.engine.decoding import Decoder, Prefill
from lalm_utils.engine.model_input import GeneratedSequence
from lalm_utils.engine.sampling import sample_token
from lalm_utils.models import Decoding

MAX_DRAFT = 6  # tokens of a draft that are fed in one step
LOGIT_ROWS = 128  # logits computed at once: those of a large vocabulary fill gigabytes
# The share of unfinished prompts in the batch under which finished ones are dropped: dropping copies the cache.
COMPACT_BELOW = 0.75

Continuations = Mapping[tuple[int, ...], tuple[int, ...]]  # from the first tokens of a draft to the rest


def continuations(drafts: Iterable[Sequence[int]]) -> Continuations:
    """By every beginning of a draft, its rest; of drafts that begin alike, the rest of the first."""
    rest: dict[tuple[int, ...], tuple[int, ...]] = {}
    for draft in map(tuple, drafts):
        for length in range(1, len(draft)):
            rest.setdefault(draft[:length], draft[length:])
    return rest


@dataclass(kw_only=True)
class _Stream:
    """One reply in progress. Its last token is not in the cache yet, nor is `draft`, a guess at the next ones."""

    max_tokens: int
    tokens: list[int] = field(default_factory=list)
    draft: tuple[int, ...] = ()
    complete: bool = False
    on_draft: bool = True  # the tokens so far may begin a draft; once they do not, no later ones can

    @property
    def finished(self) -> bool:
        return self.complete or len(self.tokens) == self.max_tokens

    def propose(self, rest: Continuations) -> None:
        """Set the draft of the next step."""
        draft = rest.get(tuple(self.tokens), ()) if self.on_draft else ()
        self.on_draft = bool(draft)
        self.draft = draft[: min(MAX_DRAFT, self.max_tokens - len(self.tokens) - 1)]

    def accept(self, choices: Sequence[int], ends: Set[int]) -> int:
        """Append the model's choices after the last token and after each of the draft's, as long as these agree.

        Returns how many of the tokens that were fed stay visible.
        """
        for number, token in enumerate(choices):
            if token in ends:
                self.complete = True
                return number + 1
            self.tokens.append(token)
            if self.finished or self.draft[number : number + 1] != (token,):
                return number + 1
        return len(choices)


@dataclass(kw_only=True)
class _Prompt:
    """A prompt in the batch, with its replies in progress."""

    streams: list[_Stream]
    rest: Continuations
    uniform: np.ndarray | None  # (n, max_new_tokens)

    @property
    def finished(self) -> bool:
        return all(stream.finished for stream in self.streams)

    @property
    def sequences(self) -> list[GeneratedSequence]:
        return [GeneratedSequence(tokens=s.tokens, complete=s.complete) for s in self.streams]

    def groups(self, *, merge: bool) -> list[list[int]]:
        """The unfinished streams by number, those with equal tokens in one group if they are to `merge`."""
        groups: dict[Any, list[int]] = {}
        for number, stream in enumerate(self.streams):
            if not stream.finished:
                groups.setdefault(tuple(stream.tokens) if merge else number, []).append(number)
        return list(groups.values())


class Generator:
    """Replies to the prompts of a batch."""

    def __init__(
        self, decoder: Decoder, decoding: Decoding, *, ends: Set[int], merge_streams: bool = True
    ) -> None:
        """ends: tokens that end a reply. Greedily there is one reply per prompt."""
        self.decoder, self.temperature, self.ends = decoder, decoding.temperature, ends
        self.n, self.max_tokens = len(decoding.samples), decoding.max_new_tokens
        self.merge_streams = merge_streams
        self.prompts: list[_Prompt] = []  # the rows of the cache; some may be finished
        self.cache: Any = None
        self.visible = self.lengths = torch.empty(
            0
        )  # (rows, n, length): what a stream attends to; (rows,): of prompts

    @torch.inference_mode()
    def add(
        self,
        prefill: Prefill,
        *,
        uniform: torch.Tensor | None,
        drafts: Sequence[Iterable[Sequence[int]]] = (),
    ) -> list[_Prompt]:
        """Take in a batch of prompts, in place of the one before. `run` completes their `sequences`.

        uniform: (batch, n, max_new_tokens) numbers to sample with; None when greedy. drafts: per prompt, the tokens of
        likely replies.
        """
        first = sample_token(
            prefill.logits[:, None], self.temperature, None if uniform is None else uniform[:, :, 0]
        )
        prompts = []
        for row, tokens in enumerate(first.expand(-1, self.n).tolist()):
            streams = [_Stream(max_tokens=self.max_tokens) for _ in tokens]
            for stream, token in zip(streams, tokens):
                stream.accept([token], self.ends)
            numbers = None if uniform is None else uniform[row].cpu().numpy()
            rest = continuations(drafts[row]) if drafts else {}
            prompts.append(_Prompt(streams=streams, rest=rest, uniform=numbers))
        self.cache, self.prompts = prefill.cache, prompts
        self.visible = prefill.mask.bool()[:, None].expand(-1, self.n, -1)
        self.lengths = prefill.mask.sum(-1)
        return prompts

    def run(self) -> None:
        """Decode step by step, until all prompts are finished."""
        while rows := [row for row, prompt in enumerate(self.prompts) if not prompt.finished]:
            if len(rows) <= COMPACT_BELOW * len(self.prompts):
                self._retain(rows)
            self._step()

    def _retain(self, rows: list[int]) -> None:
        """Drop the prompts that are not in `rows`."""
        self.prompts = [self.prompts[row] for row in rows]
        index = torch.tensor(rows, device=self.visible.device)
        self.cache.batch_select_indices(index)
        self.visible, self.lengths = self.visible[index], self.lengths[index]

    @torch.inference_mode()
    def _step(self) -> None:
        """One pass of the model: the last token of each group of streams and its draft."""
        for prompt in self.prompts:
            for stream in prompt.streams:
                stream.propose(prompt.rest if not stream.finished else {})
        step = _Step.of(self.prompts, self.visible.device, merge=self.merge_streams)
        hidden = self.decoder.decode_step(
            self.cache, step.tokens, self.lengths[:, None] + step.offsets, step.visible(self.visible)
        )
        choices = self._choices(hidden[step.rows, step.columns], step)
        self.visible = torch.cat([self.visible, step.accept(choices, self.ends)], -1)

    def _choices(self, hidden: torch.Tensor, step: _Step) -> list[list[int]]:
        """The model's choice after each (m, width) hidden state, for each of the n samples (greedily for one)."""
        uniform = None
        if self.temperature:
            numbers = [
                self.prompts[row].uniform[:, index] for row, index in zip(step.rows, step.token_numbers)
            ]
            uniform = torch.from_numpy(np.stack(numbers)).to(hidden.device)
        tokens = []
        for start in range(0, len(hidden), LOGIT_ROWS):
            part = slice(start, start + LOGIT_ROWS)
            logits = self.decoder.head(hidden[part])[:, None]
            tokens.append(sample_token(logits, self.temperature, None if uniform is None else uniform[part]))
        return torch.cat(tokens).tolist()


@dataclass(frozen=True, kw_only=True)
class _Step:
    """The tokens of one decode step. Each row of the batch is laid out group by group, each group `width` tokens wide:
    the last token of its streams, their draft, and padding. m tokens in all are not padding."""

    prompts: Sequence[_Prompt]
    groups: Sequence[Sequence[Sequence[int]]]  # by row and group, the numbers of its streams
    width: int
    first_stream: torch.Tensor  # (rows, groups)
    tokens: torch.Tensor  # (rows, groups * width)
    offsets: torch.Tensor  # (rows, groups * width): positions after the prompt
    rows: np.ndarray  # (m,): where the tokens that are not padding lie,
    columns: np.ndarray
    token_numbers: np.ndarray  # and which token of the reply is chosen after each

    @classmethod
    def of(cls, prompts: Sequence[_Prompt], device: torch.device, *, merge: bool) -> _Step:
        groups = [prompt.groups(merge=merge) for prompt in prompts]
        width = 1 + max(len(stream.draft) for prompt in prompts for stream in prompt.streams)
        shape = (len(prompts), max(map(len, groups)), width)
        tokens, offsets, real = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.zeros(shape, bool)
        first_stream = np.zeros(shape[:2], np.int64)
        for row, prompt in enumerate(prompts):
            for group, (number, *_) in enumerate(groups[row]):
                stream = prompt.streams[number]
                inputs = (stream.tokens[-1], *stream.draft)
                first_stream[row, group] = number
                tokens[row, group, : len(inputs)] = inputs
                real[row, group, : len(inputs)] = True
                offsets[row, group] = len(stream.tokens) - 1 + np.arange(width)
        row, group, index = real.nonzero()
        return cls(
            prompts=prompts,
            groups=groups,
            width=width,
            first_stream=torch.from_numpy(first_stream).to(device),
            tokens=torch.from_numpy(tokens).flatten(1).to(device),
            offsets=torch.from_numpy(offsets).flatten(1).to(device),
            rows=row,
            columns=group * width + index,
            token_numbers=offsets[row, group, index] + 1,
        )

    def visible(self, before: torch.Tensor) -> torch.Tensor:
        """(rows, groups * width, all): a token attends to what its stream sees in the cache (`before`, by stream), and
        to its own group up to itself."""
        rows, count = self.first_stream.shape
        cached = before[torch.arange(rows, device=before.device)[:, None], self.first_stream]
        causal = torch.ones(self.width, self.width, dtype=torch.bool, device=before.device).tril()
        step = torch.block_diag(*[causal] * count).bool()
        return torch.cat([cached.repeat_interleave(self.width, 1), step.expand(rows, -1, -1)], -1)

    def accept(self, choices: Sequence[Sequence[int]], ends: Set[int]) -> torch.Tensor:
        """Extend the streams by the m choices; (rows, n, groups * width): which tokens of this step each will see."""
        (rows, count), n, queue = self.first_stream.shape, len(self.prompts[0].streams), iter(choices)
        visible = np.zeros((rows, n, count, self.width), bool)
        for row, prompt in enumerate(self.prompts):
            for group, numbers in enumerate(self.groups[row]):
                n_inputs = 1 + len(prompt.streams[numbers[0]].draft)
                after = [next(queue) for _ in range(n_inputs)]  # by fed token, the choices of all n samples
                for number in numbers:
                    n_accepted = prompt.streams[number].accept([samples[number] for samples in after], ends)
                    visible[row, number, group, :n_accepted] = True
        return torch.from_numpy(visible).flatten(2).to(self.tokens.device)
