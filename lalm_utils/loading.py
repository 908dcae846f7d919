"""From files to a model in memory, with the facts of its processor that asking depends on.

In: the folders that `weights` found, dtype, device and attention. Out: `Parts`. It knows classes of
transformers and peft, and the traps in their defaults, but nothing of prompts.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    AutoModelForMultimodalLM,
    AutoModelForSeq2SeqLM,
    AutoProcessor,
    GenerationConfig,
    PreTrainedModel,
    ProcessorMixin,
)
from transformers.utils import logging

from lalm_utils.audio import RATE
from lalm_utils.models import ModelError
from lalm_utils.progress import watched
from lalm_utils.weights import Weights

WINDOW_SECONDS = 30.0  # where a feature extractor does not say how much it hears
END_TOKENS = ("<|im_end|>", "<|endoftext|>")  # end a reply wherever they are known, named as such or not
MARK = "lalm-utils-mark"


@dataclass(frozen=True, kw_only=True)
class Parts:
    """A loaded model. Its generation config is ours: greedy, no penalty, every end token, nothing else."""

    model: PreTrainedModel
    processor: ProcessorMixin
    adapter: str | None  # the adapter folder's name
    end_of_turn: int  # the token after a reply
    ends: list[int]  # all tokens that end one
    audio_mark: str  # stands for a clip in rendered text; "" where the processor does not say
    window_seconds: float  # how much of a clip is heard
    stored_generation: dict[str, Any]  # the generation config that came with the weights: shown, not used


def load(weights: Weights, *, dtype: torch.dtype, device: torch.device, attn: str) -> Parts:
    """The model in evaluation mode and its processor; safetensors only, and no code from the folder."""
    processor = _processor(weights)
    with _quiet_unless_watched():
        model = _model(weights, dtype, attn).to(device).eval()
    stored = model.generation_config
    end_of_turn = _end_of_turn(processor)
    ends = _ends(processor, stored, end_of_turn)
    pad = processor.tokenizer.pad_token_id
    model.generation_config = GenerationConfig(
        do_sample=False,
        num_beams=1,
        repetition_penalty=1.0,
        eos_token_id=ends,
        pad_token_id=ends[0] if pad is None else pad,
    )
    return Parts(
        model=model,
        processor=processor,
        adapter=weights.adapter.resolve().name if weights.adapter else None,
        end_of_turn=end_of_turn,
        ends=ends,
        audio_mark=getattr(processor, "audio_token", None) or "",
        window_seconds=_window_seconds(processor),
        stored_generation=stored.to_diff_dict(),
    )


def _model(weights: Weights, dtype: torch.dtype, attn: str) -> PreTrainedModel:
    settings = {
        "dtype": dtype,
        "attn_implementation": attn,
        "use_safetensors": True,
        "trust_remote_code": False,
    }
    refusals = []
    for auto in (AutoModelForMultimodalLM, AutoModelForSeq2SeqLM):
        try:
            model = auto.from_pretrained(weights.folder, **settings)
            break
        except ValueError as error:  # "Unrecognized configuration class": not known under this heading
            refusals.append(f"{auto.__name__}: {str(error).splitlines()[0]}")
        except (OSError, RuntimeError, ImportError) as error:
            raise ModelError(
                f"{weights.folder}: cannot be loaded ({type(error).__name__}: {error})"
            ) from error
    else:
        raise ModelError(f"{weights.folder}: no class of transformers takes this model. {' '.join(refusals)}")
    return _with_adapter(model, weights).to(dtype) if weights.adapter else model


@contextmanager
def _quiet_unless_watched() -> Iterator[None]:
    """Without the bars that transformers draws while loading, which fill logs and executed notebooks."""
    if watched() or not logging.is_progress_bar_enabled():
        yield
        return
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()


def _with_adapter(model: PreTrainedModel, weights: Weights) -> PreTrainedModel:
    """`model` itself, its layers wrapped in those of the adapter."""
    from peft import PeftModel

    try:
        with warnings.catch_warnings():
            # peft only warns when an adapter's keys fit nothing, and then answers with the base's replies
            warnings.filterwarnings("error", message=".*missing adapter keys.*")
            adapted = PeftModel.from_pretrained(model, weights.adapter, use_safetensors=True)
    except (ValueError, RuntimeError, UserWarning, OSError) as error:
        raise ModelError(f"{weights.adapter}: the adapter does not fit {weights.folder} ({error})") from error
    return adapted.get_base_model()


def _processor(weights: Weights) -> ProcessorMixin:
    try:
        processor = AutoProcessor.from_pretrained(weights.folder, trust_remote_code=False)
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"{weights.folder}: its processor cannot be loaded ({error})") from error
    rate = getattr(getattr(processor, "feature_extractor", None), "sampling_rate", None)
    if rate is None:
        raise ModelError(
            f"{weights.folder}: its processor has no feature extractor, so it is no audio model."
        )
    if rate != RATE:
        raise ModelError(
            f"{weights.folder}: hears {rate} Hz, and clips are read at {RATE} Hz; it is not supported."
        )
    # a reply must follow its prompt at once; the processor leaves the side to the tokenizer's default
    processor.tokenizer.padding_side = "left"
    if processor.tokenizer.pad_token_id is None:
        processor.tokenizer.pad_token = processor.tokenizer.eos_token
    return processor


def _window_seconds(processor: ProcessorMixin) -> float:
    samples = getattr(processor.feature_extractor, "n_samples", None)
    return samples / RATE if samples else WINDOW_SECONDS


def _end_of_turn(processor: ProcessorMixin) -> int:
    """The token that the chat template writes after a reply."""
    turns = [
        {"role": "user", "content": [{"type": "text", "text": "?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": MARK}]},
    ]
    try:
        after = processor.apply_chat_template(turns, tokenize=False).rpartition(MARK)[2]
    except ValueError as error:
        raise ModelError(f"the processor cannot render a conversation: {error}") from error
    ids = processor.tokenizer(after, add_special_tokens=False).input_ids
    if ids and ids[0] in processor.tokenizer.all_special_ids:
        return ids[0]
    if processor.tokenizer.eos_token_id is None:
        raise ModelError("neither the chat template nor the tokenizer says what ends a reply.")
    return processor.tokenizer.eos_token_id


def _ends(processor: ProcessorMixin, stored: GenerationConfig, end_of_turn: int) -> list[int]:
    known = processor.tokenizer.get_vocab()
    named = stored.eos_token_id if isinstance(stored.eos_token_id, list) else [stored.eos_token_id]
    candidates = [end_of_turn, *named, processor.tokenizer.eos_token_id, *map(known.get, END_TOKENS)]
    return sorted({token for token in candidates if token is not None})
