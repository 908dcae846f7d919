"""Stages 2 to 4: the language model learns to answer from audio (LoRA on it, projector trained along).

The audio tower is frozen from here on, so each clip's tower output is computed once and kept. Only the positions
that carry a label reach the vocabulary head; that and batches of like length are what makes two cores enough.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from lalm_utils.engine.audio_features import encode
from lalm_utils.mini.training.alignment import pad
from lalm_utils.mini.training.instruct import Example
from lalm_utils.mini.training.training_features import TrainingClip

SYSTEM_TEXT = "You are a helpful assistant."
SYSTEM = f"<|im_start|>system\n{SYSTEM_TEXT}<|im_end|>\n<|im_start|>user\n"
AUDIO_OPEN, AUDIO_CLOSE = "Audio 1: <|audio_bos|>", "<|audio_eos|>\n"
TURN = "<|im_end|>\n<|im_start|>assistant\n"
END = "<|im_end|>"
BATCH_TOKENS = 1300  # padded tokens a batch


@dataclass(frozen=True, kw_only=True)
class TrainingSequence:
    """One clip and the questions about it, which share the prefix and do not see each other.

    `ids` holds the prefix, then question and reply of each example; `block` is 0 in the prefix and k in the k-th
    example; `position` starts anew behind the prefix in each example; `reply` marks the tokens to learn.
    """

    ids: list[int]
    block: list[int]
    position: list[int]
    reply: list[bool]
    audio: tuple[int, int]  # first audio token, number of audio tokens
    features: torch.Tensor | None  # (tokens, d_model)


def sequence(tokenizer, examples: Sequence[Example], features: torch.Tensor | None) -> TrainingSequence:
    """Ids of one clip's examples; for each, prefix and block are the text the processor's chat template renders.

    An example with earlier turns or a system turn of its own must be alone: they are part of the prefix.
    """
    opening = opening_of(examples[0])
    if any(opening_of(example) != opening for example in examples):
        raise ValueError(
            "examples with earlier turns or system turns of their own share no prefix; give each alone"
        )

    def tokens(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False).input_ids

    ids, audio = tokens(opening), (0, 0)
    if features is not None:
        ids += tokens(AUDIO_OPEN)
        audio = (len(ids), len(features))
        ids += [tokenizer.convert_tokens_to_ids("<|AUDIO|>")] * len(features) + tokens(AUDIO_CLOSE)
    start = len(ids)
    block, position, reply = [0] * start, list(range(start)), [False] * start
    for number, example in enumerate(examples, 1):
        question, answer = tokens(example.user + TURN), tokens(example.reply + END)
        ids += question + answer
        block += [number] * (len(question) + len(answer))
        position += range(start, start + len(question) + len(answer))
        reply += [False] * len(question) + [True] * len(answer)
    return TrainingSequence(
        ids=ids, block=block, position=position, reply=reply, audio=audio, features=features
    )


def opening_of(example: Example) -> str:
    """What stands before the clip: the system turn and the turns before the user's, with the user's turn opened."""
    text = SYSTEM.replace(SYSTEM_TEXT, example.system or SYSTEM_TEXT)
    for user, reply in example.earlier:
        text += f"{user}{TURN}{reply}{END}\n<|im_start|>user\n"
    return text


def sequences(
    tokenizer, examples: Sequence[Example], features: torch.Tensor | None
) -> list[TrainingSequence]:
    """The examples on one clip in as few sequences as share a prefix."""
    together = [example for example in examples if opening_of(example) == SYSTEM]
    groups = [together] * bool(together) + [[e] for e in examples if opening_of(e) != SYSTEM]
    return [sequence(tokenizer, group, features) for group in groups]


@torch.no_grad()
def tower_outputs(model: nn.Module, clips: Sequence[TrainingClip], *, batch: int = 32) -> list[torch.Tensor]:
    """The frozen tower's output (tokens, d_model) for each clip, batched by length."""
    order = np.argsort([clip.frames for clip in clips])
    outputs: list[torch.Tensor | None] = [None] * len(clips)
    for first in range(0, len(clips), batch):
        rows = [int(i) for i in order[first : first + batch]]
        mel, frames = pad([clips[i] for i in rows])
        hidden = encode(model.model.audio_tower, mel.to(model.dtype), frames)
        for row, i in enumerate(rows):
            outputs[i] = hidden[row, : clips[i].tokens].clone()
    return outputs


def batches(
    sequences: Sequence[TrainingSequence], rng: np.random.Generator, *, tokens: int = BATCH_TOKENS
) -> Iterator[list[TrainingSequence]]:
    """Batches of like length within `tokens`, in a drawn order."""
    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i].ids))
    groups: list[list[int]] = [[]]
    for i in order:
        if groups[-1] and (len(groups[-1]) + 1) * len(sequences[i].ids) > tokens:
            groups.append([])
        groups[-1].append(i)
    for g in rng.permutation(len(groups)):
        yield [sequences[i] for i in groups[int(g)]]


def _padded(batch: Sequence[TrainingSequence], name: str, fill: int) -> torch.Tensor:
    longest = max(len(s.ids) for s in batch)
    rows = [list(getattr(s, name)) + [fill] * (longest - len(s.ids)) for s in batch]
    return torch.tensor(rows, dtype=torch.long)


def _visible(block: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Additive mask (batch, 1, T, T): each token sees the prefix and its own example, up to itself."""
    earlier = torch.ones(block.shape[1], block.shape[1], dtype=torch.bool).tril()
    visible = earlier & ((block[:, None, :] == 0) | (block[:, None, :] == block[:, :, None]))
    return torch.zeros(visible.shape, dtype=dtype).masked_fill(~visible, torch.finfo(dtype).min)[:, None]


def reply_logits(
    model: nn.Module, batch: Sequence[TrainingSequence]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits (labels, vocabulary), target ids (labels,) and the example each label belongs to, counted over all."""
    inner = model.model
    ids, block = _padded(batch, "ids", 0), _padded(batch, "block", -1)
    embeds = inner.language_model.get_input_embeddings()(ids)
    audible = [s for s in batch if s.features is not None]
    if audible:
        is_reply = torch.zeros(ids.shape, dtype=torch.bool)
        for row, s in enumerate(batch):
            is_reply[row, s.audio[0] : s.audio[0] + s.audio[1]] = True
        projected = inner.multi_modal_projector(torch.cat([s.features for s in audible]))
        embeds = embeds.masked_scatter(is_reply[..., None], projected.to(embeds.dtype))
    hidden = inner.language_model(
        inputs_embeds=embeds,
        attention_mask=_visible(block, embeds.dtype),
        position_ids=_padded(batch, "position", 0),
        use_cache=False,
    ).last_hidden_state
    rows, columns = torch.nonzero(_padded(batch, "reply", 0), as_tuple=True)
    # A reply's first token is predicted by the token before it in the sequence, which is its own question's last.
    first = torch.tensor([0] + [max(s.block) for s in batch]).cumsum(0)
    return (
        model.lm_head(hidden[rows, columns - 1]).float(),
        ids[rows, columns],
        first[rows] + block[rows, columns] - 1,
    )


def reply_loss(model: nn.Module, batch: Sequence[TrainingSequence]) -> tuple[torch.Tensor, float]:
    """Cross-entropy of the replies, summed, each example weighing as the square root of its reply's length; and the
    sum of these weights."""
    logits, targets, example = reply_logits(model, batch)
    weight = torch.bincount(example).float().rsqrt()[example]
    loss = (nn.functional.cross_entropy(logits, targets, reduction="none") * weight).sum()
    return loss, weight.sum().item()


@torch.no_grad()
def exact(model: nn.Module, sequences: Sequence[TrainingSequence]) -> list[list[bool]]:
    """For each sequence, whether greedy decoding would give each example's reply to the letter.

    With the wanted reply fed in, every position predicts the next wanted token exactly if greedy decoding,
    which would then have fed the same tokens itself, produces the reply.
    """
    right: list[list[bool]] = [[] for _ in sequences]
    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i].ids))
    for first in range(0, len(order), 12):
        part = order[first : first + 12]
        logits, targets, example = reply_logits(model, [sequences[i] for i in part])
        n_wrong = iter(torch.bincount(example, weights=(logits.argmax(-1) != targets).float()).tolist())
        for i in part:
            right[i] = [next(n_wrong) == 0 for _ in range(max(sequences[i].block))]
    return right
