"""Preference tuning on the IDK dataset: Direct Preference Optimisation (DPO, arXiv 2305.18290, equation 7).

In: the examples that LoRA-SFT learns from, and the samples that their labels were counted on. Out: pairs of replies to
one prompt, and a dataset of them for `lora.train(..., dataset=PairSet)`: the same items, recipe, loop and adapter.

The rule of the pairs. A known item's right option is preferred to IDK; an item not known has IDK preferred to the wrong
option that the model itself sampled most often (of equally frequent ones, the first sampled). A known item is not also
paired with a wrong sample: that would teach answers, where the question is whether to answer. At K = N there is none.

Both replies follow one prompt. Where the engine gives embeddings of clips, a pair is one sequence: prompt, preferred,
rejected, the latter blind to the former, so that the prompt and its clip are read once.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import torch
from torch import nn

from lalm_utils.finetuning.idk_data import REFUSAL, Example
from lalm_utils.finetuning.lora_data import IGNORED, TrainingSet, logits_at
from lalm_utils.models import Prompt
from lalm_utils.outcomes import Outcome

__all__ = ["BETA", "Pair", "PairSet", "dpo_loss", "pairs"]
BETA = 0.1  # of the paper's experiments: how dearly a departure from the base is paid for
MASKED_ATTENTION = ("sdpa", "eager")  # those that take a mask of their own for each pair of positions
OBJECTIVE = "DPO 1"  # to be changed with what is computed here

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Pair(Example):
    """An item, the reply that is preferred (`target`) and the one that is rejected. ValueError if they are equal."""

    rejected: str

    def __post_init__(self) -> None:
        if self.rejected == self.target:
            raise ValueError(
                f"item {self.item.id!r}: {self.target!r} both preferred and rejected; give two replies"
            )


def pairs(examples: Sequence[Example], samples: pd.DataFrame) -> list[Pair]:
    """The pairs of these examples by the module's rule, in their order.

    examples: as idk_data.build returns them; samples: as k_of_n.sample returns them. An item to refuse of which no
    sample names a wrong option has no pair: it is left out, and logged. ValueError if no pair is left.
    """
    wrong = samples[samples["outcome"] == Outcome.WRONG]
    # mode() would sort equally frequent choices; value_counts keeps them as they were sampled
    most_frequent = {
        item: int(part.value_counts(sort=False).idxmax()) for item, part in wrong.groupby("item")["choice"]
    }
    result = []
    for example in examples:
        item = example.item
        if example.known:
            rejected = REFUSAL
        elif item.id in most_frequent:
            rejected = item.options[most_frequent[item.id]]
        else:
            continue
        result.append(Pair(item=item, target=example.target, known=example.known, rejected=rejected))
    if len(result) < len(examples):
        log.warning("%d of %d items to refuse left out: no sample names a wrong option",
                    len(examples) - len(result), len(examples))  # fmt: skip
    if not result:
        raise ValueError(
            f"no pair in {len(examples)} examples: give the samples that they were counted on, from k_of_n.sample"
        )
    return result


def dpo_loss(logprobs: torch.Tensor, reference: torch.Tensor, *, beta: float = BETA) -> torch.Tensor:
    """-log sigma(beta * margin) in nats, (n,): how much more the model has gained on the preferred reply.

    logprobs, reference: (n, 2), log-likelihoods in nats of the preferred and the rejected reply, by the model and by
    the base. margin: (model - base) of the preferred less that of the rejected. log 2 where nothing was learnt yet.
    """
    gain = logprobs - reference
    return -nn.functional.logsigmoid(beta * (gain[:, 0] - gain[:, 1]))


def reply_logprobs(model: nn.Module, batch: Mapping[str, Any]) -> torch.Tensor:
    """(n, 2): log-likelihood in nats of each pair's replies, as whole turns."""
    rows, positions, targets, replies = batch["targets"].T
    logp = logits_at(model, batch["inputs"], rows, positions).float().log_softmax(-1)
    logp = logp.gather(1, targets[:, None])[:, 0]
    return logp.new_zeros(2 * batch["pairs"]).index_add(0, replies, logp).view(-1, 2)


class PairSet(TrainingSet):
    """Pairs made ready a batch at a time, and DPO's loss of them. ValueError for a beta that is not above 0."""

    replies = ("target", "rejected")

    def __init__(
        self, model: Any, examples: Sequence[Pair], *, method: str = "idk", beta: float = BETA
    ) -> None:
        """As TrainingSet's."""
        if not beta > 0:
            raise ValueError(f"beta={beta}: it must be above 0; the paper's is {BETA}")
        super().__init__(model, examples, method=method)
        self.beta, self.reference = beta, torch.empty(0, 2)

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over the pairs and the objective."""
        return hashlib.sha256(f"{OBJECTIVE} {self.beta} {super().digest}".encode()).hexdigest()

    @property
    def facts(self) -> dict[str, Any]:
        """Objective and beta."""
        return {"objective": OBJECTIVE, "beta": self.beta}

    @torch.no_grad()
    def prepare(self) -> None:
        """The base's log-likelihoods: computed once, by the training's own forward, each pair by itself.

        So they are the same bits however batches are cut, and when a training goes on.
        """
        module = self.model.model
        self.reference = torch.cat([reply_logprobs(module, self.batch([i])) for i in range(len(self))])

    def loss(self, model: nn.Module, numbers: Sequence[int]) -> tuple[torch.Tensor, int]:
        """DPO's loss summed over these pairs, and their number."""
        logprobs = reply_logprobs(model, self.batch(numbers))
        return dpo_loss(logprobs, self.reference[list(numbers)], beta=self.beta).sum(), len(numbers)

    def batch(self, numbers: Sequence[int]) -> dict[str, Any]:
        """inputs: keyword arguments of the model's forward; targets: (n_tokens, 4), row, position, token, reply."""
        prompts = [self.prompts[number] for number in numbers]
        if (
            self.model.has_audio_embeddings
            and self.model.model.config._attn_implementation in MASKED_ATTENTION
        ):
            return self._packed(prompts) | {"pairs": len(prompts)}
        single = [replace(prompt, options=(reply,)) for prompt in prompts for reply in prompt.options]
        inputs = self._embedded(single) if self.model.has_audio_embeddings else self._processed(single)
        labels = inputs.pop("labels")[:, 1:]
        rows, positions = (labels != IGNORED).nonzero(as_tuple=True)
        targets = torch.stack([rows, positions, labels[rows, positions], rows], 1)
        return {"inputs": inputs, "targets": targets, "pairs": len(prompts)}

    @torch.no_grad()
    def _packed(self, prompts: Sequence[Prompt]) -> dict[str, Any]:
        """One row a pair; the rejected reply has the preferred one's positions, and does not see it."""
        rows, targets = [], []
        for row, prompt in enumerate(prompts):
            tokens, (preferred, rejected), audio = self.model.embed(prompt)
            rows.append(([*tokens, *preferred, *rejected], len(tokens), len(preferred), audio))
            start = len(tokens)
            for reply, answer in enumerate((preferred, rejected)):
                before = [len(tokens) - 1, *range(start, start + len(answer) - 1)]
                targets += [
                    [row, position, token, 2 * row + reply] for position, token in zip(before, answer)
                ]
                start += len(answer)
        inputs = self._embeds([ids for ids, *_ in rows], [each for *_, audio in rows for each in audio])
        length = inputs["inputs_embeds"].shape[1]
        causal = torch.ones(length, length, dtype=torch.bool).tril()
        positions, visible = torch.arange(length).repeat(len(rows), 1), causal.repeat(len(rows), 1, 1, 1)
        for row, (_, n, n_preferred, _) in enumerate(rows):
            positions[row, n + n_preferred :] -= n_preferred
            visible[row, :, n + n_preferred :, n : n + n_preferred] = False
        # what is not seen gets the least number that the type has: eager attention adds it
        mask = torch.zeros(visible.shape, dtype=inputs["inputs_embeds"].dtype)
        mask = mask.masked_fill(~visible, torch.finfo(mask.dtype).min)
        device = self.model.device
        inputs |= {"attention_mask": mask.to(device), "position_ids": positions.to(device)}
        return {"inputs": inputs, "targets": torch.tensor(targets, device=device)}
