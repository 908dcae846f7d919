"""A model without weights for the tests of the store: it logs what it is asked, and replies at once.

Also run as a program, as a process to be killed or to compete: `fake_model.py STORE LOG N_PROMPTS CHUNK
[TAG]`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lalm_utils.models import Prompt, Reply, Turn
from lalm_utils.store import Store


class FakeModel:
    """Keeps the `Model` protocol. `answer(text, sample)` is the reply; `asked` lists (text, sample)."""

    def __init__(
        self, answer: Callable[[str, int], Reply | str] | None = None, fingerprint: str = "f" * 64
    ) -> None:
        self.name, self.fingerprint = "fake", fingerprint
        self.description: dict[str, Any] = {}
        self.answer = answer or (lambda text, sample: f"{text} {sample}")
        self.requests: list[tuple[str, int]] = []
        self.calls: list[dict[str, Any]] = []

    def render(self, prompt: Prompt) -> str:
        return "\n".join(f"{turn.role}: {'<clip>' * len(turn.clips)}{turn.text}" for turn in prompt.turns)

    def generate(
        self, prompts: Sequence[Prompt], *, n: int = 1, first_sample: int = 0, **settings: Any
    ) -> list[list[Reply]]:
        self.calls.append({"texts": [text_of(prompt) for prompt in prompts], "n": n, **settings})
        return [[self._one(text_of(p), first_sample + i) for i in range(n)] for p in prompts]

    def option_logprobs(self, prompts: Sequence[Prompt]) -> list[np.ndarray]:
        return [np.zeros(len(prompt.options)) for prompt in prompts]

    def _one(self, text: str, sample: int) -> Reply:
        self.requests.append((text, sample))
        answer = self.answer(text, sample)
        return answer if isinstance(answer, Reply) else Reply(text=answer, n_tokens=2, finish="stop")


def text_of(prompt: Prompt) -> str:
    """The text of the last turn."""
    return prompt.turns[-1].text


def questions(count: int) -> list[Prompt]:
    """Distinct prompts without clips."""
    return [Prompt(turns=(Turn(role="user", text=f"question {number}"),)) for number in range(count)]


def run(store: str, log: str, n_prompts: int, chunk: int, tag: str) -> None:
    """Ask all prompts; each reply carries `tag`, and each question is logged before it is answered."""
    logged = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def answer(text: str, sample: int) -> str:
        os.write(logged, f"{text}\n".encode())
        time.sleep(0.0005)
        return f"{text} {tag}"

    with Store(store) as opened:
        replies = opened.ask(FakeModel(answer), questions(n_prompts), chunk=chunk, progress=False)
    Path(f"{log}.{tag}").write_text(json.dumps([reply.text for (reply,) in replies]), encoding="utf-8")


if __name__ == "__main__":
    run(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), (*sys.argv, "reply")[5])
