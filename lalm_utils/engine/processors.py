"""From a model's folder to its processor: tokenizer and ears, and no eyes.

In: a folder and its family. Out: a processor of transformers that this project can rely on: one sampling rate,
padding to the left, a token to pad with. It knows nothing of weights and prompts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import transformers
from transformers import AutoFeatureExtractor, AutoProcessor, AutoTokenizer, ProcessorMixin

from lalm_utils.audio import RATE
from lalm_utils.engine.families import Family, extractor
from lalm_utils.models import ModelError

EARS = {
    "tokenizer": AutoTokenizer,
    "feature_extractor": AutoFeatureExtractor,
    "audio_processor": AutoFeatureExtractor,
}


def processor_of(folder: Path, family: Family) -> ProcessorMixin:
    """The processor of a model's folder, padding to the left. ModelError if it is none for audio at 16 kHz."""
    try:
        if family.processor:
            processor = _without_eyes(getattr(transformers, family.processor), folder, family)
        else:
            processor = AutoProcessor.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, TypeError, ImportError) as error:
        raise ModelError(f"{folder}: its processor cannot be loaded ({error}){needs(family)}") from error
    rate = getattr(extractor(processor), "sampling_rate", None)
    if rate is None:
        raise ModelError(f"{folder}: its processor has no feature extractor, so it is no audio model.")
    if rate != RATE:
        raise ModelError(f"{folder}: hears {rate} Hz, and clips are read at {RATE} Hz; it is not supported.")
    # a reply must follow its prompt at once; the processor leaves the side to the tokenizer's default
    processor.tokenizer.padding_side = "left"
    if processor.tokenizer.pad_token_id is None:
        processor.tokenizer.pad_token = processor.tokenizer.eos_token
    return processor


def _without_eyes(kind: type[ProcessorMixin], folder: Path, family: Family) -> ProcessorMixin:
    """A processor put together from its tokenizer and ears: its eyes need torchvision, and nothing here sees."""

    def check(self: ProcessorMixin, name: str, part: Any) -> type | None:
        return None if part is None else kind.check_argument_for_proper_class(self, name, part)

    parts = []
    for name in kind.get_attributes():
        more = family.tokenizer if name == "tokenizer" else {}
        ear = EARS.get(name)
        parts.append(ear and ear.from_pretrained(folder, trust_remote_code=False, **more))
    settings, _ = kind.get_processor_dict(folder)
    blind = type(kind.__name__, (kind,), {"check_argument_for_proper_class": check})
    return blind.from_args_and_dict(parts, settings)


def needs(family: Family) -> str:
    """What to install for a family, as the end of an error message; "" where this project has all it takes."""
    return f". This model needs: pip install {' '.join(family.needs)}." if family.needs else ""
