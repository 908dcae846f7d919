from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from lalm_utils.engine.decoding import float32_head
from lalm_utils.engine.sampling import BLOCK, sample_token, uniforms


def test_the_logits_of_a_bfloat16_head_are_not_rounded_to_bfloat16():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head = nn.Linear(64, 500, bias=False).to(torch.bfloat16)
        head.weight.data.normal_(0, 1)
        hidden = torch.randn(3, 2, 64).to(torch.bfloat16)
    exact = nn.functional.linear(hidden.double(), head.weight.double())
    assert (head(hidden).double() - exact).abs().max() > 0.01
    logits = float32_head(head)(hidden)
    assert (logits.dtype, logits.shape) == (torch.float32, (3, 2, 500))
    torch.testing.assert_close(logits.double(), exact, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize(
    "head", [nn.Linear(4, 9), nn.Linear(4, 9, bias=False), nn.Sequential(nn.Linear(4, 9))]
)
def test_other_heads_are_used_as_they_are(head):
    hidden = torch.ones(2, 4)
    torch.testing.assert_close(float32_head(head)(hidden), head(hidden))


def test_uniform_numbers_depend_on_seed_content_and_sample_alone():
    three = uniforms(0, "a prompt", (0, 1, 2), 8)
    assert three.shape == (3, 8)
    np.testing.assert_array_equal(uniforms(0, "a prompt", (2,), 8)[0], three[2])
    np.testing.assert_array_equal(uniforms(0, "a prompt", (0,), 3)[0], three[0, :3])
    for other in (uniforms(1, "a prompt", (0,), 8), uniforms(0, "another", (0,), 8)):
        assert not np.intersect1d(other, three).size


def test_uniform_numbers_never_change_since_stored_replies_rest_on_them():
    first = [0.1998146350012343, 0.158769515250054, 0.9439101906968206]
    assert uniforms(0, "", (0,), 3)[0].tolist() == first


def test_uniform_numbers_are_uniform():
    numbers = uniforms(0, "x", range(200), 500).ravel()
    assert 0 <= numbers.min() < 1e-4
    assert 1 - 1e-4 < numbers.max() < 1
    counts, _ = np.histogram(numbers, 20, (0, 1))
    assert np.abs(counts - 5000).max() < 5 * np.sqrt(5000)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_are_sampled_with_the_probabilities_of_the_tempered_softmax(temperature):
    logits = torch.tensor([2.0, 0.0, 1.0, -torch.inf, 0.5])
    uniform = torch.from_numpy(uniforms(0, "x", range(1), 40_000)[0])
    sampled = sample_token(logits.expand(40_000, -1), temperature, uniform)
    expected = torch.softmax(logits / temperature, -1)
    shares = torch.bincount(sampled, minlength=5) / 40_000
    assert shares[3] == 0, "an impossible token is never sampled"
    torch.testing.assert_close(shares, expected, atol=0.01, rtol=0)


@pytest.mark.parametrize("uniform, token", [(0.0, 1), (1 - 2.0**-53, 2)])
def test_the_ends_of_the_interval_do_not_fall_on_impossible_tokens(uniform, token):
    logits = torch.tensor([[-torch.inf, 0.0, 0.0, -torch.inf]])
    assert sample_token(logits, 1.0, torch.tensor([uniform], dtype=torch.float64)).item() == token


@pytest.mark.parametrize("size", [1, BLOCK - 1, BLOCK, BLOCK + 1, 7 * BLOCK + 5])
def test_sampling_by_blocks_gives_what_one_lookup_over_the_vocabulary_gives(size):
    numbers = np.random.default_rng(size)
    logits = torch.from_numpy(numbers.normal(0, 6, (40, 1, size)).astype(np.float32))
    uniform = torch.from_numpy(numbers.random((40, 25)))
    cumulative = torch.softmax(logits, -1).double().cumsum(-1).expand(-1, 25, -1).contiguous()
    target = (uniform * cumulative[..., -1])[..., None]
    expected = torch.searchsorted(cumulative, target, right=True)[..., 0]
    sampled = sample_token(logits, 1.0, uniform)
    assert sampled.shape == (40, 25)
    assert (sampled == expected).float().mean() > 0.998, "but for ties within the rounding of a block's sum"


def test_rare_tokens_of_another_block_are_not_lost_beside_a_likely_one():
    logits = torch.full((1, 2 * BLOCK), -25.0)  # 1.4e-11 each, under float32's resolution beside 1
    logits[0, 3] = 0.0
    target = 1 - 50.5 * np.exp(-25.0) / (1 + (2 * BLOCK - 1) * np.exp(-25.0))
    sampled = sample_token(logits, 1.0, torch.tensor([target], dtype=torch.float64)).item()
    # the likely token's block has lost some 1e-9 by rounding, so the draw may lie that much to the right
    assert sampled >= BLOCK


def test_at_temperature_zero_the_likeliest_token_is_taken():
    assert sample_token(torch.tensor([[0.1, 0.3, 0.2]]), 0.0, None).tolist() == [1]
