"""What an engine takes and returns: prompts as tokens and clips, replies as tokens."""

from __future__ import annotations

from dataclasses import dataclass

from lalm_utils.audio import RATE, Clip


@dataclass(frozen=True, kw_only=True)
class ModelInput:
    """A prompt, rendered and tokenised, with its clips decoded."""

    text: str  # rendered, each clip as its placeholder
    clips: tuple[Clip, ...]
    ids: tuple[int, ...]  # tokens of `text`: one audio token per clip
    options: tuple[tuple[int, ...], ...] = ()  # tokens of each option, the end of the turn included
    n_before: int = 0  # tokens before the assistant's turn that is to go on: such prompts share them; else 0

    @property
    def length(self) -> int:
        """About how many tokens the model reads: good enough to sort by."""
        return len(self.ids) + sum(len(clip.samples) for clip in self.clips) * 25 // RATE

    @property
    def content(self) -> str:
        """Text and clips: the only thing about a prompt that its random numbers depend on."""
        return " ".join([self.text, *(clip.sha256 for clip in self.clips)])


@dataclass(frozen=True, kw_only=True)
class GeneratedSequence:
    """One reply as tokens, the end of the turn left out."""

    tokens: list[int]
    complete: bool  # False: cut at the limit
