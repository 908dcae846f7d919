"""A Qwen2-Audio of a few thousand random weights, for unit tests: made in milliseconds, nothing downloaded.

It is no model to measure anything with. Real classes, a tokenizer of the words below, a 2 s
window.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    GenerationConfig,
    LlamaConfig,
    PreTrainedTokenizerFast,
    Qwen2AudioConfig,
    Qwen2AudioEncoderConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    WhisperFeatureExtractor,
)

from lalm_utils.audio import RATE, write_clip
from lalm_utils.finetuning.idk_data import Example
from lalm_utils.items import Item
from lalm_utils.models import Prompt, Turn

OPTIONS = ("a dog barks", "bell", "the cat meows and then it rings", "rain")

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|audio_bos|>",
    "<|AUDIO|>",
    "<|audio_eos|>",
    "[UNK]",
)
TEXTS = (
    "system user assistant You are a helpful . Audio 1 2 3 : What do you hear ?",
    "Which sound is it dog bell cat rain the second first one loud quiet",
    "Reply with option of animal barks meows rings and then",
)
WINDOW_SECONDS = 2


def save_tiny(folder: Path, *, seed: int = 0, deaf: bool = False) -> Path:
    """Save model and processor into `folder`. `deaf`: a projector of zeros, so that audio changes nothing."""
    tokenizer = tiny_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2AudioForConditionalGeneration(tiny_config(tokenizer)).eval()
        for parameter in model.parameters():  # larger than the default, so that no two logits nearly tie
            if parameter.ndim > 1:
                parameter.data.normal_(0, 0.3)
    if deaf:
        model.model.multi_modal_projector.linear.weight.data.zero_()
    # what the hub's file of the instruct model is said to hold: traps for a greedy run
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=0.7,
        top_p=0.5,
        top_k=20,
        repetition_penalty=1.1,
        eos_token_id=0,
        pad_token_id=0,
    )
    model.save_pretrained(folder)
    extractor = WhisperFeatureExtractor(
        feature_size=16, chunk_length=WINDOW_SECONDS, return_attention_mask=True
    )
    Qwen2AudioProcessor(feature_extractor=extractor, tokenizer=tokenizer).save_pretrained(folder)
    return folder


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Word level; pads to the right unless told otherwise, as a fresh tokenizer does."""
    words = [*SPECIAL, *dict.fromkeys(" ".join(TEXTS).split())]
    backend = Tokenizer(
        models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]")
    )
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token="[UNK]",
        additional_special_tokens=list(SPECIAL[1:6]),
    )


def tiny_config(tokenizer: PreTrainedTokenizerFast) -> Qwen2AudioConfig:
    """Two layers each side; grouped query attention, as in the real ones."""
    audio = Qwen2AudioEncoderConfig(
        num_mel_bins=16,
        d_model=16,
        encoder_layers=2,
        encoder_attention_heads=2,
        encoder_ffn_dim=32,
        max_source_positions=WINDOW_SECONDS * 50,
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        tie_word_embeddings=False,
    )
    audio_token = tokenizer.convert_tokens_to_ids("<|AUDIO|>")
    return Qwen2AudioConfig(audio_config=audio, text_config=text, audio_token_index=audio_token)


def write_tone(path: Path, hertz: float, seconds: float = 0.5) -> Path:
    """A sine of `hertz` as a clip file."""
    time = np.arange(round(seconds * RATE)) / RATE
    write_clip(path, (0.5 * np.sin(2 * np.pi * hertz * time)).astype(np.float32))
    return path


def ask(text: str, *clips: Path, options: tuple[str, ...] = ()) -> Prompt:
    """A prompt of one user turn."""
    return Prompt(turns=(Turn(role="user", text=text, clips=clips),), options=options)


def idk_examples(place: Path, count: int) -> list[Example]:
    """Of clips, questions and answers of different lengths; the second, fifth and seventh are to be refused."""
    result = []
    for i in range(count):
        item = Item(
            id=f"item-{i}", benchmark="mmau", split="", modality=("sound", "music")[i % 2],
            question="Which sound is it" + " and then" * i + " ?", options=OPTIONS, gold=i % 4,
            clip=write_tone(place / f"{i}.wav", 200 + 90 * i, 0.3 + 0.2 * i),
        )  # fmt: skip
        known = i not in (1, 4, 6)
        result.append(Example(item=item, target=OPTIONS[i % 4] if known else "IDK", known=known))
    return result
