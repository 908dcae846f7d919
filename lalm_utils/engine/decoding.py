"""A causal language model, step by step: prompts read once, tokens drawn, options weighed.

In: a language model with its cache of keys and values after a left-padded batch of prompts. Out: states, the token
drawn from logits, or the likelihood of every option. It knows nothing of audio, text or replies (`writing`).

Sampling inverts the cumulative distribution at a uniform number that depends on the seed, the prompt's
content, the sample's number and the step, and on nothing else: sample k of a prompt is the same in any batch
and order, up to numerical ties.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from lalm_utils.models import ModelError

NONE = -1  # stands where a stream has ended
BLOCK = 128  # tokens summed at once when one is drawn; most vocabularies are a multiple of it


@dataclass(kw_only=True)
class Prefix:
    """A batch of prompts, read. `cache` grows as streams are fed, so a prefix serves one purpose."""

    cache: Any
    mask: torch.Tensor  # (batch, length), 1 on tokens, 0 on the padding to their left
    logits: torch.Tensor  # (batch, vocabulary), float32, of the token that comes next


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """A causal language model without head (`body`), and its head, float32 out."""

    body: nn.Module
    head: Callable[[torch.Tensor], torch.Tensor]

    def read(self, embeds: torch.Tensor, mask: torch.Tensor, cache: Any = None) -> Any:
        """The body's output after (batch, length, width) embeddings that follow what `cache` holds.

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

    def cache(self, embeds: torch.Tensor, mask: torch.Tensor, cache: Any = None) -> Any:
        """What the body keeps of `cache` and the (batch, length, width) embeddings after it, for what follows."""
        return self.kept(self.read(embeds, mask, cache))

    def kept(self, out: Any) -> Any:
        """The cache that an output of `read` holds."""
        return getattr(out, cache_name(self.body))

    def prefill(self, embeds: torch.Tensor, mask: torch.Tensor, cache: Any = None) -> Prefix:
        """Read a batch of prompts, or what follows `cache` of them; the head sees the last position only."""
        out = self.read(embeds, mask, cache)
        logits = self.head(out.last_hidden_state[:, -1])
        if not torch.isfinite(logits).all():
            raise ModelError(
                "the model's logits are not finite: the weights are damaged, or dtype is too narrow"
            )
        return Prefix(cache=self.kept(out), mask=mask, logits=logits)

    def extend(
        self, cache: Any, tokens: torch.Tensor, positions: torch.Tensor, seen: torch.Tensor
    ) -> torch.Tensor:
        """The states after feeding (batch, width) tokens that see where `seen` (batch, width, all) holds; `cache`
        grows by them."""
        embeds = self.body.get_input_embeddings()(tokens)
        hidden_from = torch.finfo(embeds.dtype).min
        bias = torch.zeros(seen.shape, dtype=embeds.dtype, device=embeds.device)
        out = self.body(
            inputs_embeds=embeds,
            attention_mask=bias.masked_fill_(~seen, hidden_from)[:, None],
            position_ids=positions,
            use_cache=True,
            **{cache_name(self.body): cache},
        )
        return out.last_hidden_state


def cache_name(body: nn.Module) -> str:
    """What this body calls its cache, as an argument and in its output.

    transformers 5.24 renamed it for some models, and warns at every call by the old name.
    """
    return "cache" if "cache" in _arguments(type(body)) else "past_key_values"


@functools.cache
def _arguments(kind: type[nn.Module]) -> frozenset[str]:
    return frozenset(inspect.signature(kind.forward).parameters)


def unrounded(head: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
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
    few = weight.detach()[:16, :16]
    try:
        return torch.mm(few, few.T, out_dtype=torch.float32).dtype == torch.float32
    except (RuntimeError, NotImplementedError, TypeError):
        return False


def uniforms(seed: int, content: str, samples: Sequence[int], count: int) -> np.ndarray:
    """(samples, count) float64 in [0, 1): a row depends on the seed, the content and its own number."""
    rows = []
    for sample in samples:
        digest = hashlib.sha256(f"{seed} {sample} {content}".encode()).digest()
        raw = np.random.PCG64(int.from_bytes(digest[:16], "little")).random_raw(count)
        rows.append((raw >> np.uint64(11)) * 2.0**-53)
    return np.stack(rows)


def choose(logits: torch.Tensor, temperature: float, uniform: torch.Tensor | None) -> torch.Tensor:
    """The next token under (..., vocabulary) logits: drawn at `uniform`, or the top one at temperature 0.

    The cumulative distribution is looked up in two steps, first among blocks of the vocabulary and then in one block:
    over all of it in float64 it took six tenths of a step that draws five samples. A block's sum is float32, so beside
    a token that is nearly sure those of its block lose up to 1e-7 in all. `logits` may have 1 where `uniform` has more.
    """
    if temperature == 0:
        return logits.argmax(-1)
    share = torch.softmax(logits if temperature == 1 else logits / temperature, -1)
    if beyond := -share.shape[-1] % BLOCK:
        share = nn.functional.pad(share, (0, beyond))
    share = share.unflatten(-1, (-1, BLOCK))
    blocks = share.sum(-1).double().cumsum(-1).expand(*uniform.shape, -1).contiguous()
    target = uniform[..., None] * blocks[..., -1:]
    block = _place(blocks, target)
    before = torch.where(block > 0, blocks.gather(-1, (block - 1).clamp(min=0)), 0)
    inside = share.expand(*uniform.shape, -1, -1).gather(-2, block[..., None].expand(*block.shape, BLOCK))
    inside = inside[..., 0, :].double().cumsum(-1)
    return (block * BLOCK + _place(inside, target - before))[..., 0]


def _place(cumulative: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """(..., 1): the first place of (..., size) whose cumulative share exceeds `target`; never one without a share."""
    last = (cumulative < cumulative[..., -1:]).sum(-1, keepdim=True)  # where the whole is reached
    return torch.searchsorted(cumulative, target.contiguous(), right=True).clamp(max=last)


@torch.inference_mode()
def score(decoder: Decoder, prefix: Prefix, options: Sequence[Sequence[Sequence[int]]]) -> list[np.ndarray]:
    """Per prompt a (n_options,) float64 array: the summed log-likelihood in nats of each option's tokens.

    An option's last token, the end of the turn, is scored and not fed. All options of all prompts are fed in
    one pass after the shared prefix.
    """
    fed = _side_by_side(options, prefix.mask.device)
    hidden = None
    if fed.tokens.shape[1]:
        prompt = prefix.mask.bool()[:, None].expand(-1, fed.tokens.shape[1], -1)
        same = fed.owner[:, :, None] == fed.owner[:, None, :]
        seen = torch.cat([prompt, same & (fed.depth[:, None, :] <= fed.depth[:, :, None])], -1)
        hidden = decoder.extend(prefix.cache, fed.tokens, prefix.mask.sum(-1)[:, None] + fed.depth, seen)
    scores = []
    for row, texts in enumerate(options):
        total = log_likelihood(prefix.logits[row].expand(len(texts), -1), [text[0] for text in texts])
        count = sum(len(text) - 1 for text in texts)
        if count:  # row by row, since logits of all options over a large vocabulary fill gigabytes
            after = log_likelihood(decoder.head(hidden[row, :count]), [t for text in texts for t in text[1:]])
            total = total.index_add(0, fed.owner[row, :count], after)
        scores.append(total.cpu().numpy())
    return scores


def log_likelihood(logits: torch.Tensor, tokens: Sequence[int]) -> torch.Tensor:
    """(m,) float64: the log-probability of token i under row i of (m, vocabulary) logits."""
    index = torch.tensor(tokens, device=logits.device)[:, None]
    return (logits.gather(1, index)[:, 0] - logits.logsumexp(-1)).double()


@dataclass(frozen=True, kw_only=True)
class _Fed:
    """Options laid out in one row per prompt, each (batch, longest row); padding belongs to owner `NONE`."""

    tokens: torch.Tensor
    owner: torch.Tensor  # the option a token belongs to
    depth: torch.Tensor  # its place in that option


def _side_by_side(options: Sequence[Sequence[Sequence[int]]], device: torch.device) -> _Fed:
    rows = [
        [(token, owner, depth) for owner, text in enumerate(texts) for depth, token in enumerate(text[:-1])]
        for texts in options
    ]
    longest = max((len(row) for row in rows), default=0)
    table = np.zeros((len(rows), longest, 3), np.int64)
    table[:, :, 1] = NONE
    for line, row in zip(table, rows):
        if row:
            line[: len(row)] = row
    tokens, owner, depth = torch.from_numpy(table).to(device).unbind(-1)
    return _Fed(tokens=tokens, owner=owner, depth=depth)
