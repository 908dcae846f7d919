"""How families of audio models depart from transformers' usual contract; no released weights were ever loaded here.

In: the `model_type` of a configuration. Out: a `Family`: which classes load it, how much of a clip it takes, and how
texts and clips become tensors. All of it was read in transformers' source and tried on tiny random models.

The usual contract needs no entry in `FAMILIES`: the Auto classes find model and processor, the chat template
writes the processor's `audio_token` once per clip, `processor(text=, audio=)` repeats it once per embedding, and
a left-padded batch gives what single prompts give. Read in transformers 5.23 and, where tests/README.md says so,
tested on tiny models of the real classes:

    qwen2_audio      keeps the contract; 30 s. The only one that `PrefixSharingEngine` runs
    qwen2_5_omni     its class loads a talker and unpickles speakers: the thinker's class reads the same weights.
                     Its processor wants images and video, so torchvision: it is built for audio alone. 300 s
    qwen3_omni_moe   as qwen2_5_omni; pads a batch's clips to its longest, which changed the logits of the others
                     by up to 0.3 of 4 (tiny model): clips of unlike length do not share a batch
    audioflamingo3   not under AutoModelForMultimodalLM; one clip a prompt; windows of 30 s by itself, to 600 s.
    musicflamingo    The same, to 1200 s. Both take `padding=True` for the clips too, and then fail: see
                     `processor_tensors`
    voxtral          mistral-common's tokenizer cannot read special tokens, its template leaves out [BEGIN_AUDIO],
                     and the processor refuses placeholders: the tokenizer is converted, and both are done here
    granite_speech   contents are plain text with placeholders; ships a LoRA that is on exactly when a clip is
                     there; the tower does not mask padding, so clips of unlike length change each other. Needs
                     torchaudio
    phi4_multimodal  as granite_speech, the LoRA in `speech-lora`; no torchaudio, but an image processor.
                     On the hub the layout of transformers is revision "refs/pr/70"
    gemma3n          image processor; 188 tokens whatever the length; 30 s; clips of unlike length changed each
                     other's logits by up to 0.16 of 5 (tiny model), so they do not share a batch. Needs timm,
                     so torchvision
    gemma4           image processor; 30 s. `gemma4_unified` takes samples, without a tower

Tried only as the default, never tested: fun_asr_nano, glmasr, granite_speech_plus, kyutai_speech_to_text,
moss_transcribe_diarize, nemo_speechlm, nemotron_h_omni, minicpmv4_7, qwen3_asr, vibevoice_asr, voxtral_realtime.
Not in transformers, so refused: SALMONN, Kimi-Audio, DeSTA2.5, Step-Audio, MiMo-Audio (serve them, and ask a server).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import FeatureExtractionMixin, ProcessorMixin

from lalm_utils.audio import RATE, Clip
from lalm_utils.engine.audio_features import expand_audio_tokens

WINDOW_SECONDS = 30.0  # where an extractor does not say how much it takes
LONGEST_SECONDS = 600.0  # our bound for families that have none

# Mistral's instruct format; its validator refuses a system turn beside clips before tokenizer version 15.
VOXTRAL_TEMPLATE = (
    "{% set seen = namespace(clips=0) %}"
    "{% for message in messages %}{% for part in message.content %}{% if part.type == 'audio' %}"
    "{% set seen.clips = seen.clips + 1 %}{% endif %}{% endfor %}{% endfor %}"
    "{{ bos_token }}{% for message in messages %}"
    "{% if message.role == 'system' %}"
    "{% if seen.clips %}{{ raise_exception('Voxtral takes no system turn beside a clip.') }}{% endif %}"
    "[SYSTEM_PROMPT]{% for part in message.content %}{{ part.text }}{% endfor %}[/SYSTEM_PROMPT]"
    "{% elif message.role == 'user' %}[INST]{% for part in message.content %}"
    "{% if part.type == 'audio' %}[BEGIN_AUDIO][AUDIO]{% else %}{{ part.text }}{% endif %}{% endfor %}[/INST]"
    "{% else %}{% for part in message.content %}{{ part.text }}{% endfor %}{{ eos_token }}{% endif %}"
    "{% endfor %}"
)
VOXTRAL_FRAMES_PER_TOKEN = 8  # a stride of 2, and 4 states to a token

Batch = Sequence[Sequence[Clip]]  # the clips of each text


def feature_extractor(processor: ProcessorMixin) -> FeatureExtractionMixin | None:
    """The processor's audio feature extractor, under either of its names; None where it has none."""
    return getattr(processor, "feature_extractor", None) or getattr(processor, "audio_processor", None)


def extractor_seconds(processor: ProcessorMixin) -> float:
    """Seconds of a clip that the feature extractor keeps."""
    samples = getattr(feature_extractor(processor), "n_samples", None)
    return samples / RATE if samples else WINDOW_SECONDS


def processor_tensors(processor: ProcessorMixin, texts: Sequence[str], clips: Batch) -> Mapping[str, Any]:
    """Tensors by the processor's own call, left-padded."""
    arrays = [clip.samples for prompt in clips for clip in prompt]
    # by modality: plain `padding` reaches the extractor too, and Audio Flamingo needs whole windows
    audio = {"audio": arrays, "audio_kwargs": {"sampling_rate": RATE}} if arrays else {}
    return processor(
        text=list(texts), text_kwargs=_text_settings(processor, texts), return_tensors="pt", **audio
    )


def voxtral_tensors(processor: ProcessorMixin, texts: Sequence[str], clips: Batch) -> Mapping[str, Any]:
    """Voxtral: a clip is padded to whole windows, its spectrogram is made at once and cut into windows."""
    extractor, tokenizer = processor.feature_extractor, processor.tokenizer
    features = [
        extractor(
            clip.samples,
            sampling_rate=RATE,
            padding=True,
            truncation=False,
            pad_to_multiple_of=extractor.n_samples,
            return_tensors="pt",
        )["input_features"][0]
        for prompt in clips
        for clip in prompt
    ]
    counts = iter(mel.shape[-1] // VOXTRAL_FRAMES_PER_TOKEN for mel in features)
    settings = _text_settings(processor, texts)
    ids = tokenizer(list(texts), add_special_tokens=settings["add_special_tokens"])["input_ids"]
    token = processor.audio_token_id
    rows = [
        expand_audio_tokens(row, token, [next(counts) for _ in prompt]) for row, prompt in zip(ids, clips)
    ]
    tensors = dict(tokenizer.pad({"input_ids": rows}, padding_side="left", return_tensors="pt"))
    if features:
        windows = [mel.unflatten(-1, (-1, extractor.nb_max_frames)).transpose(0, 1) for mel in features]
        tensors["input_features"] = torch.cat(windows)
    return tensors


def _text_settings(processor: ProcessorMixin, texts: Sequence[str]) -> dict[str, Any]:
    bos = processor.tokenizer.bos_token
    has_bos = bool(bos) and all(text.startswith(bos) for text in texts)  # some templates write it
    return {"padding": True, "padding_side": "left", "add_special_tokens": not has_bos}


@dataclass(frozen=True, kw_only=True)
class Family:
    """What is peculiar to a family. The defaults are the usual contract."""

    text_class: str = ""  # the class that only writes text, where that of the configuration does more
    processor: str = ""  # the processor's class, where it is assembled here, without its image processor
    tokenizer: Mapping[str, Any] = field(default_factory=dict)  # settings for AutoTokenizer, with `processor`
    template: str = ""  # the chat template, whatever the folder holds
    seconds: Callable[[ProcessorMixin], float] = extractor_seconds  # how much of a clip it takes
    most_clips: int | None = None  # per prompt
    # What must be equal of two clips that share a batch, so that neither changes the other
    clip_key: Callable[[Clip], Hashable] | None = None
    tensors: Callable[[ProcessorMixin, Sequence[str], Batch], Mapping[str, Any]] = processor_tensors
    needs: tuple[str, ...] = ()  # packages beyond this project's

    def batch_key(self, clips: Sequence[Clip]) -> Hashable:
        """Prompts may share a batch if their keys are equal. Those without clips have a batch of their own."""
        return tuple(map(self.clip_key, clips)) if self.clip_key else bool(clips)


DEFAULT_FAMILY = Family()


def _length(clip: Clip) -> int:
    return len(clip.samples)


def _longest(processor: ProcessorMixin) -> float:
    return LONGEST_SECONDS


_OMNI_2_5 = Family(text_class="Qwen2_5OmniThinkerForConditionalGeneration", processor="Qwen2_5OmniProcessor")
_OMNI_3 = Family(
    text_class="Qwen3OmniMoeThinkerForConditionalGeneration",
    processor="Qwen3OmniMoeProcessor",
    clip_key=_length,
)
_FLAMINGO = Family(seconds=lambda processor: float(processor.max_audio_len), most_clips=1)
_GRANITE = Family(seconds=_longest, clip_key=_length, needs=("torchaudio",))
FAMILIES = {
    "audioflamingo3": _FLAMINGO,
    "gemma3n": Family(processor="Gemma3nProcessor", clip_key=_length, needs=("timm", "torchvision")),
    "gemma4": Family(processor="Gemma4Processor"),
    "gemma4_unified": Family(processor="Gemma4UnifiedProcessor"),
    "granite_speech": _GRANITE,
    "granite_speech_plus": _GRANITE,
    "musicflamingo": _FLAMINGO,
    "phi4_multimodal": Family(processor="Phi4MultimodalProcessor", seconds=_longest, clip_key=_length),
    "qwen2_5_omni": _OMNI_2_5,
    "qwen2_5_omni_thinker": _OMNI_2_5,
    "qwen3_omni_moe": _OMNI_3,
    "qwen3_omni_moe_thinker": _OMNI_3,
    "voxtral": Family(
        processor="VoxtralProcessor",
        tokenizer={
            "mistral_format": False,
            "bos_token": "<s>",
            "eos_token": "</s>",
            "pad_token": "<pad>",
            "unk_token": "<unk>",
        },
        template=VOXTRAL_TEMPLATE,
        seconds=_longest,
        tensors=voxtral_tensors,
    ),
}


def family_of(model_type: str) -> Family:
    """The family of a `model_type`; one that keeps the usual contract where nothing else is known."""
    return FAMILIES.get(model_type, DEFAULT_FAMILY)
