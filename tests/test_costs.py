"""FLOPs and bytes by formula: by hand for one layer, and against what torch counts as it runs a model."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from lalm_utils.cli import costs
from lalm_utils.cli.costs import Workload
from lalm_utils.engine.prefix_cache import LENGTH_STEP

# A tower and a language model of one layer each, small enough to count on paper.
ONE_LAYER = SimpleNamespace(
    audio_config=SimpleNamespace(
        num_mel_bins=3, d_model=2, encoder_layers=1, encoder_ffn_dim=4, max_source_positions=4
    ),
    text_config=SimpleNamespace(
        hidden_size=4, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1,
        vocab_size=10,
    ),
)  # fmt: skip
# queries 4x4, keys 4x2, values 4x2, output 4x4, three of 4x8 in the feed-forward part
LAYER, HEAD = 16 + 8 + 8 + 16 + 96, 40


def test_reading_three_tokens_by_hand():
    # scores and their use: 4 multiply-adds each for the 1 + 2 + 3 pairs of a token and what it sees
    assert costs.prefill(ONE_LAYER, 3) == 2 * (3 * LAYER + 2 * 4 * 6 + HEAD) == 1040


def test_one_more_token_by_hand():
    assert costs.decode(ONE_LAYER, 5) == 2 * (LAYER + 2 * 4 * 5 + HEAD) == 448


def test_a_window_of_the_tower_by_hand():
    # 8 frames of 3 bins, then 4 places, by kernels of width 3; four 2x2 and two 2x4 matrices; 4x4 pairs; 2 to 4 wide
    convolutions = 8 * 3 * 3 * 2 + 4 * 3 * 2 * 2
    layer = 4 * (4 * 4 + 2 * 8) + 2 * 2 * 16
    assert costs.tower(ONE_LAYER, 1) == 2 * (convolutions + layer + 2 * 2 * 4) == 800


@pytest.mark.parametrize("streams, kept", [(1, (4 + 5) + 2), (3, (6 + 9) + 6)])
def test_two_steps_bytes_by_hand(streams, kept):
    # two numbers (a key and a value, each 2 wide) a token, for two prompts of 3 tokens; the weights twice
    moved = costs.decode_bytes(ONE_LAYER, prompt=3, steps=2, batch=2, streams=streams, itemsize=2)
    assert moved == 2 * (2 * (LAYER + HEAD) + 2 * (2 * 2 * kept))


@pytest.mark.parametrize("tokens", [1, 2, 17])
def test_reading_is_as_much_as_writing_the_same_tokens_but_for_the_head(tokens):
    decoding_flops = sum(costs.decode(ONE_LAYER, seen) for seen in range(1, tokens + 1))
    assert costs.prefill(ONE_LAYER, tokens) == decoding_flops - 2 * HEAD * (tokens - 1)


def test_streams_side_by_side_share_the_prompt_and_copies_of_it_would_not():
    shared = costs.decode_bytes(ONE_LAYER, prompt=100, steps=4, batch=1, streams=5, itemsize=2)
    copied = costs.decode_bytes(ONE_LAYER, prompt=100, steps=4, batch=5, streams=1, itemsize=2)
    assert shared < copied / 1.5


@pytest.mark.parametrize(
    "work", [{"clip_seconds": 0.05}, {"text_tokens": 0}, {"new_tokens": 1}, {"samples": 0}]
)
def test_a_workload_that_cannot_be_is_refused(work):
    with pytest.raises(ValueError, match=r"a clip has at least 0\.1 s"):
        Workload(**work)


# ---- against torch's own counter


@pytest.fixture(scope="module")
def rig():
    from lalm_utils.cli.bench_rig import Rig

    small_rig = Rig("tiny", device="cpu", dtype="float32")
    small_rig.engine.model.set_attn_implementation("eager")  # fused attention is not counted on every device
    return small_rig


def count_flops(work) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def test_torch_counts_the_same_for_hearing(rig):
    prompts = rig.questions(3, Workload(clip_seconds=1))
    rig.engine.audio.clear()
    result = count_flops(lambda: rig.engine.audio.of([prompt.clips[0] for prompt in prompts]))
    # beside the tower torch sees the spectrograms being made: 16 filters of 201 frequencies over 100 frames of signal
    # and 10 behind them, where the whole window would have 200
    spectrogram = 2 * 16 * 201 * 110
    assert result == pytest.approx(3 * (costs.tower(rig.config, 1) + spectrogram), rel=1e-3)


def test_torch_counts_the_same_for_reading_but_for_the_upper_triangle(rig):
    (short,) = rig.questions(1, Workload(clip_seconds=1, text_tokens=20))
    (embeddings,) = rig.engine.audio.of(short.clips).values()
    text_tokens = (
        20 + -(20 + len(embeddings)) % LENGTH_STEP
    )  # prompts of a length that is read without padding
    prompts = rig.questions(2, Workload(clip_seconds=1, text_tokens=text_tokens))
    rig.engine.audio.of([prompt.clips[0] for prompt in prompts])
    tokens = text_tokens + len(embeddings)
    text = rig.config.text_config
    upper = 2 * text.num_hidden_layers * text.hidden_size * tokens * (tokens - 1)
    result = count_flops(lambda: rig.engine.prefill(prompts))
    assert result == pytest.approx(2 * (costs.prefill(rig.config, tokens) + upper), rel=1e-3)


def test_torch_counts_the_same_for_replying(rig):
    from lalm_utils.engine.generation import Generator
    from lalm_utils.models import Decoding

    prefill = rig.engine.prefill(rig.questions(2, Workload(clip_seconds=1, text_tokens=20)))
    tokens = prefill.mask.shape[1]
    generator = Generator(rig.engine.decoder, Decoding(max_new_tokens=4), ends=rig.engine.ends)
    generator.add(prefill, uniform=None)
    result = count_flops(generator.run)
    decoding_flops = sum(costs.decode(rig.config, tokens + step) for step in range(1, 4))
    assert result == pytest.approx(2 * decoding_flops, rel=1e-3)


def test_the_real_shape_has_the_real_models_weights():
    import torch
    from transformers import AutoModelForMultimodalLM

    from lalm_utils.cli.bench_rig import SHAPES

    config = SHAPES["qwen2-audio-7b"]()
    with torch.device("meta"):
        model = AutoModelForMultimodalLM.from_config(config, dtype=torch.bfloat16)
    assert 8.39e9 < sum(parameter.numel() for parameter in model.parameters()) < 8.41e9
    tower = sum(parameter.numel() for parameter in model.model.audio_tower.parameters())
    assert 0.63e9 < tower < 0.65e9, "Whisper large-v3's encoder"
    matrices = [p for p in model.model.language_model.layers.parameters() if p.ndim == 2]
    n_weights = sum(matrix.numel() for matrix in matrices) + model.lm_head.weight.numel()
    assert costs.decode_bytes(config, prompt=1, steps=1, batch=0, streams=1, itemsize=2) == 2 * n_weights
