"""Replies, likelihoods and fingerprints of the tiny random models, as literals: stored replies are keyed by them.

A change of the engine that is meant to change no reply leaves every number here as it is. They are float32 on a CPU.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import families
import numpy as np
import pytest
from tiny import OPTIONS, ask, save_tiny, write_tone

from lalm_utils.engine import weights
from lalm_utils.load_model import load_model
from lalm_utils.models import Prompt

TEXTS = ("What do you hear ?", "Which sound is it ? dog bell cat rain", "Reply with the option", "loud ?")
DECODING = {
    "greedy": {"max_new_tokens": 12},
    "sampled": {"n": 3, "temperature": 0.8, "first_sample": 2, "max_new_tokens": 12, "seed": 3},
}


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clips")
    return [write_tone(folder / f"{i}.wav", 200 + 170 * i, 0.3 + 0.2 * i) for i in range(6)]


@pytest.fixture(scope="module")
def prompts(clips) -> list[Prompt]:
    """With none, one and two clips; more than a batch, so that the second shares clips with the first."""
    single = [ask(text, clip, options=OPTIONS) for text in TEXTS for clip in clips[:4]]
    two = ask("Which one is the second sound ?", clips[4], clips[5], options=OPTIONS)
    return [*single, two, ask("Are you helpful ?", options=OPTIONS), ask("Is it loud ?", clips[0])]


def digest(replies: list) -> str:
    rows = [[asdict(reply) for reply in samples] for samples in replies]
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()[:16]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(
        save_tiny(tmp_path_factory.mktemp("tiny") / "model"), dtype="float32", device="cpu", batch_size=4
    )


REPLIES = {"greedy": "028b9cee7656a8a0", "sampled": "ef39574a9cf566c5"}


@pytest.mark.parametrize("decoding", DECODING)
def test_replies(model, prompts, decoding):
    assert digest(model.generate(prompts, **DECODING[decoding])) == REPLIES[decoding]


LIKELIHOODS = [
    [-21.5462, -6.5656, -44.5484, -7.2502],
    [-27.8758, -9.4677, -48.1961, -10.2826],
    [-27.0845, -15.2831, -37.604, -8.7364],
    [-19.4418, -8.1517, -38.9435, -10.0099],
]


def test_option_likelihoods(model, prompts):
    scored = [prompts[0], prompts[7], prompts[-3], prompts[-2]]
    np.testing.assert_allclose(np.stack(model.option_logprobs(scored)), LIKELIHOODS, atol=2e-4)


FAMILY_REPLIES = {  # greedy, sampled
    "qwen2_audio": ("0810d4a6162491b3", "85e0b4f8ac00da14"),
    "qwen2_5_omni": ("a5bebc2e833a0638", "722d82309db8425d"),
    "qwen3_omni_moe": ("5e0aaf66504f87af", "29a590c17003cd2b"),
    "audioflamingo3": ("d89166111d4e2769", "9c8c2e48a25cb663"),
    "musicflamingo": ("cb2588c3c0f39336", "17abf252a53da550"),
    "voxtral": ("f26992c7ff6923f2", "0e292a93d92a7206"),
    "phi4_multimodal": ("72a0415fbc9e5632", "30b5fba7c398140b"),
    "gemma4": ("68b266014ef66199", "c3c39497ac680056"),
    "gemma4_unified": ("60b422403e77d9cd", "0d5a7b0c34401e31"),
}


@pytest.mark.parametrize("name", FAMILY_REPLIES)
def test_replies_of_other_families(name, clips, tmp_path):
    tiny = families.FAMILIES[name]
    tiny.save(tmp_path / "model")
    other = load_model(tmp_path / "model", dtype="float32", device="cpu", check=False)
    prompts = [
        *(ask(text, clip, options=OPTIONS) for text, clip in zip(TEXTS, clips)),
        ask("Are you helpful ?"),
    ]
    result = tuple(digest(other.generate(prompts, **settings)) for settings in DECODING.values())
    assert result == FAMILY_REPLIES[name]


def test_fingerprints(model, tmp_path):
    assert model.fingerprint == "bf6ef60cbb1502a826c512308ae808f808d83bdcecbf424fab07debf6c91286b"
    for path, text in {
        "model/config.json": '{"model_type": "x", "torch_dtype": "float16"}',
        "model/tokenizer.json": "{}",
        "model/model.safetensors": "weights",
        "adapter/adapter_config.json": '{"r": 8}',
        "adapter/adapter_model.safetensors": "lora",
    }.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    plain = weights.find(tmp_path / "model")
    adapted = weights.find(tmp_path / "model", adapter=tmp_path / "adapter")
    assert weights.fingerprint(plain, "float32") == (
        "889e8e5a9adf671b26bb03d6edfafa3c558b7da6184c4f883e8ac6c34b65ebfd"
    )
    assert weights.fingerprint(adapted, "bfloat16") == (
        "a6bd662577cd8e65c0b6cf4e9dde220cb58960fb16ebe5c65289ae37693edb65"
    )
    assert weights.fingerprint(adapted, "bfloat16", scale=0.5) == (
        "69878e69ae295daa761381c6750c5c4f7fda21cc4d55ac1de30bae012fcac60e"
    )
