"""Two models whose use of a chain is known, as ends of every scale: one ignores it, one copies its answer from it.

In: prompts as any model. Out: chains and log-likelihoods by rule, without weights. What they "hear" is a hash.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from lalm_utils import annotations
from lalm_utils.audio import is_silent
from lalm_utils.cache import sha256_of
from lalm_utils.models import Prompt, Reply

__all__ = ["ScriptedModel"]
SURE = 0.97  # of the answer, the rest shared by the others
NOTHING = "There is nothing to hear."


class ScriptedModel:
    """Keeps the `Model` protocol. Its chain reports one option, which a hash of question and clip chooses.

    copies=True: the answer is the one option that its chain names, else IDK. copies=False: the answer hangs on the
    question alone, neither on the clip nor on the chain.
    """

    def __init__(self, *, copies: bool) -> None:
        self.copies = copies
        self.name = "copies its chain" if copies else "ignores its chain"
        self.fingerprint = ("c" if copies else "d") * 64
        self.description: dict[str, Any] = {"dtype": "none", "device": "none", "threads": 0}

    def render(self, prompt: Prompt) -> str:
        """The turns, one a paragraph; text that no model was given differs."""
        turns = (f"{turn.role} {len(turn.clips)}: {turn.text}" for turn in prompt.turns)
        return "\n\n".join([*turns, *prompt.options])

    def generate(self, prompts: Sequence[Prompt], *, n: int = 1, **settings: Any) -> list[list[Reply]]:
        """A chain, and the option that it reports as its answer."""
        return [[self._reply(prompt)] * n for prompt in prompts]

    def option_logprobs(self, prompts: Sequence[Prompt]) -> list[np.ndarray]:
        """The log-likelihoods of `SURE` for its answer and equal ones for the others; the last option is IDK."""
        return [self._scores(prompt) for prompt in prompts]

    def _reply(self, prompt: Prompt) -> Reply:
        option = self._option_of(prompt, clip=True)
        text = f"I hear {option}.\nAnswer: {option}" if option else f"{NOTHING}\nAnswer: IDK"
        return Reply(text=text, n_tokens=len(text.split()), finish="stop")

    def _scores(self, prompt: Prompt) -> np.ndarray:
        options = [option.strip() for option in prompt.options]
        if self.copies:
            labels = annotations.labels_in(prompt.turns[-1].text, options)
            choice = options.index(labels.pop()) if len(labels) == 1 else len(options) - 1
        else:
            choice = options.index(self._option_of(prompt, clip=False))
        scores = np.full(len(options), np.log((1 - SURE) / max(len(options) - 1, 1)))
        scores[choice] = np.log(SURE)
        return scores

    def _option_of(self, prompt: Prompt, *, clip: bool) -> str:
        """The option that the hash of the question, and of the clip, picks; "" for silence."""
        text = next(turn.text for turn in prompt.turns if turn.role == "user")
        options = [line[4:] for line in text.splitlines() if line[:1] == "(" and line[2:4] == ") "]
        question = text.partition("\n(A)")[0]
        if clip and self.copies and (not prompt.clips or is_silent(prompt.clips[0])):
            return ""
        sound = sha256_of(prompt.clips[0]) if clip and self.copies and prompt.clips else ""
        return options[zlib.crc32(f"{question} {sound}".encode()) % len(options)]
