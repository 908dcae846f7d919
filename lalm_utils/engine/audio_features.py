"""Each clip through the audio tower once: embeddings of clips, cached within a budget of bytes.

In: clips. Out: (tokens, width) embeddings as the language model reads them. This needs the layout of transformers'
Qwen2-Audio (audio_tower, multi_modal_projector).

The tower's own forward takes a whole window (30 s) however short the clip is, at every question, sample and agent step.
Here it runs once per clip, over the clip's length, which for a clip of 5 s takes half of the time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import nn
from transformers import FeatureExtractionMixin

from lalm_utils.audio import RATE, Clip
from lalm_utils.models import ModelError

EDGE = 4  # frames of padding after the longest clip
CLIP_BATCH = 8  # clips in one pass of the tower: more is no faster, and a 30 s window takes memory


class AudioEmbeddings:
    """Embeddings by clip content. `passes` counts the clips that went through the tower."""

    def __init__(
        self,
        core: nn.Module,
        extractor: FeatureExtractionMixin,
        budget: int,
        *,
        clip_batch: int = CLIP_BATCH,
        whole_window: bool = False,
    ) -> None:
        """core: has the tower and the projector; budget: bytes, on the model's device; whole_window: compute over the
        window instead of the clip's length, for comparison only."""
        self.core, self.extractor, self.budget = core, extractor, budget
        self.clip_batch, self.whole_window = clip_batch, whole_window
        self.entries: OrderedDict[str, torch.Tensor] = OrderedDict()
        self.passes = self.size = 0

    @torch.inference_mode()
    def of(self, clips: Sequence[Clip]) -> dict[str, torch.Tensor]:
        """(tokens, width) by SHA-256 of each clip, about 25 tokens a second."""
        distinct = {clip.sha256: clip for clip in clips}
        embeddings = {sha: self.entries[sha] for sha in distinct if sha in self.entries}
        missing = [clip for sha, clip in distinct.items() if sha not in embeddings]
        missing.sort(key=lambda clip: len(clip.samples))  # a pass costs as many times its longest clip
        for start in range(0, len(missing), self.clip_batch):
            batch = missing[start : start + self.clip_batch]
            embeddings |= {clip.sha256: fresh for clip, fresh in zip(batch, self._compute(batch))}
        self._insert(embeddings)
        return embeddings

    def clear(self) -> None:
        """Forget all: to be called when the tower or the projector has changed."""
        self.entries.clear()
        self.size = 0

    def _compute(self, clips: Sequence[Clip]) -> list[torch.Tensor]:
        tower = self.core.audio_tower
        mel = self.extractor(
            [clip.samples for clip in clips],
            sampling_rate=RATE,
            padding="max_length",
            max_length=self._samples(max(len(clip.samples) for clip in clips)),
            return_attention_mask=True,
            return_tensors="pt",
        )
        frames = mel["attention_mask"].sum(-1)
        _, counts = tower._get_feat_extract_output_lengths(frames)
        if counts.min() < 1:
            shortest = min(clip.seconds for clip in clips)
            raise ModelError(f"a clip of {shortest:.3f} s gives no audio token: leave it out or pad it")
        features = mel["input_features"]
        if not self.whole_window:
            features = features[..., : _whole(int(frames.max()) + EDGE)]
        features = features.to(device=tower.device, dtype=tower.dtype)
        embeddings = self.core.multi_modal_projector(encode(tower, features, frames.to(tower.device)))
        self.passes += len(clips)
        # copies, so that a short clip does not keep the whole batch alive
        return [embedding[:count].clone() for embedding, count in zip(embeddings, counts.tolist())]

    def _samples(self, longest: int) -> int:
        """How many samples to make a spectrogram of: the frames of the clip, and what the last frame covers.

        The extractor's default is a whole window, which doubles the time for a clip of 5 s.
        """
        hop, reach = self.extractor.hop_length, self.extractor.n_fft
        if self.whole_window:
            return self.extractor.n_samples
        return min(self.extractor.n_samples, _whole(longest // hop + 1 + EDGE) * hop + reach)

    def _insert(self, embeddings: dict[str, torch.Tensor]) -> None:
        for sha, embedding in embeddings.items():
            if sha not in self.entries:
                self.entries[sha] = embedding
                self.size += embedding.nbytes
            self.entries.move_to_end(sha)
        while self.size > self.budget:
            self.size -= self.entries.popitem(last=False)[1].nbytes


def encode(tower: nn.Module, mel: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """The audio tower on clips shorter than its window: mel (batch, 80, T) -> (batch, about T/4, d_model).

    `frames` (batch,) counts each clip's frames of signal; T exceeds the longest by EDGE, so that the convolutions
    see what they see in a whole window. The tower's own forward insists on the window; this runs the same modules over
    T frames, with the same mask over padding.
    """
    hidden = nn.functional.gelu(tower.conv1(mel))
    hidden = nn.functional.gelu(tower.conv2(hidden)).transpose(1, 2)
    hidden = hidden + tower.embed_positions.weight[: hidden.shape[1]]
    positions = torch.arange(hidden.shape[1], device=hidden.device)
    padding = positions[None, :] >= ((frames - 1) // 2 + 1)[:, None]
    mask = torch.zeros(padding.shape, dtype=hidden.dtype, device=hidden.device)
    mask = mask.masked_fill(padding, torch.finfo(hidden.dtype).min)[:, None, None, :]
    for layer in tower.layers:
        hidden = layer(hidden, mask)
    pooled = tower.avg_pooler(hidden.transpose(1, 2)).transpose(1, 2)
    return tower.layer_norm(pooled)


def _whole(frames: int) -> int:
    """`frames` up to a multiple of four, two convolution and two pooling strides."""
    return frames + -frames % 4


def expand_audio_tokens(ids: Sequence[int], audio_token: int, counts: Sequence[int]) -> list[int]:
    """`ids` with the i-th audio token repeated `counts[i]` times; ModelError unless there is one for each."""
    positions = [position for position, token in enumerate(ids) if token == audio_token]
    if len(positions) != len(counts):
        raise ModelError(
            f"{len(positions)} audio tokens in the prompt for {len(counts)} clips: check the chat template"
        )
    if counts and min(counts) < 1:
        raise ModelError("a clip without audio tokens would be answered from the text alone")
    expanded: list[int] = []
    for start, end, count in zip([-1, *positions], [*positions, len(ids)], [0, *counts]):
        expanded += [audio_token] * count + list(ids[start + 1 : end])
    return expanded
