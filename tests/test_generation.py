"""Replies are the model's own, with drafts as without, and drafts spare steps."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import DynamicCache

from lalm_utils.engine import generation
from lalm_utils.engine.decoding import Decoder, Prefill
from lalm_utils.engine.generation import Generator, continuations
from lalm_utils.models import Decoding

WORDS, END = 12, 0


class Body(torch.nn.Module):
    """Stands for a language model: the state after a token says what its stream was, token by token.

    A state holds, for every place, the token that the stream has there; it is made from what the mask lets it see, so
    that a wrong mask, position or cache makes another state.
    """

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(WORDS, 1)
        self.table.weight.data = torch.arange(float(WORDS))[:, None]
        self.calls: list[int] = []

    def get_input_embeddings(self) -> torch.nn.Embedding:
        return self.table

    def forward(self, *, inputs_embeds, attention_mask, position_ids, use_cache, past_key_values):
        self.calls.append(inputs_embeds.shape[1])
        values = torch.stack([inputs_embeds[..., 0], position_ids.float()], -1)[:, None]
        keys, _ = past_key_values.update(values, values, 0)
        seen = attention_mask[:, 0] == 0
        states = torch.zeros(*seen.shape[:2], 32)
        for row, column in np.ndindex(*seen.shape[:2]):
            for token, position in keys[row, 0][seen[row, column]].tolist():
                states[row, column, int(position)] += token
        return SimpleNamespace(last_hidden_state=states, past_key_values=past_key_values)


def head(states: torch.Tensor) -> torch.Tensor:
    """Logits that depend on everything a stream has, in its order."""
    seed = (states * torch.arange(1.0, states.shape[-1] + 1).pow(2)).sum(-1)
    return torch.sin(seed[..., None] * (1 + torch.arange(float(WORDS))) + torch.arange(float(WORDS))) * 4


def prefill(prompts: list[list[int]]) -> Prefill:
    """What a pass over left-padded prompts leaves."""
    longest = max(map(len, prompts))
    cache, mask = DynamicCache(), torch.zeros(len(prompts), longest, dtype=torch.long)
    values, states = torch.zeros(len(prompts), 1, longest, 2), torch.zeros(len(prompts), 32)
    for row, prompt in enumerate(prompts):
        mask[row, -len(prompt) :] = 1
        for place, token in enumerate(prompt):
            values[row, 0, longest - len(prompt) + place] = torch.tensor([float(token), float(place)])
            states[row, place] = token
    cache.update(values, values, 0)
    return Prefill(cache=cache, mask=mask, logits=head(states))


LONG = [5, 5, 5]
PROMPTS = [[3, 4], [5, 6, 7, 1], [2], [9, 9, 3]]
UNIFORM = torch.from_numpy(np.random.default_rng(3).random((len(PROMPTS), 3, 8)))


def generate(prompts=PROMPTS, *, n=1, most=8, drafts=(), uniform=None, batch=99):
    """Replies to batches of the prompts, and how wide each step was."""
    body, rows = Body(), []
    decoding = Decoding(n=n, temperature=0.0 if uniform is None else 1.0, max_new_tokens=most)
    generator = Generator(Decoder(body=body, head=head), decoding, ends={END})
    for start in range(0, len(prompts), batch):
        some = slice(start, start + batch)
        numbers = None if uniform is None else uniform[some]
        rows += generator.add(prefill(prompts[some]), uniform=numbers, drafts=drafts[some])
        generator.run()
    return [[(tuple(s.tokens), s.complete) for s in row.sequences] for row in rows], body.calls


def by_hand(prompt: list[int], most: int, draw=None) -> tuple[tuple[int, ...], bool]:
    """The reply, one pass over all of the text per token."""
    tokens: list[int] = []
    for step in range(most):
        states = torch.zeros(1, 32)
        states[0, : len(prompt) + len(tokens)] = torch.tensor([float(t) for t in (*prompt, *tokens)])
        logits = head(states)[0]
        if draw is None:
            token = int(logits.argmax())
        else:
            token = int(torch.searchsorted(logits.double().softmax(-1).cumsum(-1), draw[step], right=True))
        if token == END:
            return tuple(tokens), True
        tokens.append(token)
    return tuple(tokens), False


@pytest.mark.parametrize("batch", [1, 2, 3, 4])
@pytest.mark.parametrize("most", [1, 2, 3, 8])
def test_replies_are_those_of_one_pass_per_token(most, batch):
    assert generate(most=most, batch=batch)[0] == [[by_hand(prompt, most)] for prompt in PROMPTS]
    sampled, _ = generate(n=3, most=most, uniform=UNIFORM, batch=batch)
    assert sampled == [
        [by_hand(prompt, most, UNIFORM[row, number]) for number in range(3)]
        for row, prompt in enumerate(PROMPTS)
    ]


def some_drafts(replies: list[list[tuple[tuple[int, ...], bool]]], kind: str) -> list[list[tuple[int, ...]]]:
    tokens = [[reply for reply, _ in row if reply] for row in replies]
    return {
        "the replies": tokens,
        "the replies, each turned wrong midway": [
            [(*reply[: len(reply) // 2 + 1], 11, 11) for reply in row] for row in tokens
        ],
        "what goes on behind the reply": [[(*reply, 5, 5) for reply in row] for row in tokens],
        "several that begin alike": [
            [other for reply in row for other in ((*reply[:1], 10, 10), reply)] for row in tokens
        ],
        "others": [[(11, 10, 9)] for _ in tokens],
        "none for some prompts": [row if place % 2 else [] for place, row in enumerate(tokens)],
    }[kind]


KINDS = [
    "the replies",
    "the replies, each turned wrong midway",
    "what goes on behind the reply",
    "several that begin alike",
    "others",
    "none for some prompts",
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n, uniform", [(1, None), (3, UNIFORM)], ids=["greedy", "sampled"])
@pytest.mark.parametrize("most", [2, 8])
@pytest.mark.parametrize("batch", [2, 4])
def test_drafts_change_no_reply(kind, n, uniform, most, batch):
    options = {"n": n, "uniform": uniform, "most": most, "batch": batch}
    plain, steps = generate(**options)
    drafted, fewer = generate(**options, drafts=some_drafts(plain, kind))
    assert drafted == plain
    assert len(fewer) <= len(steps)


def test_a_reply_that_is_a_draft_takes_one_step_for_every_few_tokens(monkeypatch):
    plain, steps = generate([LONG], most=24)
    ((reply, _),) = plain[0]
    assert len(steps) == 23
    for most, expected in ((1, 12), (6, 4), (22, 1)):
        monkeypatch.setattr(generation, "MAX_DRAFT", most)
        again, fewer = generate([LONG], most=24, drafts=[[reply]])
        assert again == plain
        assert len(fewer) == expected


def test_streams_are_read_as_one_until_they_part():
    same = UNIFORM[:, :1].expand(-1, 3, -1)
    replies, widths = generate(n=3, uniform=same)
    assert all(row == row[:1] * 3 for row in replies)
    assert set(widths) == {1}
    _, widths = generate(n=3, uniform=UNIFORM)
    assert max(widths) > 1


def test_logits_made_in_parts_are_the_same(monkeypatch):
    plain, _ = generate(n=3, uniform=UNIFORM)
    monkeypatch.setattr(generation, "LOGIT_ROWS", 2)
    assert generate(n=3, uniform=UNIFORM, drafts=some_drafts(plain, "the replies"))[0] == plain


def test_drafts_go_on_from_each_of_their_beginnings():
    assert continuations([(1, 2, 3), (1, 4), (5,), ()]) == {(1,): (2, 3), (1, 2): (3,)}
