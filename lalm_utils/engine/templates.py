"""From turns to the text that a model reads, by its chat template.

In: a processor and its family. Out: a `Template`, which renders turns. It knows how templates want clips
described, and nothing of tensors, files or replies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase, ProcessorMixin

from lalm_utils.engine.families import Family
from lalm_utils.models import ModelError, Turn

PROBE = Turn(role="user", text="lalm-utils-probe", clips=(Path("probe.wav"),))
Style = Callable[[Turn, str], dict[str, Any]]


def in_parts(turn: Turn, mark: str) -> dict[str, Any]:
    """A turn as most templates want it: a list of clips and text."""
    clips = [{"type": "audio", "path": str(clip)} for clip in turn.clips]
    return {"role": turn.role, "content": [*clips, {"type": "text", "text": turn.text}]}


def in_line(turn: Turn, mark: str) -> dict[str, Any]:
    """A turn for templates of text alone (Granite Speech): a placeholder for each clip, then the text."""
    return {"role": turn.role, "content": mark * len(turn.clips) + turn.text}


@dataclass(frozen=True, kw_only=True)
class Template:
    """A chat template, and how it wants its turns."""

    tokenizer: PreTrainedTokenizerBase
    source: str  # Jinja
    mark: str  # stands for a clip in rendered text; "" where the processor does not say
    style: Style = in_parts
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
        going_on = reply and turns[-1].role == "assistant"
        return self.tokenizer.apply_chat_template(
            [self.style(turn, self.mark) for turn in turns],
            chat_template=self.source,
            tokenize=False,
            add_generation_prompt=reply and not going_on,
            continue_final_message=going_on,
        )


def template_of(processor: ProcessorMixin, family: Family) -> Template:
    """The family's own template, else the processor's, else its tokenizer's; ModelError where there is none.

    Its style is found by trial and not by family, since a template changes with the revision on the hub.
    """
    tokenizer = processor.tokenizer
    source = family.template or getattr(processor, "chat_template", None) or tokenizer.chat_template
    if isinstance(source, dict):
        source = source.get("default")
    if not source:
        raise ModelError("there is no chat template: put a chat_template.jinja beside the weights.")
    mark, seen = getattr(processor, "audio_token", None) or "", ""
    for style in (in_parts, in_line):
        template = Template(
            tokenizer=tokenizer, source=source, mark=mark, style=style, most_clips=family.most_clips
        )
        try:
            seen = template.render([PROBE])
        except Exception as error:  # a template raises what it likes
            seen = str(error)
        else:
            if PROBE.text in seen and (not mark or seen.count(mark) == 1):
                return template
    raise ModelError(
        f"the chat template cannot render a clip, as {mark!r}, and a text; it gives {seen[:200]!r}"
    )
