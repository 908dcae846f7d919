"""Two ways to run a model of transformers on a batch: sharing all that can be shared, and plainly.

In: prompts made ready (`Asked`) and how to decode. Out: token ids, or log-likelihoods. `SharedEngine` needs
Qwen2-Audio's layout; `PlainEngine` takes any class whose processor and `generate` follow the usual contract.
In float32 they give the same replies; in bfloat16 only the sharing one has unrounded logits. Neither knows
of files, failures or replies.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, ProcessorMixin

from lalm_utils.engine import decoding
from lalm_utils.engine.asked import Asked, Decoding, Written
from lalm_utils.engine.audio_features import AudioEmbeddings, spread
from lalm_utils.engine.families import USUAL, Family
from lalm_utils.engine.openings import Openings, Row
from lalm_utils.engine.plain_engine import PlainEngine
from lalm_utils.engine.writing import Writer

__all__ = ["Asked", "Decoding", "PlainEngine", "SharedEngine", "Written", "engine_for"]


class SharedEngine:
    """Qwen2-Audio with each clip heard once, what prompts on a clip share read once, the head where it is needed.

    Budgets are in bytes: of clips' embeddings in memory and in `audio_folder`, and of the keys and values of prompts'
    openings.
    """

    TOGETHER = 4  # batches given to `generate` at once, since replies to one go on beside those to the next

    def __init__(
        self,
        model: PreTrainedModel,
        processor: ProcessorMixin,
        *,
        ends: Iterable[int],
        audio_budget: int,
        opening_budget: int,
        audio_folder: str | Path | None = None,
        disk_budget: int = 0,
    ) -> None:
        core = model.model
        self.model, self.processor = model, processor
        self.audio = AudioEmbeddings(
            core, processor.feature_extractor, audio_budget, folder=audio_folder, disk_budget=disk_budget
        )
        self.decoder = decoding.Decoder(body=core.language_model, head=decoding.unrounded(model.lm_head))
        self.openings = Openings(self.decoder.cache, opening_budget)
        self.ends = frozenset(ends)

    def afresh(self, model: PreTrainedModel) -> SharedEngine:
        """An engine for `model` with the same budgets and nothing kept, in memory or in a folder."""
        budgets = {"audio_budget": self.audio.budget, "opening_budget": self.openings.budget}
        return SharedEngine(model, self.processor, ends=self.ends, **budgets)

    def with_language_model(self, model: PreTrainedModel) -> SharedEngine:
        """An engine for `model`, whose language model alone is another: clips already heard are not heard again."""
        other = copy.copy(self)
        other.model = model
        other.decoder = replace(self.decoder, body=model.model.language_model)
        other.openings = Openings(other.decoder.cache, self.openings.budget)
        return other

    @torch.inference_mode()
    def prefill(self, batch: Sequence[Asked]) -> decoding.Prefix:
        """The batch, left-padded, read once; of openings that were read before only what follows them.

        A batch with little to share is read whole, which takes three quarters of the time of two passes.
        """
        heard = self.audio.of([clip for asked in batch for clip in asked.clips])
        rows = [self._row(asked, [heard[clip.sha256] for clip in asked.clips]) for asked in batch]
        past = self.openings.past(rows)
        start = past or self.openings.begun(rows)
        prefix = self.decoder.prefill(*start.rest(rows), start.cache)
        if past is None:
            self.openings.keep(rows, prefix.cache, stem=start.held[0])
        return prefix

    def _row(self, asked: Asked, heard: Sequence[torch.Tensor]) -> Row:
        """The prompt with its clips in place. Its opening ends with the last clip."""
        token = self.model.config.audio_token_id
        spread_out = spread(asked.ids, token, [len(one) for one in heard])
        ids = torch.tensor(spread_out, device=self.model.device)
        embeds = self.decoder.body.get_input_embeddings()(ids)
        if not heard:
            return Row(embeds=embeds, opening=0, key=None)
        embeds[ids == token] = torch.cat(list(heard)).to(embeds.dtype)
        behind = list(reversed(asked.ids)).index(token)  # text tokens after the last clip
        key = (asked.ids[: len(asked.ids) - behind], *(clip.sha256 for clip in asked.clips))
        stem = asked.ids[: asked.ids.index(token)]
        return Row(embeds=embeds, opening=len(spread_out) - behind, key=key, stem=stem)

    def generate(
        self, batch: Sequence[Asked], how: Decoding, *, at_once: int | None = None
    ) -> list[list[Written]]:
        """One list of len(how.samples) replies per prompt, of which `at_once` are read at once (None: all)."""
        at_once = at_once or len(batch)
        writer = Writer(
            self.decoder,
            n=len(how.samples),
            temperature=how.temperature,
            max_new_tokens=how.max_new_tokens,
            ends=self.ends,
        )
        rows = []
        for start in range(0, len(batch), at_once):
            some = batch[start : start + at_once]
            drafts = [[option[:-1] for option in asked.options] for asked in some]
            uniform = how.uniform(some, self.model.device)
            rows += writer.add(self.prefill(some), uniform=uniform, drafts=drafts)
            writer.run(until=at_once // 2)
        writer.run()
        return [row.written for row in rows]

    def option_logprobs(self, batch: Sequence[Asked]) -> list[np.ndarray]:
        """One (n_options,) array per prompt, all options after one shared prefix."""
        return decoding.score(self.decoder, self.prefill(batch), [asked.options for asked in batch])

    def first_logits(self, batch: Sequence[Asked]) -> torch.Tensor:
        """(batch, vocabulary): float32 logits of the reply's first token."""
        return self.prefill(batch).logits


def engine_for(
    model: PreTrainedModel, processor: ProcessorMixin, *, family: Family = USUAL, **settings: Any
) -> SharedEngine | PlainEngine:
    """The sharing engine for Qwen2-Audio, the plain one for any other class.

    And for attention that takes no mask of our own (flash attention), or that forgets (sliding windows), and for
    a model spread over several devices.
    """
    devices = set((getattr(model, "hf_device_map", None) or {}).values())
    if model.config.model_type == "qwen2_audio" and len(devices) <= 1:
        attention = set(getattr(model.config.text_config, "layer_types", None) or ["full_attention"])
        if model.config._attn_implementation in ("sdpa", "eager") and attention == {"full_attention"}:
            return SharedEngine(model, processor, **settings)
    return PlainEngine(model, processor, family=family, ends=settings["ends"])
