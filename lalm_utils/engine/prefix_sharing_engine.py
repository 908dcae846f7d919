"""The engine for Qwen2-Audio: clips encoded once, shared prefixes computed once, samples decoded side by side.

In: a batch of `ModelInput`s and how to decode. Out: token ids, or log-likelihoods. In float32 it gives the replies of
`GenericEngine`; in bfloat16 it alone has logits that are not rounded.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from transformers import PreTrainedModel, ProcessorMixin

from lalm_utils.engine.audio_features import AudioEmbeddings, expand_audio_tokens
from lalm_utils.engine.decoding import Decoder, Prefill, float32_head, option_log_likelihoods
from lalm_utils.engine.families import DEFAULT_FAMILY, Family
from lalm_utils.engine.generation import Generator
from lalm_utils.engine.generic_engine import GenericEngine
from lalm_utils.engine.model_input import GeneratedSequence, ModelInput
from lalm_utils.engine.prefix_cache import PrefixCache, PromptEmbeddings
from lalm_utils.engine.sampling import batch_uniforms
from lalm_utils.models import Decoding, ModelError


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """How a model is run. None of them changes a reply in float32; the last three are switches to measure by.

    batch_size counts prompts, and is halved when memory runs out. attn: transformers' name of the attention ("sdpa",
    and "eager" for a part that lacks it; "eager"; "flash_attention_2"). audio_cache_mb bounds the embeddings of clips
    in memory, prefix_cache_mb the keys and values of what prompts begin with (0: none are cached).
    """

    batch_size: int = 16
    attn: str = "sdpa"
    audio_cache_mb: int = 512
    prefix_cache_mb: int = 256
    whole_window: bool = False  # run the audio tower over its whole window, however short the clip
    # The next two (see `generation`) save steps. In processor time of one thread in float32 without AMX, what a task
    # takes more (or less) without the part: one reply, five samples, four methods; 12 questions, three repeats.
    drafts: bool = True  # options as drafts of the reply: -1 %, -6 %, +14 %
    merge_streams: bool = True  # samples with equal tokens so far are decoded as one: -5 %, +17 %, +15 %

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ModelError(f"batch_size={self.batch_size}: a batch holds at least one prompt.")


class PrefixSharingEngine:
    """Qwen2-Audio behind an audio cache, a prefix cache and a generator that shares prompts between samples."""

    def __init__(
        self,
        model: PreTrainedModel,
        processor: ProcessorMixin,
        *,
        ends: Iterable[int],
        options: EngineOptions = EngineOptions(),
    ) -> None:
        core = model.model
        self.model, self.processor, self.options = model, processor, options
        extractor, budget = processor.feature_extractor, options.audio_cache_mb * 2**20
        self.audio = AudioEmbeddings(core, extractor, budget, whole_window=options.whole_window)
        self.single_audio = AudioEmbeddings(core, extractor, budget, clip_batch=1)  # for training
        self.decoder = Decoder(body=core.language_model, head=float32_head(model.lm_head))
        self.prefixes = PrefixCache(self.decoder.kv_cache, options.prefix_cache_mb * 2**20)
        self.ends = frozenset(ends)

    def with_empty_caches(
        self, model: PreTrainedModel, options: EngineOptions | None = None
    ) -> PrefixSharingEngine:
        """An engine for `model` with the same (or other) options and nothing cached."""
        return PrefixSharingEngine(model, self.processor, ends=self.ends, options=options or self.options)

    def with_language_model(self, model: PreTrainedModel) -> PrefixSharingEngine:
        """An engine for `model`, of which the language model alone differs: it keeps the cached audio embeddings."""
        other = copy.copy(self)
        other.model = model
        other.decoder = replace(self.decoder, body=model.model.language_model)
        other.prefixes = PrefixCache(other.decoder.kv_cache, self.prefixes.budget)
        return other

    @torch.inference_mode()
    def prefill(self, batch: Sequence[ModelInput]) -> Prefill:
        """Prefill a left-padded batch, reusing cached prefixes."""
        embeddings = self.audio.of([clip for prompt in batch for clip in prompt.clips])
        prompts = [self._embedded(p, [embeddings[clip.sha256] for clip in p.clips]) for p in batch]
        cached = self.prefixes.lookup(prompts)
        start = cached or self.prefixes.system_prefix(prompts)
        prefill = self.decoder.prefill(*start.suffixes(prompts), start.cache)
        if cached is None:
            self.prefixes.insert(prompts, prefill.cache, n_system=start.lengths[0])
        return prefill

    def _embedded(self, prompt: ModelInput, audio: Sequence[torch.Tensor]) -> PromptEmbeddings:
        """The prompt's embeddings with its clips in place.

        Its prefix ends with the last clip, or before the assistant's turn that is to go on: interventions on a chain
        of thought differ from there on.
        """
        audio_token = self.model.config.audio_token_id
        expanded = expand_audio_tokens(prompt.ids, audio_token, [len(clip) for clip in audio])
        ids = torch.tensor(expanded, device=self.model.device)
        embeds = self.decoder.body.get_input_embeddings()(ids)
        if not audio:
            return PromptEmbeddings(embeds=embeds, prefix_length=0, key=None)
        embeds[ids == audio_token] = torch.cat(list(audio)).to(embeds.dtype)
        n_after = list(reversed(prompt.ids)).index(audio_token)  # text tokens after the last clip
        n_after = min(n_after, len(prompt.ids) - prompt.n_before)
        key = (prompt.ids[: len(prompt.ids) - n_after], *(clip.sha256 for clip in prompt.clips))
        system_ids = prompt.ids[: prompt.ids.index(audio_token)]
        return PromptEmbeddings(
            embeds=embeds, prefix_length=len(expanded) - n_after, key=key, system_ids=system_ids
        )

    def generate(self, batch: Sequence[ModelInput], decoding: Decoding) -> list[list[GeneratedSequence]]:
        """One list of len(decoding.samples) replies per prompt, all after one shared prefill."""
        generator = Generator(
            self.decoder, decoding, ends=self.ends, merge_streams=self.options.merge_streams
        )
        drafts = [[option[:-1] for option in prompt.options] for prompt in batch]
        prompts = generator.add(
            self.prefill(batch),
            uniform=batch_uniforms(decoding, batch, self.model.device),
            drafts=drafts if self.options.drafts else (),
        )
        generator.run()
        return [prompt.sequences for prompt in prompts]

    def option_logprobs(self, batch: Sequence[ModelInput]) -> list[np.ndarray]:
        """One (n_options,) array per prompt, all options after one shared prefill."""
        return option_log_likelihoods(self.decoder, self.prefill(batch), [prompt.options for prompt in batch])

    def first_logits(self, batch: Sequence[ModelInput]) -> torch.Tensor:
        """(batch, vocabulary): float32 logits of the reply's first token."""
        return self.prefill(batch).logits


def engine_for(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    *,
    ends: Sequence[int],
    options: EngineOptions,
    family: Family = DEFAULT_FAMILY,
) -> PrefixSharingEngine | GenericEngine:
    """The prefix-sharing engine for Qwen2-Audio, the generic one for any other class.

    And for attention that takes no mask of our own (flash attention), or only a sliding window of past tokens.
    """
    if model.config.model_type == "qwen2_audio":
        layers = set(getattr(model.config.text_config, "layer_types", None) or ["full_attention"])
        if model.config._attn_implementation in ("sdpa", "eager") and layers == {"full_attention"}:
            return PrefixSharingEngine(model, processor, ends=ends, options=options)
    return GenericEngine(model, processor, ends=ends, family=family)
