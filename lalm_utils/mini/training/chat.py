"""Text-only chat for the last training stage: the base language model's own greedy replies to general questions.

They keep the language model an instruct model. Replies that do not end within the limit are left out.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from lalm_utils.mini.training.instruct import Example
from lalm_utils.mini.training.tuning import END, SYSTEM, TURN

MAX_NEW_TOKENS = 60
BATCH = 16
TEMPLATES = (
    ("What is the capital of {}?", ("France", "Spain", "Japan", "Egypt", "Canada", "Italy", "Germany", "India",
                                    "Norway", "Brazil", "Greece", "Kenya")),
    ("Write one sentence about {}.", ("the sea", "a garden", "winter", "a market", "friendship", "the moon",
                                      "bread", "a long journey", "mountains", "music")),
    ("What is {}?", ("gravity", "a verb", "photosynthesis", "a triangle", "democracy", "an island", "an atom",
                     "a novel", "a volcano", "a river")),
    ("Name three {}.", ("fruits", "colours", "animals", "countries", "sports", "tools", "planets", "vegetables")),
    ("Translate '{}' into French.", ("good morning", "thank you", "the house", "a red car", "my friend")),
    ("What is the opposite of '{}'?", ("hot", "early", "heavy", "empty", "loud", "new", "high", "open")),
    ("Give me a tip for {}.", ("sleeping well", "learning a language", "cooking rice", "a job interview", "running")),
    ("Say hello to {}.", ("a colleague", "your teacher", "a new neighbour")),
)  # fmt: skip


def questions() -> list[str]:
    """All templates with all their fillers."""
    return [template.format(filler) for template, fillers in TEMPLATES for filler in fillers]


def chat_examples(path: Path, model, tokenizer) -> list[Example]:
    """Questions with the replies of `model`, which must be the untouched base; generated once and stored at `path`."""
    if not path.exists():
        path.write_text(json.dumps(_replies(model, tokenizer), indent=1), encoding="utf-8")
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [Example(user=row["user"], reply=row["reply"]) for row in rows]


@torch.no_grad()
def _replies(model, tokenizer) -> list[dict[str, str]]:
    """The model's greedy replies, those that ended by themselves."""
    rows, end, texts_by_length = [], tokenizer.convert_tokens_to_ids(END), sorted(questions(), key=len)
    for first in range(0, len(texts_by_length), BATCH):
        part = texts_by_length[first : first + BATCH]
        texts = [SYSTEM + question + TURN for question in part]
        inputs = tokenizer(texts, add_special_tokens=False, return_tensors="pt", padding=True)
        out = model.generate(**inputs, max_new_tokens=MAX_NEW_TOKENS, do_sample=False)
        for question, reply in zip(part, out[:, inputs.input_ids.shape[1] :].tolist()):
            if end in reply:
                rows.append({"user": question, "reply": tokenizer.decode(reply[: reply.index(end)])})
    return rows
