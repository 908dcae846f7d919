"""A causal language model step by step: prefill, decode steps, and the log-likelihood of options.

In: a language model and its KV cache after a left-padded batch of prompts. Out: hidden states, logits in float32, or
one log-likelihood per option.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from lalm_utils.models import ModelError

PADDING = -1  # the option to which padding belongs


@dataclass(kw_only=True)
class Prefill:
    """A batch of prompts after the prefill. `cache` grows with each decode step, so a prefill is used once."""

    cache: Any
    mask: torch.Tensor  # (batch, length): 1 on tokens, 0 on padding
    logits: torch.Tensor  # (batch, vocabulary), float32, of the next token


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """A causal language model without its head (`body`), and the head, with float32 output."""

    body: nn.Module
    head: Callable[[torch.Tensor], torch.Tensor]

    def forward(self, embeds: torch.Tensor, mask: torch.Tensor, cache: Any = None) -> Any:
        """The body's output for (batch, length, width) embeddings that follow the tokens in `cache`.

        `mask` (batch, all) covers the cache as well; padding may lie anywhere in it.
        """
        positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, -embeds.shape[1] :]
        return self.body(
            inputs_embeds=embeds,
            attention_mask=mask,
            position_ids=positions,
            use_cache=True,
            **{cache_name(self.body): cache},
        )

    def kv_cache(self, embeds: torch.Tensor, mask: torch.Tensor, cache: Any = None) -> Any:
        """The KV cache after `cache` and the (batch, length, width) embeddings that follow it."""
        return getattr(self.forward(embeds, mask, cache), cache_name(self.body))

    def prefill(self, embeds: torch.Tensor, mask: torch.Tensor, cache: Any = None) -> Prefill:
        """Read a batch of prompts, or their suffixes after `cache`; the head is applied to the last position only."""
        out = self.forward(embeds, mask, cache)
        logits = self.head(out.last_hidden_state[:, -1])
        if not torch.isfinite(logits).all():
            raise ModelError(
                "the model's logits are not finite: the weights are damaged, or dtype is too narrow"
            )
        return Prefill(cache=getattr(out, cache_name(self.body)), mask=mask, logits=logits)

    def decode_step(
        self, cache: Any, tokens: torch.Tensor, positions: torch.Tensor, visible: torch.Tensor
    ) -> torch.Tensor:
        """The hidden states of (batch, width) tokens, each of which attends where `visible` (batch, width, all) is
        True; `cache` grows by them."""
        embeds = self.body.get_input_embeddings()(tokens)
        bias = torch.zeros(visible.shape, dtype=embeds.dtype, device=embeds.device)
        out = self.body(
            inputs_embeds=embeds,
            attention_mask=bias.masked_fill_(~visible, torch.finfo(embeds.dtype).min)[:, None],
            position_ids=positions,
            use_cache=True,
            **{cache_name(self.body): cache},
        )
        return out.last_hidden_state


def cache_name(body: nn.Module) -> str:
    """The body's name for its cache, as an argument and in its output.

    transformers 5.24 renamed it for some models, and warns at every call by the old name.
    """
    return "cache" if "cache" in _parameters(type(body)) else "past_key_values"


@functools.cache
def _parameters(body_class: type[nn.Module]) -> frozenset[str]:
    return frozenset(inspect.signature(body_class.forward).parameters)


def float32_head(head: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    """`head` with float32 results, from (..., width) to (..., vocabulary), whatever the dtype of its weights.

    bfloat16 rounds a logit of 33 to a multiple of 0.25. On the embedded model's base the two likeliest tokens
    then tied in 15 of 36 prompts, so that the order of the vocabulary chose the reply. The price is a float32
    copy of the weights, except where the device multiplies bfloat16 into float32. What the states before the
    head have lost to rounding is not brought back.
    """
    weight = getattr(head, "weight", None)
    if type(head) is not nn.Linear or head.bias is not None or weight.dtype == torch.float32:
        return lambda hidden: head(hidden).float()
    if _multiplies_into_float32(weight):
        narrow = weight.detach().T
        return lambda hidden: torch.mm(hidden.flatten(0, -2), narrow, out_dtype=torch.float32).unflatten(
            0, hidden.shape[:-1]
        )
    wide = weight.detach().float()
    return lambda hidden: nn.functional.linear(hidden.float(), wide)


def _multiplies_into_float32(weight: torch.Tensor) -> bool:
    corner = weight.detach()[:16, :16]
    try:
        return torch.mm(corner, corner.T, out_dtype=torch.float32).dtype == torch.float32
    except (RuntimeError, NotImplementedError, TypeError):
        return False


@torch.inference_mode()
def option_log_likelihoods(
    decoder: Decoder, prefill: Prefill, options: Sequence[Sequence[Sequence[int]]]
) -> list[np.ndarray]:
    """Per prompt a (n_options,) float64 array: the summed log-likelihood in nats of each option's tokens.

    An option's last token, the end of the turn, is scored and not fed. All options of all prompts are fed in one pass
    after the shared prefill, under a mask that keeps the options of a prompt apart.
    """
    inputs = _packed(options, prefill.mask.device)
    hidden = None
    if inputs.tokens.shape[1]:
        prompt = prefill.mask.bool()[:, None].expand(-1, inputs.tokens.shape[1], -1)
        same_option = inputs.option[:, :, None] == inputs.option[:, None, :]
        visible = torch.cat(
            [prompt, same_option & (inputs.offset[:, None, :] <= inputs.offset[:, :, None])], -1
        )
        positions = prefill.mask.sum(-1)[:, None] + inputs.offset
        hidden = decoder.decode_step(prefill.cache, inputs.tokens, positions, visible)
    scores = []
    for row, texts in enumerate(options):
        total = log_likelihood(prefill.logits[row].expand(len(texts), -1), [text[0] for text in texts])
        count = sum(len(text) - 1 for text in texts)
        if count:  # row by row, since logits of all options over a large vocabulary fill gigabytes
            after = log_likelihood(decoder.head(hidden[row, :count]), [t for text in texts for t in text[1:]])
            total = total.index_add(0, inputs.option[row, :count], after)
        scores.append(total.cpu().numpy())
    return scores


def log_likelihood(logits: torch.Tensor, tokens: Sequence[int]) -> torch.Tensor:
    """(m,) float64: the log-probability of token i under row i of (m, vocabulary) logits."""
    index = torch.tensor(tokens, device=logits.device)[:, None]
    return (logits.gather(1, index)[:, 0] - logits.logsumexp(-1)).double()


@dataclass(frozen=True, kw_only=True)
class _PackedOptions:
    """The options of each prompt one after another in a row; each tensor (batch, longest row)."""

    tokens: torch.Tensor
    option: torch.Tensor  # index of the option that a token belongs to
    offset: torch.Tensor  # index of the token in that option


def _packed(options: Sequence[Sequence[Sequence[int]]], device: torch.device) -> _PackedOptions:
    rows = [
        [
            (token, option, offset)
            for option, text in enumerate(texts)
            for offset, token in enumerate(text[:-1])
        ]
        for texts in options
    ]
    table = np.zeros((len(rows), max(map(len, rows), default=0), 3), np.int64)
    table[:, :, 1] = PADDING
    for line, row in zip(table, rows):
        if row:
            line[: len(row)] = row
    tokens, option, offset = torch.from_numpy(table).to(device).unbind(-1)
    return _PackedOptions(tokens=tokens, option=option, offset=offset)
