"""The Task Agent (arXiv 2505.19294): name the audio's type, put the audio into words, answer from both.

In: a model, items, a store. Out: a `Trace`: the outcome table of the final answers, and one row per item with
what each step was asked and replied. One model plays all three steps, each through the store:

1. *type*: sound, music or speech. A reply that does not name exactly one of them is `unreadable`, and its item
   goes on as `DEFAULT`; `agent_measures.routing` counts how many did.
2. *text*: speech is transcribed, sound and music are captioned.
3. *answer*: the question below that text, with the clip, and with the permission to decline of IDK prompting.

A step without a reply ends its item: the outcome is `failed`, never an answer from what is left. The paper's
wordings are not public; these are ours. How good the steps are is not judged here (agent_measures).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import pandas as pd

from lalm_utils import annotations, outcomes, parsing, prompts
from lalm_utils.items import MODALITIES, Item
from lalm_utils.models import Model, Prompt, Reply, Turn, failed
from lalm_utils.runs import MAX_NEW_TOKENS
from lalm_utils.store import Store

UNREADABLE, FAILED = "unreadable", "failed"
DEFAULT = "sound"  # the widest of the three: a caption of sounds can name instruments and voices too
TRANSCRIBE = "Write out every word that is said in this recording."
CAPTION = "Which sounds does this recording hold? Put them into one sentence."
MUSIC_CAPTION = "Which instruments play in this recording, and how? Put the music into one sentence."
TEXT_PROMPTS = {"sound": CAPTION, "music": MUSIC_CAPTION, "speech": TRANSCRIBE}
NOTE = "A {kind} of the recording, which may be mistaken: {text}\n"
TEXT_TOKENS = 64
COLUMNS = (
    "item",
    "modality",  # as the benchmark says it
    "true",  # the clip's type; a mix where the benchmark names several
    "type_reply",  # "" where the type is the true one
    "type",  # as read: sound, music, speech, unreadable or failed
    "kind",  # of the text: caption, music caption or transcript; "" if step 1 failed
    "text_prompt",  # "" where the text is the benchmark's
    "text",  # step 2's reply, or the benchmark's text
    "answer_prompt",  # step 3's text without its clip; "" if an earlier step failed
    "reply",  # to step 3, raw
    "outcome",  # one of Outcome's values
    "error",  # which step failed and why, else ""
    "states_gold",  # bool: the text holds the right option's words
    "transcript",  # the true one; "" if there is none
    "content",  # tuple: the labels of what truly sounds; () if the benchmark does not say
)


@dataclass(frozen=True, kw_only=True)
class Trace:
    """One run of the agent. table: outcomes.COLUMNS; steps: COLUMNS; both one row per item, in their order."""

    table: pd.DataFrame
    steps: pd.DataFrame


@dataclass(kw_only=True)
class _Work:
    """An item on its way. `reply` is set when it is answered, or when a step has failed."""

    item: Item
    type_reply: str = ""
    type: str = ""
    kind: str = ""
    text_prompt: str = ""
    text: str = ""
    prompt: Prompt | None = None
    reply: Reply | None = None


def run(
    model: Model,
    items: Sequence[Item],
    *,
    store: Store,
    seed: int = 0,
    type_from: Literal["model", "truth"] = "model",
    text_from: Literal["model", "truth"] = "model",
    hear: bool = True,
    label: str | None = None,
) -> Trace:
    """Take `items` through the three steps, greedily; replies already stored are not asked for again.

    type_from, text_from: "truth" takes that step's result from the benchmark (`annotations.type_of`,
    `annotations.text_of`) and asks nothing for it. A true text is of the clip's true kind, whatever type was
    read. It may state the right option, and on some tasks always does: a run with it is an upper bound on
    what a better second step could give, not a result. `Trace.steps.states_gold` tells these items apart.
    hear: False asks step 3 without the clip, a cascade: what the text alone carries.
    label: the table's `method`; by default "agent" with what differs.

    Raises ValueError for another source, and for an item whose truth the benchmark does not tell (`annotations.told`).
    """
    for name, source in {"type_from": type_from, "text_from": text_from}.items():
        if source not in ("model", "truth"):
            raise ValueError(f"{name} = {source!r}: it is 'model' or 'truth'")
    types = [annotations.type_of(item) if type_from == "truth" else "" for item in items]
    texts = [annotations.text_of(item) if text_from == "truth" else ("", "") for item in items]
    work = [_Work(item=i, type=t, kind=k, text=x) for i, t, (k, x) in zip(items, types, texts)]
    if type_from == "model":
        _name_types(model, work, store, seed)
    if text_from == "model":
        _write_texts(model, work, store, seed)
    _answer(model, work, store, seed, hear=hear)
    method = label or _label(type_from, text_from, hear)
    table = outcomes.table(items, [one.reply for one in work], model=model.name, method=method, seed=seed)
    rows = [_row(one, outcome) for one, outcome in zip(work, table["outcome"])]
    return Trace(table=table, steps=pd.DataFrame(rows, columns=list(COLUMNS)))


def read_type(reply: str) -> str:
    """The one type that a reply names, by the rules of `parsing.read`, else "unreadable".

    A letter names none, since the prompt has no letters.
    """
    reading = parsing.read(reply, MODALITIES)
    if reading.choice is None or MODALITIES[reading.choice] not in reading.evidence.casefold():
        return UNREADABLE
    return MODALITIES[reading.choice]


def answer_prompt(item: Item, kind: str, text: str, *, hear: bool = True) -> Prompt:
    """Step 3 for one item: the text in one line, then the question as IDK prompting asks it."""
    asked = prompts.render(item, "idk", audio=hear)
    note = NOTE.format(kind=kind, text=" ".join(text.split()))
    (turn,) = asked.turns
    return replace(asked, turns=(replace(turn, text=note + turn.text),))


def _name_types(model: Model, work: Sequence[_Work], store: Store, seed: int) -> None:
    asked = [prompts.render(one.item, "audio_type") for one in work]
    replies = _replies(model, asked, store, "type", MAX_NEW_TOKENS["audio_type"], seed)
    for one, reply in zip(work, replies):
        one.reply = _failure(reply, "type")
        one.type_reply, one.type = reply.text, FAILED if one.reply else read_type(reply.text)


def _write_texts(model: Model, work: Sequence[_Work], store: Store, seed: int) -> None:
    alive = [one for one in work if one.reply is None]
    for one in alive:
        route = DEFAULT if one.type == UNREADABLE else one.type
        one.kind, one.text_prompt = annotations.KINDS[route], TEXT_PROMPTS[route]
    turns = [Turn(role="user", text=one.text_prompt, clips=(one.item.clip,)) for one in alive]
    asked = [Prompt(turns=(turn,)) for turn in turns]
    for one, reply in zip(alive, _replies(model, asked, store, "text", TEXT_TOKENS, seed)):
        one.text, one.reply = reply.text, _failure(reply, "text")


def _answer(model: Model, work: Sequence[_Work], store: Store, seed: int, *, hear: bool) -> None:
    alive = [one for one in work if one.reply is None]
    for one in alive:
        one.prompt = answer_prompt(one.item, one.kind, one.text, hear=hear)
    asked = [one.prompt for one in alive]
    for one, reply in zip(alive, _replies(model, asked, store, "answer", MAX_NEW_TOKENS["idk"], seed)):
        one.reply = _failure(reply, "answer") or reply


def _replies(
    model: Model, asked: Sequence[Prompt], store: Store, step: str, limit: int, seed: int
) -> list[Reply]:
    progress = f"{model.name}, agent's {step}"
    return [one[0] for one in store.ask(model, asked, max_new_tokens=limit, seed=seed, progress=progress)]


def _failure(reply: Reply, step: str) -> Reply | None:
    """The item's last reply, if this step's is none."""
    return failed(f"step {step}: {reply.error}") if reply.finish == "failed" else None


def _row(one: _Work, outcome: str) -> dict:
    item, gold = one.item, one.item.gold
    return {
        "item": item.id, "modality": item.modality, "true": annotations.clip_type(item), "type_reply": one.type_reply,
        "type": one.type, "kind": one.kind, "text_prompt": one.text_prompt, "text": one.text,
        "answer_prompt": one.prompt.turns[-1].text if one.prompt else "", "reply": one.reply.text,
        "outcome": outcome, "error": one.reply.error,
        "states_gold": gold is not None and item.options[gold] in annotations.named(one.text, item.options),
        "transcript": str(item.truth.get("transcript") or ""),
        "content": annotations.labels_of(item),
    }  # fmt: skip


def _label(type_from: str, text_from: str, hear: bool) -> str:
    true = [name for name, source in {"type": type_from, "text": text_from}.items() if source == "truth"]
    parts = ["agent", *([f"true {' and '.join(true)}"] if true else []), *([] if hear else ["no audio"])]
    return ", ".join(parts)
