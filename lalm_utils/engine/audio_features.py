"""Each clip through the audio tower once: its embeddings, kept within a budget of bytes.

In: clips. Out: (tokens, width) embeddings as the language model reads them, and prompts with them in place.
It knows the layout of transformers' Qwen2-Audio (audio_tower, multi_modal_projector), and nothing of replies.

A clip costs the tower's plain forward a whole window however short it is, and every time it is asked about: by
every method, sample and agent step. Here the tower runs once a clip, and over the clip's length.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import nn
from transformers import FeatureExtractionMixin

from lalm_utils.audio import RATE, Clip
from lalm_utils.engine.heard_files import HeardFiles, made_by
from lalm_utils.models import ModelError

EDGE = 4  # frames of padding kept behind the longest clip
AT_ONCE = 8  # clips a pass of the tower: more is no faster, and a 30 s window takes memory


class AudioEmbeddings:
    """Embeddings by clip content. `passes` counts the clips that went through the tower."""

    def __init__(
        self,
        core: nn.Module,
        extractor: FeatureExtractionMixin,
        budget: int,
        *,
        folder: str | Path | None = None,
        disk_budget: int = 0,
    ) -> None:
        """`core` has the tower and the projector; `budget` is in bytes, on the model's device. With a `folder`, what
        was heard is also kept there, in `disk_budget` bytes, for other processes and later runs."""
        self.core, self.extractor, self.budget = core, extractor, budget
        self.files = None
        if folder is not None:
            made = made_by(core.audio_tower, core.multi_modal_projector, settings=extractor.to_json_string())
            self.files = HeardFiles(Path(folder).expanduser() / made[:32], disk_budget)
        self.kept: OrderedDict[str, torch.Tensor] = OrderedDict()
        self.passes = self.size = 0

    @torch.inference_mode()
    def of(self, clips: Sequence[Clip]) -> dict[str, torch.Tensor]:
        """(tokens, width) by SHA-256 of each clip, about 25 tokens a second."""
        wanted = {clip.sha256: clip for clip in clips}
        found = {sha: self.kept[sha] for sha in wanted if sha in self.kept}
        found |= self._read(sha for sha in wanted if sha not in found)
        missing = [clip for sha, clip in wanted.items() if sha not in found]
        missing.sort(key=lambda clip: len(clip.samples))  # a pass costs as many times its longest clip
        for start in range(0, len(missing), AT_ONCE):
            some = missing[start : start + AT_ONCE]
            fresh = {clip.sha256: heard for clip, heard in zip(some, self._hear(some))}
            found |= fresh
            for sha, heard in fresh.items() if self.files else ():
                self.files.put(sha, heard)
        self._keep(found)
        return found

    def clear(self) -> None:
        """Forget all, files aside: to be called when the tower or the projector has changed."""
        self.kept.clear()
        self.size = 0

    def _read(self, wanted: Iterable[str]) -> dict[str, torch.Tensor]:
        files, device = self.files, self.core.audio_tower.device
        there = {sha: files.get(sha) for sha in wanted} if files else {}
        return {sha: heard.to(device) for sha, heard in there.items() if heard is not None}

    def _hear(self, clips: Sequence[Clip]) -> list[torch.Tensor]:
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
        features = mel["input_features"][..., : _whole(int(frames.max()) + EDGE)]
        features = features.to(device=tower.device, dtype=tower.dtype)
        embeddings = self.core.multi_modal_projector(encode(tower, features, frames.to(tower.device)))
        self.passes += len(clips)
        # copies, so that a short clip does not keep its whole window alive
        return [embedding[:count].clone() for embedding, count in zip(embeddings, counts.tolist())]

    def _samples(self, longest: int) -> int:
        """How many samples to make a spectrogram of: what the tower is given, and as much as the last frame reaches.

        The extractor would take a whole window, which doubles the time that hearing a clip of 5 s takes.
        """
        hop, reach = self.extractor.hop_length, self.extractor.n_fft
        return min(self.extractor.n_samples, _whole(longest // hop + 1 + EDGE) * hop + reach)

    def _keep(self, found: dict[str, torch.Tensor]) -> None:
        for sha, embedding in found.items():
            if sha not in self.kept:
                self.kept[sha] = embedding
                self.size += embedding.nbytes
            self.kept.move_to_end(sha)
        while self.size > self.budget:
            self.size -= self.kept.popitem(last=False)[1].nbytes


def encode(tower: nn.Module, mel: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """The audio tower on clips shorter than its window: mel (batch, 80, T) -> (batch, about T/4, d_model).

    `frames` (batch,) counts each clip's frames of signal; T exceeds the longest by EDGE, so that the convolutions
    see what they see in a whole window. The tower's own forward insists on the window (30 s), of which a clip
    mostly fills a part; this runs the same modules over T frames, with the same mask over padding.
    """
    hidden = nn.functional.gelu(tower.conv1(mel))
    hidden = nn.functional.gelu(tower.conv2(hidden)).transpose(1, 2)
    hidden = hidden + tower.embed_positions.weight[: hidden.shape[1]]
    places = torch.arange(hidden.shape[1], device=hidden.device)
    padding = places[None, :] >= ((frames - 1) // 2 + 1)[:, None]
    mask = torch.zeros(padding.shape, dtype=hidden.dtype, device=hidden.device)
    mask = mask.masked_fill(padding, torch.finfo(hidden.dtype).min)[:, None, None, :]
    for layer in tower.layers:
        hidden = layer(hidden, mask)
    pooled = tower.avg_pooler(hidden.transpose(1, 2)).transpose(1, 2)
    return tower.layer_norm(pooled)


def _whole(frames: int) -> int:
    """`frames` up to a multiple of four, two convolution and two pooling strides."""
    return frames + -frames % 4


def spread(ids: Sequence[int], audio_token: int, counts: Sequence[int]) -> list[int]:
    """`ids` with the i-th audio token repeated `counts[i]` times; ModelError unless there is one for each."""
    places = [place for place, token in enumerate(ids) if token == audio_token]
    if len(places) != len(counts):
        raise ModelError(
            f"{len(places)} audio tokens in the prompt for {len(counts)} clips: check the chat template"
        )
    if counts and min(counts) < 1:
        raise ModelError("a clip without audio tokens would be answered from the text alone")
    spread_out: list[int] = []
    for start, end, count in zip([-1, *places], [*places, len(ids)], [0, *counts]):
        spread_out += [audio_token] * count + list(ids[start + 1 : end])
    return spread_out
