"""What LoRA fine-tuning learns from: examples as evaluation renders them, their batches, their loss.

In: examples (an item and the reply to learn) and a loaded model. Out: token batches with labels on the answers
alone, and the summed loss of a batch.

Each batch holds keyword arguments of the model's forward, labels included. A loop of your own has to divide by
the number of answer tokens itself: Qwen2-Audio's forward ignores `num_items_in_batch`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from lalm_utils import prompts
from lalm_utils.audio import check_clip
from lalm_utils.benchmarks import check_clips
from lalm_utils.cache import sha256_of
from lalm_utils.finetuning.idk_data import Example
from lalm_utils.models import ModelError, Prompt

IGNORED = -100  # the label of a token that is not learnt
WINDOW = 8  # batches that are sorted by length together: little padding, and yet a new mix in each epoch


def answer_labels(prompt: Sequence[int], answer: Sequence[int]) -> list[int]:
    """The labels of one example: the answer's tokens and its end of turn are learnt, the prompt is not."""
    return [IGNORED] * len(prompt) + list(answer)


def answer_loss(model: nn.Module, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, int]:
    """Negative log-likelihood in nats, summed over the answers' tokens, and the number of these tokens."""
    inputs = dict(batch)
    targets = inputs.pop("labels")[:, 1:]  # a token is predicted at the position before it
    rows, positions = (targets != IGNORED).nonzero(as_tuple=True)
    logits = logits_at(model, inputs, rows, positions).float()
    loss = nn.functional.cross_entropy(logits, targets[rows, positions], reduction="sum")
    return loss, len(rows)


def logits_at(
    model: nn.Module, inputs: Mapping[str, torch.Tensor], rows: torch.Tensor, positions: torch.Tensor
) -> torch.Tensor:
    """(len(rows), vocabulary): the model's logits at these positions of a batch.

    With embeddings (Qwen2-Audio) the head reads these positions alone: with a large vocabulary, the logits of every
    position would take gigabytes.
    """
    if "inputs_embeds" not in inputs:
        return model(**inputs, use_cache=False).logits[rows, positions]
    hidden = model.model.language_model(**inputs, use_cache=False).last_hidden_state
    return model.lm_head(hidden[rows, positions])


class TrainingSet:
    """Examples made ready a batch at a time: clips are read when their turn comes.

    The model is a loaded `TransformersModel`. Where it gives embeddings of clips (Qwen2-Audio), each clip goes through
    its tower once, within the budget of its cache; any other has its own processor make batches of texts and clips.
    """

    replies = ("target",)  # what of an example is read after its prompt

    def __init__(self, model: Any, examples: Sequence[Example], *, method: str = "idk") -> None:
        """Render every example by `method`, exactly as evaluation does, and check every clip's header.

        Raises ValueError for no examples or a blank target, BenchmarkError for clips that cannot be read, and
        ModelError for a prompt that cannot be rendered.
        """
        if not examples:
            raise ValueError("no examples to learn from: build them with idk_data.build")
        replies = [tuple(getattr(example, name) for name in self.replies) for example in examples]
        for example, some in zip(examples, replies):
            if blank := [reply for reply in some if not reply.strip()]:
                raise ValueError(f"item {example.item.id!r}: target {blank[0]!r}; a reply has a text")
        check_clips([example.item for example in examples], "the examples to learn")
        self.model, self.examples = model, tuple(examples)
        self.prompts = [
            replace(prompts.render(example.item, method), options=some)
            for example, some in zip(examples, replies)
        ]
        self.rendered = [model.render(prompt) for prompt in self.prompts]
        self.lengths = [self._length(number) for number in range(len(examples))]

    def __len__(self) -> int:
        return len(self.examples)

    def prepare(self) -> None:
        """What the loss needs of the base model; called once, before a training begins or goes on."""

    @property
    def facts(self) -> dict[str, Any]:
        """What provenance says of the loss, beside the recipe."""
        return {}

    def loss(self, model: nn.Module, numbers: Sequence[int]) -> tuple[torch.Tensor, int]:
        """Of the batch of these examples: its sum, and the number of terms. Clips are read here, batch by batch."""
        return answer_loss(model, self.batch(numbers))

    def batch(self, numbers: Sequence[int]) -> dict[str, torch.Tensor]:
        """Keyword arguments of the model's forward for these examples, `labels` (batch, length) among them."""
        some = [self.prompts[number] for number in numbers]
        return self._embedded(some) if self.model.has_audio_embeddings else self._processed(some)

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over all that is learnt from, in order: rendered prompts, clip files, replies."""
        rows = [
            [text, [sha256_of(clip) for clip in prompt.clips], *prompt.options]
            for text, prompt in zip(self.rendered, self.prompts)
        ]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    def _length(self, number: int) -> int:
        """About how many tokens, without decoding the clip: good enough to sort by."""
        text, window = (
            self.rendered[number] + "".join(self.prompts[number].options),
            self.model.parts.window_seconds,
        )
        seconds = sum(min(check_clip(clip), window) for clip in self.prompts[number].clips)
        return len(self.model.processor.tokenizer(text).input_ids) + round(25 * seconds)

    @torch.no_grad()
    def _embedded(self, some: Sequence[Prompt]) -> dict[str, torch.Tensor]:
        """Right-padded embeddings of prompt, clip and answer."""
        ids, labels, audio = [], [], []
        for prompt in some:
            tokens, (answer,), embeddings = self.model.embed(prompt)
            ids.append([*tokens, *answer])
            labels.append(answer_labels(tokens, answer))
            audio += embeddings
        return self._embeds(ids, audio) | {"labels": self._padded(labels, IGNORED)}

    def _embeds(self, ids: Sequence[Sequence[int]], audio: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        """The embeddings of rows of tokens, those of clips in their places, and the mask of what is padding."""
        module, audio_token = self.model.model, self.model.model.config.audio_token_id
        tokens, mask = self._padded(ids, 0), self._padded([[1] * len(row) for row in ids], 0)
        embeds = module.get_input_embeddings()(tokens)
        if audio:
            embeds[(tokens == audio_token) & mask.bool()] = torch.cat(tuple(audio)).to(embeds.dtype)
        return {"inputs_embeds": embeds, "attention_mask": mask}

    def _processed(self, some: Sequence[Prompt]) -> dict[str, torch.Tensor]:
        """The processor's tensors of the whole texts, padded to the left as in evaluation."""
        tokenizer, encoded = self.model.processor.tokenizer, [self.model.ready(prompt) for prompt in some]
        texts = [prompt.text + tokenizer.decode(prompt.options[0]) for prompt in encoded]
        inputs = self.model.engine.tensors(encoded, texts)
        labels = torch.full_like(inputs["input_ids"], IGNORED)
        for row, prompt in enumerate(encoded):
            answer = torch.tensor(prompt.options[0], device=labels.device)
            if not torch.equal(inputs["input_ids"][row, -len(answer) :], answer):
                raise ModelError(
                    f"the answer {tokenizer.decode(answer)!r} is tokenised differently after the prompt"
                )
            labels[row, -len(answer) :] = answer
        return inputs | {"labels": labels}

    def _padded(self, rows: Sequence[Sequence[int]], fill: int) -> torch.Tensor:
        longest = max(map(len, rows))
        padded = [[*row, *[fill] * (longest - len(row))] for row in rows]
        return torch.tensor(padded, device=self.model.device)


def schedule(
    lengths: Sequence[int], *, batch_size: int, accumulate: int, epochs: int, seed: int
) -> list[list[list[int]]]:
    """For each optimiser step its batches, as numbers of examples; each example once an epoch.

    An epoch deals the examples into windows of WINDOW batches, sorts each window by length, and cuts it into
    batches, whose order is drawn. A step takes `accumulate` batches, the last one of an epoch what is left.
    """
    steps = []
    for epoch in range(epochs):
        rng = np.random.default_rng([seed, epoch])
        order, batches = rng.permutation(len(lengths)).tolist(), []
        for start in range(0, len(order), WINDOW * batch_size):
            window = sorted(order[start : start + WINDOW * batch_size], key=lambda number: lengths[number])
            batches += [window[first : first + batch_size] for first in range(0, len(window), batch_size)]
        batches = [batches[number] for number in rng.permutation(len(batches))]
        steps += [batches[first : first + accumulate] for first in range(0, len(batches), accumulate)]
    return steps
