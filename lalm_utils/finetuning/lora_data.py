"""What LoRA fine-tuning learns from: examples as evaluation renders them, their batches, their loss.

In: examples (an item and the reply to learn) and a loaded model. Out: token batches with labels on the answers
alone, and the summed loss of a batch. It knows no optimiser and no peft.

Each batch holds keyword arguments of the model's forward, labels included. `trainer` gives them to transformers'
Trainer. A Trainer of your own needs `model.accepts_loss_kwargs = False` for Qwen2-Audio, whose forward ignores
`num_items_in_batch`, and `dataloader_num_workers=0`, since the collator uses the model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from lalm_utils import prompts
from lalm_utils.audio import Clip, check_clip
from lalm_utils.benchmarks import check_clips
from lalm_utils.cache import sha256_of
from lalm_utils.engine.audio_features import AudioEmbeddings, spread
from lalm_utils.engine.engines import Asked, SharedEngine
from lalm_utils.engine.transformers_model import TransformersModel
from lalm_utils.finetuning.idk_data import Example
from lalm_utils.models import ModelError

IGNORED = -100  # the label of a token that is not learnt
WINDOW = 8  # batches that are sorted by length together: little padding, and yet a new mix in each epoch


class TrainingSet:
    """Examples made ready one at a time: clips are read when their turn comes."""

    def __init__(self, model: TransformersModel, examples: Sequence[Example], *, method: str = "idk") -> None:
        """Render every example by `method`, exactly as evaluation does, and check every clip's header.

        Raises ValueError for no examples or a blank target, BenchmarkError for clips that cannot be read, and
        ModelError for a prompt that cannot be rendered.
        """
        if not examples:
            raise ValueError("no examples to learn from: build them with idk_data.build")
        for example in examples:
            if not example.target.strip():
                raise ValueError(f"item {example.item.id!r}: target {example.target!r}; a reply has a text")
        check_clips([example.item for example in examples], "the examples to learn")
        self.model, self.examples = model, tuple(examples)
        self.prompts = [replace(prompts.render(e.item, method), options=(e.target,)) for e in examples]
        self.rendered = [model.render(prompt) for prompt in self.prompts]
        self.lengths = [self._length(place) for place in range(len(examples))]

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, place: int) -> Asked:
        """The prompt with its clip; its only option is the answer's tokens and the end of the turn."""
        return self.model.ready(self.prompts[place])

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over all that is learnt from, in order: rendered prompts, clip files, targets."""
        rows = [
            [text, [sha256_of(clip) for clip in prompt.clips], prompt.options[0]]
            for text, prompt in zip(self.rendered, self.prompts)
        ]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    def _length(self, place: int) -> int:
        """About how many tokens, without decoding the clip: good enough to sort by."""
        text = self.rendered[place] + self.examples[place].target
        heard = [min(check_clip(clip), self.model.parts.window_seconds) for clip in self.prompts[place].clips]
        return len(self.model.processor.tokenizer(text).input_ids) + round(25 * sum(heard))


def schedule(
    lengths: Sequence[int], *, batch_size: int, accumulate: int, epochs: int, seed: int
) -> list[list[list[int]]]:
    """For each optimiser step its batches, as places in the training set; each place once an epoch.

    An epoch deals the places into windows of WINDOW batches, sorts each window by length, and cuts it into
    batches, whose order is drawn. A step takes `accumulate` batches, the last one of an epoch what is left.
    """
    steps = []
    for epoch in range(epochs):
        rng = np.random.default_rng([seed, epoch])
        order, batches = rng.permutation(len(lengths)).tolist(), []
        for start in range(0, len(order), WINDOW * batch_size):
            window = sorted(order[start : start + WINDOW * batch_size], key=lambda place: lengths[place])
            batches += [window[first : first + batch_size] for first in range(0, len(window), batch_size)]
        batches = [batches[place] for place in rng.permutation(len(batches))]
        steps += [batches[first : first + accumulate] for first in range(0, len(batches), accumulate)]
    return steps


class Collator:
    """Prompts made ready, each with its answer as the only option, to the tensors of one batch.

    A sharing model (Qwen2-Audio) gets embeddings, each clip heard once within the budget of its engine; any
    other what its own processor makes of text and clip. Labels are IGNORED outside the answers.
    """

    def __init__(self, model: TransformersModel) -> None:
        self.model, self.audio = model, None
        if isinstance(model.engine, SharedEngine):
            known = model.engine.audio
            # Not the engine's own: those come from passes of several clips, whose last bits depend on which
            # clips were asked about together, and an interrupted training would end a little elsewhere.
            self.audio = AudioEmbeddings(known.core, known.extractor, known.budget)

    def __call__(self, batch: Sequence[Asked]) -> dict[str, torch.Tensor]:
        """Keyword arguments of the model's forward, `labels` (batch, length) among them."""
        return self._processed(batch) if self.audio is None else self._embedded(batch)

    @torch.no_grad()
    def _embedded(self, batch: Sequence[Asked]) -> dict[str, torch.Tensor]:
        """Right-padded embeddings of prompt, clip and answer."""
        model = self.model.model
        heard = [[self._hear(clip) for clip in asked.clips] for asked in batch]
        token = model.config.audio_token_id
        asked_for = [spread(a.ids, token, [len(h) for h in several]) for a, several in zip(batch, heard)]
        answers = [list(asked.options[0]) for asked in batch]
        ids = self._padded([p + a for p, a in zip(asked_for, answers)], 0)
        labels = self._padded([[IGNORED] * len(p) + a for p, a in zip(asked_for, answers)], IGNORED)
        mask = self._padded([[1] * (len(p) + len(a)) for p, a in zip(asked_for, answers)], 0)
        embeds = model.get_input_embeddings()(ids)
        if in_order := [embedding for several in heard for embedding in several]:
            embeds[(ids == token) & mask.bool()] = torch.cat(in_order).to(embeds.dtype)
        return {"inputs_embeds": embeds, "attention_mask": mask, "labels": labels}

    def _processed(self, batch: Sequence[Asked]) -> dict[str, torch.Tensor]:
        """The processor's tensors of the whole texts, padded to the left as in evaluation."""
        tokenizer = self.model.processor.tokenizer
        texts = [asked.text + tokenizer.decode(asked.options[0]) for asked in batch]
        inputs = self.model.engine.tensors(batch, texts)
        labels = torch.full_like(inputs["input_ids"], IGNORED)
        for row, asked in enumerate(batch):
            answer = torch.tensor(asked.options[0], device=labels.device)
            if not torch.equal(inputs["input_ids"][row, -len(answer) :], answer):
                raise ModelError(
                    f"the answer {tokenizer.decode(answer)!r} is tokenised differently after the prompt"
                )
            labels[row, -len(answer) :] = answer
        return inputs | {"labels": labels}

    def _hear(self, clip: Clip) -> torch.Tensor:
        return self.audio.of([clip])[clip.sha256]

    def _padded(self, rows: Sequence[list[int]], fill: int) -> torch.Tensor:
        longest = max(map(len, rows))
        padded = [row + [fill] * (longest - len(row)) for row in rows]
        return torch.tensor(padded, device=self.model.device)


def answer_loss(model: PreTrainedModel, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Negative log-likelihood in nats, summed over the labelled tokens; a scalar in float32.

    The head of a sharing model reads the positions before labelled tokens alone: with a large vocabulary, the
    logits of every position would take gigabytes.
    """
    inputs = dict(batch)
    wanted = inputs.pop("labels")[:, 1:]
    rows, places = (wanted != IGNORED).nonzero(as_tuple=True)
    if "inputs_embeds" in inputs:
        hidden = model.model.language_model(**inputs, use_cache=False).last_hidden_state
        logits = model.lm_head(hidden[rows, places])
    else:
        logits = model(**inputs, use_cache=False).logits[rows, places]
    return nn.functional.cross_entropy(logits.float(), wanted[rows, places], reduction="sum")


def accumulate_gradient(
    model: PreTrainedModel, collate: Collator, batches: Sequence[Sequence[Asked]]
) -> float:
    """Add the gradient of the mean loss per answer token over all `batches` as one; that mean, in nats.

    Each batch's summed loss is divided by the tokens of all, so that how examples are cut into batches changes
    nothing. A mean of the batches' means would weigh the tokens of short batches more.
    """
    tokens = sum(len(asked.options[0]) for batch in batches for asked in batch)
    total = 0.0
    for batch in batches:
        loss = answer_loss(model, collate(batch)) / tokens
        loss.backward()
        total += loss.item()
    return total
