"""Tiny models of random weights, one for each family of audio language models, of the real classes.

They are saved as the hub keeps them, made in a second, and no model to measure anything with. Where a processor
also sees, its files name an image processor, as the hub's do, and no test may need one.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import transformers as t
from safetensors.torch import save_file
from tiny import TEXTS
from tokenizers import Tokenizer, models, pre_tokenizers

from lalm_utils.engine.families import family_of

SECONDS = 4  # the window of Whisper's extractor here: 400 frames
WORDS = list(dict.fromkeys(" ".join(TEXTS).split()))
ENDS = {"turn_token": "<|im_start|>"}
QWEN = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for part in m.content %}{% if part.type == 'audio' %}"
    "AUDIO{% else %}{{ part.text }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# the hub's writes the beginning of the text itself, and joins strings, so that a list of parts is an error
GRANITE = (
    "{% for m in messages %}{{ '<|start_of_role|>' + m.role + '<|end_of_role|>' + m.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|start_of_role|>assistant<|end_of_role|>{% endif %}"
)
GEMMA = "{{ bos_token }}" + QWEN
EYES = {"image_processor_type": "Qwen2VLImageProcessor", "image_mean": [0.5, 0.5, 0.5], "merge_size": 2}


@dataclass(frozen=True, kw_only=True)
class Tiny:
    """A family's tiny model, and what is known of it without asking it."""

    save: Callable[[Path], object]
    mark: str  # what stands for a clip
    tokens: tuple[int, int, int]  # audio tokens of clips of 0.5, 1.0 and 3.3 s, by the family's arithmetic
    model_type: str
    kind: str  # the class that replies

    @property
    def lacks(self) -> list[str]:
        """Packages without which neither transformers nor we can load this family."""
        return [name for name in family_of(self.model_type).needs if find_spec(name) is None]


def words(named: dict[str, str], *, bos: str | None = None, last: tuple[str, ...] = ()) -> Any:
    """A tokenizer of the words of `tiny`, with `named` special tokens; `last` come at the end."""
    special = ["<|endoftext|>", "<|im_end|>", "[UNK]", *([bos] if bos else []), *named.values()]
    vocabulary = list(dict.fromkeys([word for word in [*special, *WORDS] if word not in last])) + list(last)
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return t.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token="[UNK]",
        bos_token=bos,
        extra_special_tokens=named,
    )


def whisper() -> Any:
    return t.WhisperFeatureExtractor(feature_size=16, chunk_length=SECONDS, return_attention_mask=True)


def text(tokenizer: Any, **more: Any) -> dict[str, Any]:
    """Two layers, grouped query attention, no tied embeddings."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "tie_word_embeddings": False,
    } | more


def tower(**more: Any) -> dict[str, Any]:
    """A Whisper-like tower of two layers, by the names of its newer configurations."""
    return {
        "num_mel_bins": 16,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_source_positions": SECONDS * 50,
    } | more


def random_model(kind: type, config: Any, *, loudness: float = 0.3) -> Any:
    """A model of `kind` whose weights are larger than the default, so that no two logits nearly tie."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = kind(config).eval()
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.data.normal_(0, loudness)
    return model


def save_parts(folder: Path, tokenizer: Any, ears: Any, template: str, **facts: Any) -> None:
    """Tokenizer, extractor and template as three files; `facts` go to preprocessor_config.json."""
    tokenizer.save_pretrained(folder)
    ears.save_pretrained(folder)
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))
    if template:
        (folder / "chat_template.jinja").write_text(template)


def audio_ids(tokenizer: Any, *names: str) -> dict[str, int]:
    """Configuration entries "<name>_id" from the tokenizer's named tokens."""
    return {f"{name}_id": tokenizer.convert_tokens_to_ids(getattr(tokenizer, name)) for name in names}


OMNI = {
    "image_token": "<|IMAGE|>",
    "audio_token": "<|AUDIO|>",
    "video_token": "<|VIDEO|>",
    "vision_bos_token": "<|vision_bos|>",
    "vision_eos_token": "<|vision_eos|>",
    "audio_bos_token": "<|audio_bos|>",
    "audio_eos_token": "<|audio_eos|>",
}
OMNI_TEMPLATE = QWEN.replace("AUDIO", "<|audio_bos|><|AUDIO|><|audio_eos|>")


def qwen2_audio(folder: Path) -> None:
    tokens = {key: OMNI[key] for key in ("audio_token", "audio_bos_token", "audio_eos_token")}
    tokenizer = words(ENDS | tokens)
    audio = t.Qwen2AudioEncoderConfig(
        num_mel_bins=16,
        d_model=16,
        encoder_layers=2,
        encoder_attention_heads=2,
        encoder_ffn_dim=32,
        max_source_positions=SECONDS * 50,
    )
    config = t.Qwen2AudioConfig(
        audio_config=audio,
        text_config=t.Qwen2Config(**text(tokenizer)),
        audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
    )
    random_model(t.Qwen2AudioForConditionalGeneration, config).save_pretrained(folder)
    processor = t.Qwen2AudioProcessor(whisper(), tokenizer, chat_template=OMNI_TEMPLATE)
    processor.save_pretrained(folder)


def omni(folder: Path, prefix: str, thinker: Any, whole: type, tokenizer: Any, **talker: Any) -> None:
    """Save a thinker as part of a whole that also speaks: the speaking part is in the files, as on the hub."""
    model = random_model(getattr(t, f"{prefix}ThinkerForConditionalGeneration"), thinker)
    model.save_pretrained(folder)
    (folder / "model.safetensors").unlink()
    weights = {}
    for name, value in model.state_dict().items():
        name = name.replace("model.language_model.", "model.").replace("model.audio_tower.", "audio_tower.")
        weights["thinker." + name.replace("model.visual.", "visual.")] = value.contiguous()
    weights["talker.model.norm.weight"] = torch.ones(4)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    whole(thinker_config=thinker.to_dict(), talker_config=talker).save_pretrained(folder)
    save_parts(folder, tokenizer, whisper(), OMNI_TEMPLATE, processor_class=f"{prefix}Processor", **EYES)


OMNI_AUDIO = {
    "num_mel_bins": 16, "d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 32,
    "max_source_positions": SECONDS * 50, "output_dim": 32,
}  # fmt: skip
OMNI_VISION = {"depth": 1, "hidden_size": 16, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 32}


def qwen2_5_omni(folder: Path) -> None:
    tokenizer = words(ENDS | OMNI)
    ids = audio_ids(tokenizer, *OMNI)
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 1, 1]}
    thinker = t.Qwen2_5OmniThinkerConfig(
        audio_config=OMNI_AUDIO,
        vision_config=OMNI_VISION | {"fullatt_block_indexes": [0]},
        text_config=text(tokenizer, rope_parameters=rope),
        audio_token_index=ids["audio_token_id"],
        image_token_index=ids["image_token_id"],
        video_token_index=ids["video_token_id"],
        audio_start_token_id=ids["audio_bos_token_id"],
        audio_end_token_id=ids["audio_eos_token_id"],
        vision_start_token_id=ids["vision_bos_token_id"],
    )
    omni(folder, "Qwen2_5Omni", thinker, t.Qwen2_5OmniConfig, tokenizer, vocab_size=152064)


def qwen3_omni_moe(folder: Path) -> None:
    tokenizer = words(ENDS | OMNI)
    ids = audio_ids(tokenizer, *OMNI)
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 1, 1], "mrope_interleaved": True}
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "head_dim": 8}
    thinker = t.Qwen3OmniMoeThinkerConfig(
        audio_config=OMNI_AUDIO | {"downsample_hidden_size": 8, "n_window_infer": 200},
        vision_config=OMNI_VISION | {"deepstack_visual_indexes": [0], "num_position_embeddings": 16},
        text_config=text(tokenizer, rope_parameters=rope, **experts),
        audio_token_id=ids["audio_token_id"],
        image_token_id=ids["image_token_id"],
        video_token_id=ids["video_token_id"],
        audio_start_token_id=ids["audio_bos_token_id"],
        vision_start_token_id=ids["vision_bos_token_id"],
    )
    omni(folder, "Qwen3OmniMoe", thinker, t.Qwen3OmniMoeConfig, tokenizer)


def audioflamingo3(folder: Path) -> None:
    tokenizer = words(ENDS | {"audio_token": "<sound>"})
    config = t.AudioFlamingo3Config(
        audio_config=t.AudioFlamingo3EncoderConfig(**tower()),
        text_config=t.Qwen2Config(**text(tokenizer)),
        **audio_ids(tokenizer, "audio_token"),
    )
    random_model(t.AudioFlamingo3ForConditionalGeneration, config).save_pretrained(folder)
    template = QWEN.replace("AUDIO", "<sound>")
    t.AudioFlamingo3Processor(
        whisper(), tokenizer, chat_template=template, max_audio_len=3 * SECONDS
    ).save_pretrained(folder)


def musicflamingo(folder: Path) -> None:
    tokens = {
        "audio_token": "<sound>",
        "audio_bos_token": "<|sound_bos|>",
        "audio_eos_token": "<|sound_eos|>",
    }
    tokenizer = words(ENDS | tokens)
    config = t.MusicFlamingoConfig(
        audio_config=t.AudioFlamingo3EncoderConfig(**tower(hidden_size=40)),
        text_config=t.Qwen2Config(**text(tokenizer)),
        **audio_ids(tokenizer, *tokens),
    )
    random_model(t.MusicFlamingoForConditionalGeneration, config).save_pretrained(folder)
    template = QWEN.replace("AUDIO", "<sound>")
    t.MusicFlamingoProcessor(
        whisper(), tokenizer, chat_template=template, max_audio_len=3 * SECONDS
    ).save_pretrained(folder)


def tekken(folder: Path) -> int:
    """Write a tekken.json of ASCII's bytes, the audio tokens at 24 and 25 as on the hub; its size."""
    special = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "<pad>", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"]
    special += [f"<SPECIAL_{rank}>" for rank in range(len(special), 24)] + ["[AUDIO]", "[BEGIN_AUDIO]"]
    size = len(special) + 128
    tokens = [base64.b64encode(bytes([rank])).decode() for rank in range(128)]
    content = {
        "config": {
            "pattern": r"\s+|\S+",
            "num_vocab_tokens": 128,
            "default_vocab_size": size,
            "default_num_special_tokens": len(special),
            "version": "v7",
        },
        "vocab": [{"rank": i, "token_bytes": token, "token_str": None} for i, token in enumerate(tokens)],
        "special_tokens": [
            {"rank": i, "token_str": token, "is_control": True} for i, token in enumerate(special)
        ],
    }
    (folder / "tekken.json").write_text(json.dumps(content))
    return size


def voxtral(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    sizes = text(words({})) | {"vocab_size": tekken(folder), "bos_token_id": 1, "eos_token_id": 2}
    config = t.VoxtralConfig(
        audio_config=t.VoxtralEncoderConfig(**tower(intermediate_size=64)),
        text_config=t.LlamaConfig(**sizes | {"pad_token_id": 5}),
        audio_token_id=24,
    )
    random_model(t.VoxtralForConditionalGeneration, config).save_pretrained(folder)
    whisper().save_pretrained(folder)


def granite_speech(folder: Path) -> None:
    tokens = {"audio_token": "<|audio|>", "start": "<|start_of_role|>", "stop": "<|end_of_role|>"}
    tokenizer = words(tokens)
    encoder = {
        "input_dim": 16,
        "num_layers": 2,
        "hidden_dim": 16,
        "num_heads": 2,
        "output_dim": 6,
        "context_size": 20,
        "max_pos_emb": 32,
        "conv_kernel_size": 3,
    }
    projector = t.Blip2QFormerConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        encoder_hidden_size=16,
    )
    config = t.GraniteSpeechConfig(
        text_config=t.GraniteConfig(**text(tokenizer)),
        encoder_config=encoder,
        projector_config=projector,
        audio_token_index=tokenizer.convert_tokens_to_ids("<|audio|>"),
        has_lora_adapter=False,
        tie_word_embeddings=False,
    )
    random_model(t.GraniteSpeechForConditionalGeneration, config).save_pretrained(folder)
    ears = t.GraniteSpeechFeatureExtractor(n_mels=8)
    # the extractor saves the size of its mel bank under another name than it reads it
    save_parts(folder, tokenizer, ears, GRANITE, processor_class="GraniteSpeechProcessor", n_mels=8)


def phi4_multimodal(folder: Path) -> None:
    tokenizer = words(ENDS | {"image_token": "<|image|>", "audio_token": "<|audio|>"})
    ids = audio_ids(tokenizer, "image_token", "audio_token")
    audio = t.Phi4MultimodalAudioConfig(
        hidden_size=16,
        intermediate_size=32,
        num_blocks=2,
        num_attention_heads=2,
        ext_pw_out_channel=16,
        depthwise_separable_out_channel=16,
        nemo_conv_channels=16,
        audio_token_id=ids["audio_token_id"],
    )
    vision = t.Phi4MultimodalVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=28,
        crop_size=28,
        image_token_id=ids["image_token_id"],
    )
    config = t.Phi4MultimodalConfig(**text(tokenizer), audio_config=audio, vision_config=vision)
    random_model(t.Phi4MultimodalForCausalLM, config).save_pretrained(folder)
    template, eyes = (
        QWEN.replace("AUDIO", "<|audio|>"),
        {"image_processor_type": "Phi4MultimodalImageProcessor"},
    )
    ears = t.Phi4MultimodalFeatureExtractor()
    save_parts(folder, tokenizer, ears, template, processor_class="Phi4MultimodalProcessor", **eyes)


GEMMA_NAMES = {
    "image_token": "<image_soft_token>",
    "audio_token": "<audio_soft_token>",
    "boi_token": "<start_of_image>",
    "eoi_token": "<end_of_image>",
    "boa_token": "<start_of_audio>",
    "eoa_token": "<end_of_audio>",
}
GEMMA_TEMPLATE = GEMMA.replace("AUDIO", "<audio_soft_token>")


def gemma3n(folder: Path) -> None:
    # the hub's order: text, then four tokens of the image's vocabulary, then four of the clip's
    late = ("<end_of_image>", "<image_soft_token>", "<i2>", "<i3>", "<end_of_audio>", "<audio_soft_token>")
    tokenizer = words(ENDS | GEMMA_NAMES, bos="<bos>", last=(*late, "<a2>", "<a3>"))
    ids, offset = audio_ids(tokenizer, *GEMMA_NAMES), len(tokenizer) - 8
    ids["boi_token_id"], ids["boa_token_id"] = ids["boi_token_id"], ids["boa_token_id"]
    config = t.Gemma3nConfig(
        text_config=text(
            tokenizer,
            head_dim=8,
            vocab_size_per_layer_input=offset,
            hidden_size_per_layer_input=8,
            num_kv_shared_layers=0,
            laurel_rank=4,
            layer_types=["sliding_attention", "full_attention"],
        ),
        vision_config=t.Gemma3nVisionConfig(
            architecture="mobilenetv3_small_050", hidden_size=16, vocab_size=4, vocab_offset=offset
        ),
        audio_config=t.Gemma3nAudioConfig(
            vocab_size=4,
            vocab_offset=offset + 4,
            input_feat_size=16,
            hidden_size=16,
            conf_num_attention_heads=2,
            conf_num_hidden_layers=2,
            sscp_conv_channel_size=(8, 4),
        ),
        **ids,
    )
    random_model(t.Gemma3nForConditionalGeneration, config).save_pretrained(folder)
    ears = t.Gemma3nAudioFeatureExtractor(feature_size=16)
    eyes = {"image_processor_type": "SiglipImageProcessor", "processor_class": "Gemma3nProcessor"}
    save_parts(folder, tokenizer, ears, GEMMA_TEMPLATE, **eyes)


def gemma4_text(tokenizer: Any, **more: Any) -> dict[str, Any]:
    kinds = ["sliding_attention", "full_attention"]
    return text(tokenizer, head_dim=8, global_head_dim=8, layer_types=kinds, **more)


def gemma4(folder: Path) -> None:
    tokenizer = words(ENDS | GEMMA_NAMES | {"video": "<|video|>"}, bos="<bos>")
    ids = audio_ids(tokenizer, "image_token", "audio_token", "boi_token", "eoi_token", "boa_token")
    more = {"vocab_size_per_layer_input": len(tokenizer), "hidden_size_per_layer_input": 8}
    config = t.Gemma4Config(
        text_config=gemma4_text(tokenizer, **more),
        vision_config=None,
        audio_config=t.Gemma4AudioConfig(
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            subsampling_conv_channels=[16, 4],
            output_proj_dims=16,
        ),
        video_token_id=tokenizer.convert_tokens_to_ids("<|video|>"),
        tie_word_embeddings=False,
        **ids,
    )
    random_model(t.Gemma4ForConditionalGeneration, config).save_pretrained(folder)
    ears = t.Gemma4AudioFeatureExtractor(feature_size=16)
    eyes = {"image_processor_type": "Gemma4ImageProcessor", "processor_class": "Gemma4Processor"}
    save_parts(folder, tokenizer, ears, GEMMA_TEMPLATE, **eyes)


def gemma4_unified(folder: Path) -> None:
    tokenizer = words(ENDS | GEMMA_NAMES | {"video": "<|video|>"}, bos="<bos>")
    ids = audio_ids(tokenizer, "image_token", "audio_token", "boi_token", "eoi_token", "boa_token")
    config = t.Gemma4UnifiedConfig(
        text_config=gemma4_text(tokenizer),
        vision_config=None,
        audio_config=t.Gemma4UnifiedAudioConfig(),
        video_token_id=tokenizer.convert_tokens_to_ids("<|video|>"),
        tie_word_embeddings=False,
        **ids,
    )
    random_model(t.Gemma4UnifiedForConditionalGeneration, config).save_pretrained(folder)
    ears = t.Gemma4UnifiedAudioFeatureExtractor()
    eyes = {
        "image_processor_type": "Gemma4UnifiedImageProcessor",
        "processor_class": "Gemma4UnifiedProcessor",
    }
    save_parts(folder, tokenizer, ears, GEMMA_TEMPLATE, **eyes)


def _tiny(save: Callable[[Path], object], mark: str, tokens: tuple[int, int, int], kind: str) -> Tiny:
    return Tiny(save=save, mark=mark, tokens=tokens, model_type=save.__name__, kind=kind)


QWENS = (12, 25, 82)  # 100 frames a second, halved twice
FAMILIES = {
    tiny.model_type: tiny
    for tiny in (
        _tiny(qwen2_audio, "<|AUDIO|>", QWENS, "Qwen2AudioForConditionalGeneration"),
        _tiny(qwen2_5_omni, "<|AUDIO|>", QWENS, "Qwen2_5OmniThinkerForConditionalGeneration"),
        # 13 a second, of whole seconds; what is left is halved three times, rounding up
        _tiny(qwen3_omni_moe, "<|AUDIO|>", (7, 13, 43), "Qwen3OmniMoeThinkerForConditionalGeneration"),
        _tiny(audioflamingo3, "<sound>", QWENS, "AudioFlamingo3ForConditionalGeneration"),
        _tiny(musicflamingo, "<sound>", QWENS, "MusicFlamingoForConditionalGeneration"),
        # whole windows of 4 s, at 12.5 a second
        _tiny(voxtral, "[AUDIO]", (50, 50, 50), "VoxtralForConditionalGeneration"),
        # 50 states a second, one more frame than time; three tokens for each 15 states begun
        _tiny(granite_speech, "<|audio|>", (6, 12, 33), "GraniteSpeechForConditionalGeneration"),
        # frames of 25 ms every 10 ms, an eighth of them, rounding up
        _tiny(phi4_multimodal, "<|audio|>", (6, 13, 41), "Phi4MultimodalForCausalLM"),
        _tiny(gemma3n, "<audio_soft_token>", (188, 188, 188), "Gemma3nForConditionalGeneration"),
        # frames of 20 ms every 10 ms whose last sample is heard, halved twice, rounding up
        _tiny(gemma4, "<audio_soft_token>", (13, 25, 83), "Gemma4ForConditionalGeneration"),
        # 40 ms of samples each
        _tiny(gemma4_unified, "<audio_soft_token>", (13, 25, 83), "Gemma4UnifiedForConditionalGeneration"),
    )
}
