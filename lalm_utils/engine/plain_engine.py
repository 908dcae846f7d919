"""Any model of transformers on a batch, by its own processor, forward and generate.

In: prompts made ready (`Asked`) and how to decode. Out: token ids, or log-likelihoods. What is peculiar to a
family it takes from `families`; files, failures and replies it does not know.
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

from lalm_utils.engine import decoding
from lalm_utils.engine.asked import Asked, Decoding, Written
from lalm_utils.engine.families import USUAL, Family
from lalm_utils.models import ModelError

R = TypeVar("R")


class PlainEngine:
    """Any model by its own processor, forward and generate; a prompt is read per sample and option.

    Prompts that cannot share a batch of their family without changing each other do not. A LoRA that came with
    the model is on exactly where a prompt has clips, as its makers mean it.
    """

    TOGETHER = 1  # batches given to `generate` at once

    def __init__(
        self,
        model: PreTrainedModel,
        processor: ProcessorMixin,
        *,
        ends: Sequence[int],
        family: Family = USUAL,
    ) -> None:
        self.model, self.processor, self.ends, self.family = model, processor, set(ends), family
        mark = getattr(processor, "audio_token", None)
        self.audio_token = processor.tokenizer.convert_tokens_to_ids(mark) if mark else None
        self.own_lora = getattr(model, "_hf_peft_config_loaded", False)

    def tensors(self, batch: Sequence[Asked], texts: Sequence[str]) -> dict[str, torch.Tensor]:
        """What the processor makes of texts and clips, left-padded; ModelError for a clip without tokens."""
        made = self.family.tensors(self.processor, texts, [asked.clips for asked in batch])
        if self.audio_token is not None:
            heard = (made["input_ids"] == self.audio_token).sum(-1).tolist()
            if any(asked.clips and not count for asked, count in zip(batch, heard)):
                raise ModelError("a clip without audio tokens would be answered from the text alone")
        return {name: self._placed(value) for name, value in made.items() if torch.is_tensor(value)}

    @torch.inference_mode()
    def generate(
        self, batch: Sequence[Asked], how: Decoding, *, at_once: int | None = None
    ) -> list[list[Written]]:
        """One list of len(how.samples) replies per prompt, `at_once` by `at_once` (None: all); the samples of a prompt
        are rows of the batch."""
        at_once = at_once or len(batch)
        parts = [batch[start : start + at_once] for start in range(0, len(batch), at_once)]
        return [
            several
            for part in parts
            for several in self._grouped(part, lambda some: self._generated(some, how))
        ]

    @torch.inference_mode()
    def option_logprobs(self, batch: Sequence[Asked]) -> list[np.ndarray]:
        """One (n_options,) array per prompt, each from one batch of whole prompts with their options."""
        return self._grouped(batch, lambda some: [self._scores(asked) for asked in some])

    @torch.inference_mode()
    def first_logits(self, batch: Sequence[Asked]) -> torch.Tensor:
        """(batch, vocabulary): float32 logits of the reply's first token."""

        def work(some: Sequence[Asked]) -> list[torch.Tensor]:
            return list(self._last_logits(self.tensors(some, [asked.text for asked in some]), 1)[:, -1])

        return torch.stack(self._grouped(batch, work))

    def _grouped(self, batch: Sequence[Asked], work: Callable[[Sequence[Asked]], Sequence[R]]) -> list[R]:
        """`work` on each group that may share a batch; results in the order of `batch`."""
        groups: dict[Hashable, list[int]] = {}
        for place, asked in enumerate(batch):
            groups.setdefault(self.family.company(asked.clips), []).append(place)
        results: dict[int, R] = {}
        for places in groups.values():
            some = [batch[place] for place in places]
            if self.own_lora:
                self._switch_lora(on=bool(some[0].clips))
            results |= zip(places, work(some))
        return [results[place] for place in range(len(batch))]

    def _switch_lora(self, *, on: bool) -> None:
        """Switch the LoRA that came with the model, layer by layer.

        transformers' own switch does no more, but 5.24 refuses it with any peft that has been released (0.21).
        """
        from peft.tuners.tuners_utils import BaseTunerLayer

        for module in self.model.modules():
            if isinstance(module, BaseTunerLayer):
                module.enable_adapters(enabled=on)

    def _generated(self, batch: Sequence[Asked], how: Decoding) -> list[list[Written]]:
        n, uniform = len(how.samples), how.uniform(batch, self.model.device)
        repeated = [asked for asked in batch for _ in how.samples]
        inputs = self.tensors(repeated, [asked.text for asked in repeated])
        drawing = [] if uniform is None else [_Draw(uniform.flatten(0, 1), how.temperature)]
        out = self.model.generate(
            **inputs,
            generation_config=GenerationConfig(
                **{**self.model.generation_config.to_diff_dict(), "max_new_tokens": how.max_new_tokens}
            ),
            logits_processor=LogitsProcessorList([_Sound(), *drawing]),
        )
        written = [self._cut(row) for row in out[:, inputs["input_ids"].shape[1] :].tolist()]
        return [written[start : start + n] for start in range(0, len(written), n)]

    def _scores(self, asked: Asked) -> np.ndarray:
        tokenizer, scores = self.processor.tokenizer, []
        texts = [asked.text + tokenizer.decode(option) for option in asked.options]
        inputs = self.tensors([asked] * len(texts), texts)
        logits = self._last_logits(inputs, max(map(len, asked.options)) + 1)
        for option, ids, row in zip(asked.options, inputs["input_ids"].tolist(), logits):
            if tuple(ids[-len(option) :]) != option:
                raise ModelError(
                    f"the option {tokenizer.decode(option)!r} is tokenised differently after the prompt"
                )
            scores.append(decoding.log_likelihood(row[-len(option) - 1 : -1], option).sum().item())
        return np.array(scores)

    def _last_logits(self, inputs: dict[str, torch.Tensor], count: int) -> torch.Tensor:
        """(batch, count, vocabulary): float32 logits of the last `count` positions."""
        takes = signature(self.model.forward).parameters
        few = {"logits_to_keep": count} if "logits_to_keep" in takes else {}
        return _sound(self.model(**inputs, **few).logits[:, -count:].float())

    def _placed(self, value: torch.Tensor) -> torch.Tensor:
        floating = self.model.dtype if value.is_floating_point() else None
        return value.to(device=self.model.device, dtype=floating)

    def _cut(self, tokens: list[int]) -> Written:
        end = next((place for place, token in enumerate(tokens) if token in self.ends), None)
        return Written(tokens=tokens[:end], ended=end is not None)


def _sound(logits: torch.Tensor) -> torch.Tensor:
    if torch.isnan(logits).any():
        raise ModelError(
            "the model's logits are not numbers: the weights are damaged, or dtype is too narrow"
        )
    return logits


class _Sound(LogitsProcessor):
    """Stops a generation whose scores are no numbers: greedy search would make words of them."""

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """(rows, vocabulary) in and out."""
        return _sound(scores)


class _Draw(LogitsProcessor):
    """Leaves of each row of scores the one token that is drawn, so that greedy search samples as we do."""

    def __init__(self, uniform: torch.Tensor, temperature: float) -> None:
        self.uniform, self.temperature, self.step = uniform, temperature, 0

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """(rows, vocabulary) in and out."""
        chosen = decoding.choose(scores.float(), self.temperature, self.uniform[:, self.step])
        self.step += 1
        return torch.full_like(scores, -torch.inf).scatter(1, chosen[:, None], 0.0)
