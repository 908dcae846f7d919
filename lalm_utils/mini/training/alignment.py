"""Stage 1, audio-alignment pretraining: audio tower and projector are trained without the language model.

Each projected audio frame is trained to lie near the language model's own embedding of the label that is true of
it: the word spoken, the instrument playing, the number of events so far. What reaches the language model is then
close to text it can read. A scene's annotations fall in *groups*; frame groups are labelled frame by frame (25 a
second), clip groups once for the mean frame. The labels are the generator's ground truth of the `train` split.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from lalm_utils.mini.benchmark import font, sounds, tasks_music, tasks_sound, tasks_speech, voice, words
from lalm_utils.mini.training.training_features import TrainingClip

FRAME_RATE = 25  # audio tokens a second
SCALE = 20.0  # logits are cosines times this
NOTHING = "nothing"
TOKEN_DECAY = 0.7

_WORDS = {w for group in words.TRAIN.values() for w in group} | set(words.NUMBERS) | {"plus", "minus"}
_CARRIER_WORDS = {w.strip(".,").lower() for text in words.CARRIERS for w in text.split() if "{" not in w}
_DIGITS = tuple(str(i) for i in range(1, 11))
FRAME_GROUPS = {
    "content": (*sounds.TRAIN_SOUNDS, *font.TRAIN_INSTRUMENTS, *sorted(_WORDS | _CARRIER_WORDS), NOTHING),
    "background": tuple(label for label in sounds.TRAIN_SOUNDS if sounds.SOUNDS[label].kind == "texture"),
    "number": _DIGITS,
    "pitch": _DIGITS[:9],
    "who": ("man", "woman"),
    "loud": ("loud", "quiet"),
}
CLIP_GROUPS = {
    "type": ("sound", "music", "speech"),
    "language": tuple(voice.TRAIN_LANGUAGES),
    "trajectory": tasks_sound.TRAJECTORIES,
    "contour": tasks_music.CONTOURS,
    "tempo": tuple(tasks_music.TEMPI),
    "dynamics": tasks_music.DYNAMICS,
    "register": tuple(tasks_music.REGISTERS),
    "higher": tasks_music.HIGHER,
    "pace": tasks_speech.RATES,
}


def pad(batch: Sequence[TrainingClip]) -> tuple[torch.Tensor, torch.Tensor]:
    """mel (batch, 80, longest) float32, padded with each clip's own floor, and frames (batch,)."""
    longest = max(len(clip.mel) for clip in batch)
    longest += -longest % 4
    mel = np.empty((len(batch), longest, 80), np.float32)
    for row, clip in zip(mel, batch):
        row[: len(clip.mel)] = clip.mel
        row[len(clip.mel) :] = clip.mel[-1]
    return torch.from_numpy(mel).transpose(1, 2), torch.tensor([clip.frames for clip in batch])


@dataclass(frozen=True, kw_only=True)
class LabelEmbeddings:
    """Unit vectors of all labels (n, hidden), centred on the mean token embedding, and each group's rows."""

    vectors: torch.Tensor
    rows: dict[str, torch.Tensor]
    index: dict[str, dict[str, int]]
    centre: torch.Tensor
    norm: float


def label_vectors(tokenizer, embeddings: torch.Tensor) -> LabelEmbeddings:
    """Each label's vector: the embeddings of its tokens, as they stand after a space in the options, averaged.

    Earlier tokens weigh more, so that "louder then quieter" is not "quieter then louder". Digits stand alone:
    the tokenizer splits them from the space, which would make all numbers look alike.
    """
    groups = {**FRAME_GROUPS, **CLIP_GROUPS}
    names = sorted({label for labels in groups.values() for label in labels})
    embeddings, position = embeddings.detach().float(), {name: i for i, name in enumerate(names)}
    centre = embeddings.mean(0)
    texts = [name if name.isdigit() else " " + name for name in names]
    ids = [tokenizer(text, add_special_tokens=False).input_ids for text in texts]
    vectors = torch.stack([_weighted_mean(embeddings[i]) for i in ids]) - centre
    return LabelEmbeddings(
        vectors=nn.functional.normalize(vectors, dim=-1),
        rows={g: torch.tensor([position[label] for label in labels]) for g, labels in groups.items()},
        index={g: {label: i for i, label in enumerate(labels)} for g, labels in groups.items()},
        centre=centre,
        norm=float((embeddings - centre).norm(dim=-1).mean()),
    )


def _weighted_mean(tokens: torch.Tensor) -> torch.Tensor:
    """Mean of tokens (n, hidden), each weighing TOKEN_DECAY times the one before it."""
    weight = TOKEN_DECAY ** torch.arange(len(tokens))[:, None]
    return (tokens * weight).sum(0) / weight.sum()


def frame_targets(clip: TrainingClip, group: str, index: dict[str, int], count: int) -> np.ndarray:
    """Target index of each of `count` frames in a group, -100 where nothing is known."""
    target = np.full(count, -100)
    annotations = [annotation for annotation in clip.annotations if annotation.group == group]
    if group == "content" and annotations:
        target[: clip.tokens] = index[NOTHING]
    for annotation in annotations:
        first, end = int(annotation.start * FRAME_RATE), int(annotation.end * FRAME_RATE)
        if annotation.label in index:
            target[first : max(end, first + 1)] = index[annotation.label]
        elif group == "content":
            target[first:end] = -100
    target[clip.tokens :] = -100
    return target


def clip_targets(batch: Iterable[TrainingClip], group: str, index: dict[str, int]) -> np.ndarray:
    """Target index of each clip in a group, -100 where the clip has no annotation of it."""
    labels = [next((a.label for a in clip.annotations if a.group == group), None) for clip in batch]
    return np.array([index.get(label, -100) for label in labels])


def alignment_loss(
    frames: torch.Tensor, batch: Sequence[TrainingClip], labels: LabelEmbeddings
) -> tuple[torch.Tensor, dict]:
    """Sum over groups of the mean cross-entropy of cosine logits; and (right, all) per group.

    `frames` (batch, T, hidden) are projected audio frames, centred.
    """
    logits = SCALE * nn.functional.normalize(frames.float(), dim=-1) @ labels.vectors.T
    inside = torch.arange(frames.shape[1])[None, :] < torch.tensor([clip.tokens for clip in batch])[:, None]
    mean = (frames.float() * inside[..., None]).sum(1) / inside.sum(1, keepdim=True)
    clip_logits = SCALE * nn.functional.normalize(mean, dim=-1) @ labels.vectors.T
    total, counts = frames.new_zeros((), dtype=torch.float32), {}
    for group in (*FRAME_GROUPS, *CLIP_GROUPS):
        index = labels.index[group]
        if group in FRAME_GROUPS:
            target = np.concatenate([frame_targets(clip, group, index, frames.shape[1]) for clip in batch])
            scores = logits.flatten(0, 1)
        else:
            target, scores = clip_targets(batch, group, index), clip_logits
        labelled = torch.from_numpy(np.flatnonzero(target >= 0))
        if len(labelled):
            target_labels = torch.from_numpy(target)[labelled]
            logits_of_group = scores[labelled][:, labels.rows[group]]
            total = total + nn.functional.cross_entropy(logits_of_group, target_labels)
            counts[group] = (int((logits_of_group.argmax(-1) == target_labels).sum()), len(target_labels))
    return total, counts
