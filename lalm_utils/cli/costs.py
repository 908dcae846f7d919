"""How much arithmetic and memory traffic asking a Qwen2-Audio takes, by formula, from its configuration alone.

In: a configuration of transformers' Qwen2-Audio and the size of a workload. Out: floating-point operations (FLOPs)
and bytes. It knows no tensors and measures nothing.

FLOPs are two per multiply-add of every matrix product and convolution that has to be done; what is small beside
them (norms, activations, rotations, softmax, biases) is left out. Of causal attention the lower triangle counts,
and padding does not count. Bytes are what a step has to move at least: each weight once, each key and value that
is seen once, and those that are added. An implementation that copies its cache moves more, and so reaches less of
the limit.

With h the width, f the feed-forward width, a the heads' total width, k that of keys (or values), V the vocabulary:

    weights of a layer         W = 2ha + 2hk + 3hf
    reading s tokens           2 (s L W + L a s (s + 1) + h V)         the head at the last token only
    one more token, c seen     2 (L W + 2 L a c + h V)
    a clip in the tower        2 (3 m d 2P + 3 d d P + N (P (4dd + 2df) + 2 d P P) + d h P/2)
    a step's bytes             b (L W + h V + 2 L k (tokens seen + tokens added))

where the tower has N layers, width d, feed-forward width f, m mel bins, and P positions for the clip, and b is bytes
a number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What is asked in a benchmark of speed: synthetic questions, all alike. ValueError for what none can be."""

    clip_seconds: float = 10.0
    text_tokens: int = 100  # of the prompt, beside the clip
    new_tokens: int = 32  # of every reply: none ends early
    samples: int = 5  # replies a prompt in K@N sampling

    def __post_init__(self) -> None:
        if self.clip_seconds < 0.1 or self.text_tokens < 1 or self.new_tokens < 2 or self.samples < 1:
            raise ValueError(
                f"{self}: a clip has at least 0.1 s, a prompt and a sample at least 1, a reply at least 2 tokens."
            )


def tower(config: Any, seconds: float) -> int:
    """FLOPs of one clip of `seconds` through audio tower and projector, over its own length and not the window."""
    audio, width = config.audio_config, config.text_config.hidden_size
    d, length = audio.d_model, min(positions(seconds), audio.max_source_positions)
    convolutions = 3 * audio.num_mel_bins * d * 2 * length + 3 * d * d * length
    layer = length * (4 * d * d + 2 * d * audio.encoder_ffn_dim) + 2 * d * length * length
    return 2 * (convolutions + audio.encoder_layers * layer + d * width * (length // 2))


def positions(seconds: float) -> int:
    """Positions of a clip in the tower: one for two frames of 10 ms, with the few frames kept behind it."""
    return 2 * math.ceil((100 * seconds + 4) / 4)


def prefill(config: Any, tokens: int) -> int:
    """FLOPs of the language model for reading one prompt of `tokens`, audio included, and the head once."""
    text = config.text_config
    products = tokens * text.num_hidden_layers * _layer(text)
    attention = text.num_hidden_layers * _heads(text) * tokens * (tokens + 1)
    return 2 * (products + attention + _head(text))


def decode(config: Any, context: int) -> int:
    """FLOPs of one more token that sees `context` tokens, itself included."""
    text = config.text_config
    attention = 2 * text.num_hidden_layers * _heads(text) * context
    return 2 * (text.num_hidden_layers * _layer(text) + attention + _head(text))


def decode_bytes(config: Any, *, prompt: int, steps: int, batch: int, streams: int, itemsize: int) -> int:
    """Bytes of `steps` steps after `batch` prompts of `prompt` tokens, each with `streams` replies side by side.

    The streams of a prompt share its keys and values, which are read once for all of them.
    """
    text = config.text_config
    weights = text.num_hidden_layers * _layer(text) + _head(text)
    context = sum(prompt + streams * step for step in range(1, steps + 1))
    cache = 2 * text.num_hidden_layers * _keys(text) * batch * (context + streams * steps)
    return itemsize * (steps * weights + cache)


def _layer(text: Any) -> int:
    """Numbers in the matrices of one layer of the language model."""
    h, a, k = text.hidden_size, _heads(text), _keys(text)
    return 2 * h * a + 2 * h * k + 3 * h * text.intermediate_size


def _head(text: Any) -> int:
    return text.hidden_size * text.vocab_size


def _heads(text: Any) -> int:
    return text.num_attention_heads * _head_width(text)


def _keys(text: Any) -> int:
    return (text.num_key_value_heads or text.num_attention_heads) * _head_width(text)


def _head_width(text: Any) -> int:
    return getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
