"""Which parts of a long clip a model hears.

In: clip files, and how many seconds the model hears at a time. Out: what it hears of each, as clips. It knows
no model: that a clip of several windows stands for several placeholders is for the chat template to render.

"first": the first window; the rest is not heard. "consecutive": window after window, each a clip of its own in
the same turn, up to `most`; the rest is not heard, nor a last window under 0.1 s. What was not heard is recorded
in `Clip.truncated`, of every window of the clip, and so in `Reply.truncated`.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from pathlib import Path

from lalm_utils.audio import MIN_SECONDS, RATE, Clip, check_clip, content_hash, read_clip
from lalm_utils.models import ModelError, Prompt

POLICIES = ("first", "consecutive")


@dataclass(frozen=True, kw_only=True)
class Windows:
    """A policy, the length of a window in seconds, and the most windows of one clip."""

    policy: str = "first"
    seconds: float = 30.0
    most: int = 4

    def __post_init__(self) -> None:
        if self.policy not in POLICIES or self.most < 1:
            raise ModelError(
                f"window={self.policy!r}, max_windows={self.most}: window is one of {', '.join(POLICIES)}, "
                "and max_windows is at least 1."
            )

    def count(self, seconds: float) -> int:
        """How many windows of a clip of `seconds` are heard."""
        if self.policy == "first":
            return 1
        return max(1, min(self.most, math.floor((seconds - MIN_SECONDS) / self.seconds) + 1))

    def over(self, prompt: Prompt) -> Prompt:
        """`prompt` with each clip as often as it has windows. Raises AudioError for a clip without length."""
        if self.policy == "first":  # the file need not be there to render a prompt
            return prompt
        turns = (
            replace(
                turn, clips=tuple(clip for clip in turn.clips for _ in range(self.count(check_clip(clip))))
            )
            for turn in prompt.turns
        )
        return replace(prompt, turns=tuple(turns))

    def heard(self, path: Path) -> tuple[Clip, ...]:
        """The windows of a clip file, as many as `over` gives it. Raises AudioError."""
        if self.policy == "first":
            return (read_clip(path, max_seconds=self.seconds),)
        count = self.count(check_clip(path))
        whole, size = read_clip(path, max_seconds=count * self.seconds), round(self.seconds * RATE)
        starts = range(0, count * size, size)
        return tuple(_part(whole, start, start + size) for start in starts)

    def fingerprint(self, model: str) -> str:
        """The fingerprint of a model that hears so: `model` itself for "first"."""
        if self.policy == "first":
            return model
        return hashlib.sha256(f"{model} {self.policy} {self.seconds} {self.most}".encode()).hexdigest()


def _part(clip: Clip, start: int, end: int) -> Clip:
    samples = clip.samples[start:end]
    return replace(clip, samples=samples, seconds=len(samples) / RATE, sha256=content_hash(samples))
