"""The engine for any other model: its own processor, forward and `generate`, nothing shared between prompts.

In: a batch of `ModelInput`s and how to decode. Out: token ids, or log-likelihoods. What is peculiar to a family comes
from `families`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from inspect import signature
from typing import TypeVar

import numpy as np
import torch
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    ProcessorMixin,
)

from lalm_utils.engine.decoding import log_likelihood
from lalm_utils.engine.families import DEFAULT_FAMILY, Family
from lalm_utils.engine.model_input import GeneratedSequence, ModelInput
from lalm_utils.engine.sampling import batch_uniforms, sample_token
from lalm_utils.models import Decoding, ModelError

R = TypeVar("R")


class GenericEngine:
    """Any model by its own processor, forward and `generate`; a prompt is prefilled for each sample and option.

    Prompts that would change each other in a batch of their family do not share one. A LoRA that ships with the model
    is switched on exactly where a prompt has clips, as its makers mean it.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        processor: ProcessorMixin,
        *,
        ends: Sequence[int],
        family: Family = DEFAULT_FAMILY,
    ) -> None:
        self.model, self.processor, self.ends, self.family = model, processor, set(ends), family
        mark = getattr(processor, "audio_token", None)
        self.audio_token = processor.tokenizer.convert_tokens_to_ids(mark) if mark else None
        self.ships_lora = getattr(model, "_hf_peft_config_loaded", False)

    def tensors(self, batch: Sequence[ModelInput], texts: Sequence[str]) -> dict[str, torch.Tensor]:
        """What the processor makes of texts and clips, left-padded; ModelError for a clip without tokens."""
        tensors = self.family.tensors(self.processor, texts, [prompt.clips for prompt in batch])
        if self.audio_token is not None:
            counts = (tensors["input_ids"] == self.audio_token).sum(-1).tolist()
            if any(prompt.clips and not count for prompt, count in zip(batch, counts)):
                raise ModelError("a clip without audio tokens would be answered from the text alone")
        return {name: self._to_device(value) for name, value in tensors.items() if torch.is_tensor(value)}

    @torch.inference_mode()
    def generate(self, batch: Sequence[ModelInput], decoding: Decoding) -> list[list[GeneratedSequence]]:
        """One list of len(decoding.samples) replies per prompt; each sample is a row of the batch."""
        return self._by_batch_key(batch, lambda group: self._generate(group, decoding))

    @torch.inference_mode()
    def option_logprobs(self, batch: Sequence[ModelInput]) -> list[np.ndarray]:
        """One (n_options,) array per prompt, each from one batch of whole prompts with their options."""
        return self._by_batch_key(batch, lambda group: [self._scores(prompt) for prompt in group])

    @torch.inference_mode()
    def first_logits(self, batch: Sequence[ModelInput]) -> torch.Tensor:
        """(batch, vocabulary): float32 logits of the reply's first token."""

        def work(group: Sequence[ModelInput]) -> list[torch.Tensor]:
            return list(self._last_logits(self.tensors(group, [prompt.text for prompt in group]), 1)[:, -1])

        return torch.stack(self._by_batch_key(batch, work))

    def _by_batch_key(
        self, batch: Sequence[ModelInput], work: Callable[[Sequence[ModelInput]], Sequence[R]]
    ) -> list[R]:
        """`work` on each group that may share a batch; results in the order of `batch`."""
        groups: dict[Hashable, list[int]] = {}
        for number, prompt in enumerate(batch):
            groups.setdefault(self.family.batch_key(prompt.clips), []).append(number)
        results: dict[int, R] = {}
        for numbers in groups.values():
            group = [batch[number] for number in numbers]
            if self.ships_lora:
                self._switch_lora(on=bool(group[0].clips))
            results |= zip(numbers, work(group))
        return [results[number] for number in range(len(batch))]

    def _switch_lora(self, *, on: bool) -> None:
        """Switch the LoRA that ships with the model, layer by layer.

        transformers' own switch does no more, but 5.24 refuses it with any peft that has been released (0.21).
        """
        from peft.tuners.tuners_utils import BaseTunerLayer

        for module in self.model.modules():
            if isinstance(module, BaseTunerLayer):
                module.enable_adapters(enabled=on)

    def _generate(self, batch: Sequence[ModelInput], decoding: Decoding) -> list[list[GeneratedSequence]]:
        n, uniform = len(decoding.samples), batch_uniforms(decoding, batch, self.model.device)
        rows = [prompt for prompt in batch for _ in decoding.samples]
        inputs = self.tensors(rows, [prompt.text for prompt in rows])
        sampler = [] if uniform is None else [_InverseCdfSampler(uniform.flatten(0, 1), decoding.temperature)]
        config = self.model.generation_config.to_diff_dict() | {"max_new_tokens": decoding.max_new_tokens}
        out = self.model.generate(
            **inputs,
            generation_config=GenerationConfig(**config),
            logits_processor=LogitsProcessorList([_RefuseNaN(), *sampler]),
        )
        sequences = [self._cut(row) for row in out[:, inputs["input_ids"].shape[1] :].tolist()]
        return [sequences[start : start + n] for start in range(0, len(sequences), n)]

    def _scores(self, prompt: ModelInput) -> np.ndarray:
        tokenizer, scores = self.processor.tokenizer, []
        texts = [prompt.text + tokenizer.decode(option) for option in prompt.options]
        inputs = self.tensors([prompt] * len(texts), texts)
        logits = self._last_logits(inputs, max(map(len, prompt.options)) + 1)
        for option, ids, row in zip(prompt.options, inputs["input_ids"].tolist(), logits):
            if tuple(ids[-len(option) :]) != option:
                raise ModelError(
                    f"the option {tokenizer.decode(option)!r} is tokenised differently after the prompt"
                )
            scores.append(log_likelihood(row[-len(option) - 1 : -1], option).sum().item())
        return np.array(scores)

    def _last_logits(self, inputs: dict[str, torch.Tensor], count: int) -> torch.Tensor:
        """(batch, count, vocabulary): float32 logits of the last `count` positions."""
        parameters = signature(self.model.forward).parameters
        keep = {"logits_to_keep": count} if "logits_to_keep" in parameters else {}
        return _without_nan(self.model(**inputs, **keep).logits[:, -count:].float())

    def _to_device(self, value: torch.Tensor) -> torch.Tensor:
        dtype = self.model.dtype if value.is_floating_point() else None
        return value.to(device=self.model.device, dtype=dtype)

    def _cut(self, tokens: list[int]) -> GeneratedSequence:
        end = next((number for number, token in enumerate(tokens) if token in self.ends), None)
        return GeneratedSequence(tokens=tokens[:end], complete=end is not None)


def _without_nan(logits: torch.Tensor) -> torch.Tensor:
    if torch.isnan(logits).any():
        raise ModelError(
            "the model's logits are not numbers: the weights are damaged, or dtype is too narrow"
        )
    return logits


class _RefuseNaN(LogitsProcessor):
    """Stops a generation whose scores are not numbers: greedy search would make words of them."""

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """(rows, vocabulary) in and out."""
        return _without_nan(scores)


class _InverseCdfSampler(LogitsProcessor):
    """Leaves of each row of scores the token that `sample_token` picks, so that greedy search samples as we do."""

    def __init__(self, uniform: torch.Tensor, temperature: float) -> None:
        self.uniform, self.temperature, self.step = uniform, temperature, 0

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """(rows, vocabulary) in and out."""
        tokens = sample_token(scores.float(), self.temperature, self.uniform[:, self.step])
        self.step += 1
        return torch.full_like(scores, -torch.inf).scatter(1, tokens[:, None], 0.0)
