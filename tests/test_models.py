from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from lalm_utils.models import Prompt, Turn, failed


def turn(text: str, *clips: str) -> Turn:
    return Turn(role="user", text=text, clips=tuple(map(Path, clips)))


def test_a_prompt_lists_the_clips_of_all_its_turns_in_order():
    prompt = Prompt(turns=(turn("one", "a.wav", "b.wav"), turn("none"), turn("two", "c.wav")))
    assert prompt.clips == (Path("a.wav"), Path("b.wav"), Path("c.wav"))


def test_prompts_are_values_that_cannot_change():
    assert Prompt(turns=(turn("one"),)) == Prompt(turns=(turn("one"),))
    with pytest.raises(dataclasses.FrozenInstanceError):
        turn("one").text = "two"


def test_a_failed_reply_is_no_answer():
    reply = failed("the clip is missing")
    assert (reply.text, reply.n_tokens, reply.finish, reply.error) == ("", 0, "failed", "the clip is missing")


def test_reading_the_protocol_does_not_load_torch():
    code = (
        "import sys, lalm_utils.store; print([n in sys.modules for n in ('torch', 'transformers', 'peft')])"
    )
    root = Path(__file__).parents[1]
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert out.stdout.strip() == "[False, False, False]"
