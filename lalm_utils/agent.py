"""The Task Agent (arXiv 2505.19294): name the audio's type, put the audio into words, answer from both.

In: a model, items, a store. Out: a `Trace`: the outcome table of the final answers, and one row per item with
the prompt and reply of each step. One model plays all three steps, each through the store:

1. *type*: sound, music or speech. A reply that does not name exactly one of them is `unreadable`, and its item
   goes on as `DEFAULT`; `agent_measures.routing` counts how many did.
2. *text*: speech is transcribed, sound and music are captioned.
3. *answer*: the question below that text, with the clip, and with the permission to decline of IDK prompting.

A step without a reply ends its item: the outcome is `failed`, never an answer from what is left. The paper's
wordings are not public; these are ours. How good the steps are, agent_measures tells.
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
class _ItemState:
    """An item between the steps. `reply` is set when it is answered, or when a step has failed."""

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
    max_new_tokens: int | None = None,
) -> Trace:
    """Take `items` through the three steps, greedily; replies already stored are not asked for again.

    type_from, text_from: "truth" takes that step's result from the benchmark (`annotations.type_of`,
    `annotations.text_of`) and asks nothing for it. A true text is of the clip's true kind, whatever type was
    read. It may state the right option, and on some tasks always does: a run with it is an upper bound on
    what a better second step could give, not a result. `Trace.steps.states_gold` tells these items apart.
    hear: False asks step 3 without the clip, a cascade: what the text alone carries.
    label: the table's `method`; by default "agent" with what differs.
    max_new_tokens: the limit of each step's reply (default: each step's own).

    Raises ValueError for another source, and for an item without that annotation (`annotations.available`).
    """
    for name, source in {"type_from": type_from, "text_from": text_from}.items():
        if source not in ("model", "truth"):
            raise ValueError(f"{name} = {source!r}: it is 'model' or 'truth'")
    types = [annotations.type_of(item) if type_from == "truth" else "" for item in items]
    texts = [annotations.text_of(item) if text_from == "truth" else ("", "") for item in items]
    states = [_ItemState(item=i, type=t, kind=k, text=x) for i, t, (k, x) in zip(items, types, texts)]
    if type_from == "model":
        _name_types(model, states, store, seed, max_new_tokens)
    if text_from == "model":
        _write_texts(model, states, store, seed, max_new_tokens)
    _answer(model, states, store, seed, max_new_tokens, hear=hear)
    method = label or _label(type_from, text_from, hear)
    table = outcomes.table(
        items, [state.reply for state in states], model=model.name, method=method, seed=seed
    )
    rows = [_row(state, outcome) for state, outcome in zip(states, table["outcome"])]
    return Trace(table=table, steps=pd.DataFrame(rows, columns=list(COLUMNS)))


def read_type(reply: str) -> str:
    """The one type that a reply names, by the rules of `parsing.read`, else "unreadable".

    A letter names none, since the prompt has no letters.
    """
    reading = parsing.read(reply, MODALITIES)
    if reading.choice is None or MODALITIES[reading.choice] not in reading.evidence.casefold():
        return UNREADABLE
    return MODALITIES[reading.choice]


def text_prompt(item: Item, audio_type: str) -> Prompt:
    """Step 2 for one item: a transcript of speech, a caption of sound or music; DEFAULT for an unreadable type."""
    text = TEXT_PROMPTS[DEFAULT if audio_type == UNREADABLE else audio_type]
    return Prompt(turns=(Turn(role="user", text=text, clips=(item.clip,)),))


def text_kind(audio_type: str) -> str:
    """What step 2 writes for a type: caption, music caption or transcript."""
    return annotations.TEXT_KINDS[DEFAULT if audio_type == UNREADABLE else audio_type]


def answer_prompt(item: Item, kind: str, text: str, *, hear: bool = True) -> Prompt:
    """Step 3 for one item: the text in one line, then the question as IDK prompting asks it."""
    prompt = prompts.render(item, "idk", audio=hear)
    note = NOTE.format(kind=kind, text=" ".join(text.split()))
    (turn,) = prompt.turns
    return replace(prompt, turns=(replace(turn, text=note + turn.text),))


def _name_types(
    model: Model, states: Sequence[_ItemState], store: Store, seed: int, limit: int | None
) -> None:
    questions = [prompts.render(state.item, "audio_type") for state in states]
    replies = _replies(model, questions, store, "type", limit or MAX_NEW_TOKENS["audio_type"], seed)
    for state, reply in zip(states, replies):
        state.reply = _failure(reply, "type")
        state.type_reply, state.type = reply.text, FAILED if state.reply else read_type(reply.text)


def _write_texts(
    model: Model, states: Sequence[_ItemState], store: Store, seed: int, limit: int | None
) -> None:
    pending = [state for state in states if state.reply is None]
    questions = [text_prompt(state.item, state.type) for state in pending]
    for state, question in zip(pending, questions):
        state.kind, state.text_prompt = text_kind(state.type), question.turns[-1].text
    for state, reply in zip(pending, _replies(model, questions, store, "text", limit or TEXT_TOKENS, seed)):
        state.text, state.reply = reply.text, _failure(reply, "text")


def _answer(
    model: Model, states: Sequence[_ItemState], store: Store, seed: int, limit: int | None, *, hear: bool
) -> None:
    pending = [state for state in states if state.reply is None]
    for state in pending:
        state.prompt = answer_prompt(state.item, state.kind, state.text, hear=hear)
    questions = [state.prompt for state in pending]
    replies = _replies(model, questions, store, "answer", limit or MAX_NEW_TOKENS["idk"], seed)
    for state, reply in zip(pending, replies):
        state.reply = _failure(reply, "answer") or reply


def _replies(
    model: Model, questions: Sequence[Prompt], store: Store, step: str, limit: int, seed: int
) -> list[Reply]:
    progress = f"{model.name}, agent's {step}"
    replies = store.ask(model, questions, max_new_tokens=limit, seed=seed, progress=progress)
    return [reply for (reply,) in replies]


def _failure(reply: Reply, step: str) -> Reply | None:
    """The item's last reply, if this step's is none."""
    return failed(f"step {step}: {reply.error}") if reply.finish == "failed" else None


def _row(state: _ItemState, outcome: str) -> dict:
    item, gold = state.item, state.item.gold
    return {
        "item": item.id, "modality": item.modality, "true": annotations.clip_type(item), "type_reply": state.type_reply,
        "type": state.type, "kind": state.kind, "text_prompt": state.text_prompt, "text": state.text,
        "answer_prompt": state.prompt.turns[-1].text if state.prompt else "", "reply": state.reply.text,
        "outcome": outcome, "error": state.reply.error,
        "states_gold": gold is not None and item.options[gold] in annotations.labels_in(state.text, item.options),
        "transcript": str(item.annotations.get("transcript") or ""),
        "content": annotations.labels_of(item),
    }  # fmt: skip


def _label(type_from: str, text_from: str, hear: bool) -> str:
    true = [name for name, source in {"type": type_from, "text": text_from}.items() if source == "truth"]
    parts = ["agent", *([f"true {' and '.join(true)}"] if true else []), *([] if hear else ["no audio"])]
    return ", ".join(parts)
