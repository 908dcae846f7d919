"""From files to a model in memory, around the traps in the defaults of transformers and peft.

In: the folders that `weights` found, dtype, device and attention. Out: a `LoadedModel`.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import transformers
from transformers import (
    AutoModelForMultimodalLM,
    AutoModelForSeq2SeqLM,
    GenerationConfig,
    PreTrainedModel,
    ProcessorMixin,
)
from transformers.utils import logging

from lalm_utils.engine.families import Family, family_of
from lalm_utils.engine.processors import Template, install_hint, processor_of, template_of
from lalm_utils.engine.weights import Weights, refuse_damaged
from lalm_utils.models import ModelError, Turn
from lalm_utils.progress import is_interactive

if TYPE_CHECKING:
    from peft import PeftModel

END_TOKENS = ("<|im_end|>", "<|endoftext|>")  # end a reply wherever they are known, named as such or not
MARK = "lalm-utils-mark"


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model and its processor. Its generation config is ours: greedy, no penalty, every end token, nothing else."""

    model: PreTrainedModel
    processor: ProcessorMixin
    adapter: str | None  # the adapter folder's name
    end_of_turn: int  # the token after a reply
    ends: list[int]  # all tokens that end one
    family: Family
    template: Template
    window_seconds: float  # how much of a clip reaches the model
    stored_generation: dict[str, Any]  # the generation config that came with the weights: shown, not used


def load(weights: Weights, *, dtype: torch.dtype, device: torch.device, attn: str) -> LoadedModel:
    """The model in evaluation mode and its processor; safetensors only, and no code from the folder."""
    refuse_damaged(weights)
    family = family_of(_model_type(weights))
    processor = processor_of(weights.folder, family)
    try:
        template = template_of(processor, family)
    except ModelError as error:
        raise ModelError(f"{weights.folder}: {error}") from error
    with _quiet_unless_interactive():
        attn_or_best = None if attn == "sdpa" else attn  # None: sdpa, and eager for a tower that lacks it
        model = _model(weights, family, dtype=dtype, attn_implementation=attn_or_best).to(device).eval()
    stored = model.generation_config
    end_of_turn = _end_of_turn(template)
    ends = _ends(processor, stored, end_of_turn)
    pad = processor.tokenizer.pad_token_id
    model.generation_config = GenerationConfig(
        do_sample=False,
        num_beams=1,
        repetition_penalty=1.0,
        eos_token_id=ends,
        pad_token_id=ends[0] if pad is None else pad,
    )
    return LoadedModel(
        model=model,
        processor=processor,
        adapter=weights.adapter.resolve().name if weights.adapter else None,
        end_of_turn=end_of_turn,
        ends=ends,
        family=family,
        template=template,
        window_seconds=family.seconds(processor),
        stored_generation=stored.to_diff_dict(),
    )


def _model_type(weights: Weights) -> str:
    try:
        return str(json.loads((weights.folder / "config.json").read_text(encoding="utf-8")).get("model_type"))
    except (ValueError, AttributeError, RecursionError) as error:
        raise ModelError(
            f"{weights.folder}: config.json cannot be read ({error}). Fetch it again."
        ) from error


def _model(weights: Weights, family: Family, **settings: Any) -> PreTrainedModel:
    settings |= {"use_safetensors": True, "trust_remote_code": False, "output_loading_info": True}
    classes = (AutoModelForMultimodalLM, AutoModelForSeq2SeqLM)
    if family.text_class:
        classes = (getattr(transformers, family.text_class),)
        settings.pop("trust_remote_code")
    refusals = []
    for model_class in classes:
        try:
            model, loading_info = model_class.from_pretrained(weights.folder, **settings)
            break
        except ValueError as error:  # "Unrecognized configuration class": not known under this heading
            refusals.append(f"{model_class.__name__}: {str(error).splitlines()[0]}")
        except (OSError, RuntimeError, ImportError) as error:
            raise ModelError(
                f"{weights.folder}: cannot be loaded ({type(error).__name__}: {error}){install_hint(family)}"
            ) from error
    else:
        raise ModelError(f"{weights.folder}: no class of transformers takes this model. {' '.join(refusals)}")
    # transformers only warns of missing weights, and answers with random ones in their place
    if loading_info["missing_keys"]:
        missing = sorted(loading_info["missing_keys"])
        raise ModelError(
            f"{weights.folder}: {len(missing)} weights of {type(model).__name__} are not there ({missing[0]}, "
            "...). Fetch all files again, or give the folder of the whole model."
        )
    if weights.own_lora:
        return _with_own_lora(model, weights).to(settings["dtype"])
    return with_adapter(model, weights) if weights.adapter else model


def _with_own_lora(model: PreTrainedModel, weights: Weights) -> PreTrainedModel:
    """`model` with the LoRA that ships with it. One beside the weights, transformers has loaded already."""
    if weights.adapter:
        raise ModelError(
            f"{weights.adapter}: {weights.folder} has a LoRA of its own, in {weights.own_lora}, and a second "
            "one on top is not supported. Merge the first into the weights, and give that folder."
        )
    if weights.own_lora != weights.folder:
        loading_info = model.load_adapter(str(weights.own_lora), use_safetensors=True)
        if loading_info.missing_keys or loading_info.unexpected_keys:
            raise ModelError(f"{weights.own_lora}: the LoRA does not fit the weights. Fetch the model again.")
    return model


@contextmanager
def _quiet_unless_interactive() -> Iterator[None]:
    """Without the bars that transformers draws while loading, which fill logs and executed notebooks."""
    if is_interactive() or not logging.is_progress_bar_enabled():
        yield
        return
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()


@contextmanager
def without_peft_noise() -> Iterator[None]:
    """Without the warning that peft sets off by asking for a name that transformers is about to drop."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
        yield


def with_adapter(model: PreTrainedModel, weights: Weights, *, scale: float = 1.0) -> PreTrainedModel:
    """`model` itself, its layers wrapped in those of the adapter, whose LoRA counts `scale` times."""
    from peft import PeftModel

    base, dtype = {id(parameter) for parameter in model.parameters()}, model.dtype
    try:
        with without_peft_noise():
            # peft only warns when an adapter's keys fit nothing, and then answers with the base's replies
            warnings.filterwarnings("error", message=".*missing adapter keys.*")
            adapted = PeftModel.from_pretrained(model, weights.adapter, use_safetensors=True)
    except (ValueError, RuntimeError, UserWarning, OSError) as error:
        raise ModelError(f"{weights.adapter}: the adapter does not fit {weights.folder} ({error})") from error
    if scale != 1:
        _set_scale(adapted, scale)
    # not adapted.to(dtype), which would round the language model's rotary frequencies as well
    for parameter in adapted.parameters():
        if id(parameter) not in base:
            parameter.data = parameter.data.to(dtype)
    return adapted.get_base_model()


def _set_scale(adapted: PeftModel, scale: float) -> None:
    from peft.tuners.lora import LoraLayer

    config = adapted.peft_config[adapted.active_adapter]
    if config.peft_type != "LORA" or config.modules_to_save:
        raise ModelError(
            f"scale={scale}: only an adapter that is LoRA throughout can be scaled, and this one is "
            f"{config.peft_type} with whole modules {config.modules_to_save}; use scale=1."
        )
    for module in adapted.modules():
        if isinstance(module, LoraLayer):
            module.set_scale(adapted.active_adapter, scale)


def _end_of_turn(template: Template) -> int:
    """The token that the chat template writes after a reply."""
    turns = [Turn(role="user", text="?"), Turn(role="assistant", text=MARK)]
    try:
        after = template.render(turns, reply=False).rpartition(MARK)[2]
    except ValueError as error:
        raise ModelError(f"the processor cannot render a conversation: {error}") from error
    tokenizer = template.tokenizer
    ids = tokenizer(after, add_special_tokens=False).input_ids
    if ids and ids[0] in tokenizer.all_special_ids:
        return ids[0]
    if tokenizer.eos_token_id is None:
        raise ModelError("neither the chat template nor the tokenizer says what ends a reply.")
    return tokenizer.eos_token_id


def _ends(processor: ProcessorMixin, stored: GenerationConfig, end_of_turn: int) -> list[int]:
    vocabulary = processor.tokenizer.get_vocab()
    configured = stored.eos_token_id if isinstance(stored.eos_token_id, list) else [stored.eos_token_id]
    candidates = [
        end_of_turn,
        *configured,
        processor.tokenizer.eos_token_id,
        *map(vocabulary.get, END_TOKENS),
    ]
    return sorted({token for token in candidates if token is not None})
