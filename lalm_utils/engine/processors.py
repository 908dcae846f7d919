"""From a model's folder to its processor and chat template.

In: a folder and its family. Out: a processor of transformers with what this project relies on (16 kHz, padding to the
left, a padding token), and a `Template` that renders turns as the text that the model reads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers
from transformers import (
    AutoFeatureExtractor,
    AutoProcessor,
    AutoTokenizer,
    PreTrainedTokenizerBase,
    ProcessorMixin,
)

from lalm_utils.audio import RATE
from lalm_utils.engine.families import Family, feature_extractor
from lalm_utils.models import ModelError, Turn

AUDIO_PARTS = {
    "tokenizer": AutoTokenizer,
    "feature_extractor": AutoFeatureExtractor,
    "audio_processor": AutoFeatureExtractor,
}
PROBE = Turn(role="user", text="lalm-utils-probe", clips=(Path("probe.wav"),))
TurnFormat = Callable[[Turn, str], dict[str, Any]]


def processor_of(folder: Path, family: Family) -> ProcessorMixin:
    """The processor of a model's folder, padding to the left. ModelError if it is none for audio at 16 kHz."""
    try:
        if family.processor:
            processor = _audio_only(getattr(transformers, family.processor), folder, family)
        else:
            processor = AutoProcessor.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, TypeError, ImportError) as error:
        raise ModelError(
            f"{folder}: its processor cannot be loaded ({error}){install_hint(family)}"
        ) from error
    rate = getattr(feature_extractor(processor), "sampling_rate", None)
    if rate is None:
        raise ModelError(f"{folder}: its processor has no feature extractor, so it is no audio model.")
    if rate != RATE:
        raise ModelError(f"{folder}: hears {rate} Hz, and clips are read at {RATE} Hz; it is not supported.")
    # a reply must follow its prompt at once; the processor leaves the side to the tokenizer's default
    processor.tokenizer.padding_side = "left"
    if processor.tokenizer.pad_token_id is None:
        processor.tokenizer.pad_token = processor.tokenizer.eos_token
    return processor


def _audio_only(processor_class: type[ProcessorMixin], folder: Path, family: Family) -> ProcessorMixin:
    """A processor of its tokenizer and feature extractor alone: its image processor needs torchvision."""

    def check(self: ProcessorMixin, name: str, part: Any) -> type | None:
        return None if part is None else processor_class.check_argument_for_proper_class(self, name, part)

    parts = []
    for name in processor_class.get_attributes():
        options = family.tokenizer if name == "tokenizer" else {}
        auto = AUDIO_PARTS.get(name)
        parts.append(auto and auto.from_pretrained(folder, trust_remote_code=False, **options))
    settings, _ = processor_class.get_processor_dict(folder)
    subclass = type(processor_class.__name__, (processor_class,), {"check_argument_for_proper_class": check})
    return subclass.from_args_and_dict(parts, settings)


def install_hint(family: Family) -> str:
    """What to install for a family, as the end of an error message; "" where this project has all it takes."""
    return f". This model needs: pip install {' '.join(family.needs)}." if family.needs else ""


def content_list(turn: Turn, mark: str) -> dict[str, Any]:
    """A turn as most templates want it: a list of clips and text."""
    clips = [{"type": "audio", "path": str(clip)} for clip in turn.clips]
    return {"role": turn.role, "content": [*clips, {"type": "text", "text": turn.text}]}


def content_text(turn: Turn, mark: str) -> dict[str, Any]:
    """A turn for templates of text alone (Granite Speech): a placeholder for each clip, then the text."""
    return {"role": turn.role, "content": mark * len(turn.clips) + turn.text}


@dataclass(frozen=True, kw_only=True)
class Template:
    """A chat template, and the format of its turns."""

    tokenizer: PreTrainedTokenizerBase
    source: str  # Jinja
    mark: str  # the placeholder of a clip in rendered text; "" where the processor does not say
    turn_format: TurnFormat = content_list
    most_clips: int | None = None  # per prompt

    def check(self, turns: Sequence[Turn]) -> None:
        """ModelError for turns that no template could render as they are meant."""
        if not any(turn.role == "user" for turn in turns):
            raise ModelError("a prompt needs a user's turn: there is nothing to reply to.")
        count = sum(len(turn.clips) for turn in turns)
        if self.most_clips is not None and count > self.most_clips:
            raise ModelError(f"this model takes {self.most_clips} clip a prompt, and this one has {count}.")
        for turn in turns:
            if self.mark and self.mark in turn.text:
                raise ModelError(
                    f"the text {turn.text[:80]!r} contains {self.mark}, which stands for a clip: "
                    "take it out, and give clips in Turn.clips."
                )

    def render(self, turns: Sequence[Turn], *, reply: bool = True) -> str:
        """The text of `turns`, open for a reply, or for more of the last turn where that is the assistant's.

        `reply=False` closes the last turn. Whatever the template raises passes through.
        """
        continued = reply and turns[-1].role == "assistant"
        return self.tokenizer.apply_chat_template(
            [self.turn_format(turn, self.mark) for turn in turns],
            chat_template=self.source,
            tokenize=False,
            add_generation_prompt=reply and not continued,
            continue_final_message=continued,
        )


def template_of(processor: ProcessorMixin, family: Family) -> Template:
    """The family's own template, else the processor's, else its tokenizer's; ModelError where there is none.

    The format of its turns is found by trial and not by family, since a template changes with the revision on the hub.
    """
    tokenizer = processor.tokenizer
    source = family.template or getattr(processor, "chat_template", None) or tokenizer.chat_template
    if isinstance(source, dict):
        source = source.get("default")
    if not source:
        raise ModelError("there is no chat template: put a chat_template.jinja beside the weights.")
    mark, text = getattr(processor, "audio_token", None) or "", ""
    for turn_format in (content_list, content_text):
        template = Template(
            tokenizer=tokenizer,
            source=source,
            mark=mark,
            turn_format=turn_format,
            most_clips=family.most_clips,
        )
        try:
            text = template.render([PROBE])
        except Exception as error:  # a template raises what it likes
            text = str(error)
        else:
            if PROBE.text in text and (not mark or text.count(mark) == 1):
                return template
    raise ModelError(
        f"the chat template cannot render a clip, as {mark!r}, and a text; it gives {text[:200]!r}"
    )
