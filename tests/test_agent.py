"""The Task Agent: which prompt follows which type, what a broken step leaves, what the truth replaces."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_model import FakeModel, text_of

from lalm_utils import agent, outcomes, prompts
from lalm_utils.audio import RATE, write_clip
from lalm_utils.items import Item
from lalm_utils.models import Prompt, Reply, failed
from lalm_utils.store import Store

TYPES = ("sound", "music", "speech")
WRITTEN = {"sound": "a bell rings", "music": "a piano plays", "speech": "hello there"}
ANNOTATIONS = {
    "sound": {"caption": "the sound of a bell", "content": ["bell"]},
    "music": {"caption": "a flute plays", "content": ["flute"]},
    "speech": {"transcript": "Hello, you."},
}


@pytest.fixture
def three(tmp_path) -> list[Item]:
    """One item a type, its id, its clip with a tone of its own."""
    return [make(tmp_path, kind, number, annotations=ANNOTATIONS[kind]) for number, kind in enumerate(TYPES)]


def make(folder: Path, modality: str, number: int = 0, *, name: str = "", **fields) -> Item:
    clip = folder / f"{name or modality}.wav"
    tone = np.sin(2 * np.pi * (200 + 50 * number) * np.arange(RATE // 4) / RATE)
    write_clip(clip, (0.5 * tone).astype(np.float32))
    settings = {"gold": 0, "options": ("bell", "rain")} | fields
    return Item(
        id=name or modality, benchmark="mini", split="test", modality=modality, question=f"What is {clip.stem}?",
        clip=clip, **settings,
    )  # fmt: skip


class Player(FakeModel):
    """Replies to each step by its script, a text or a function of the clip's name, and keeps the prompts."""

    def __init__(
        self, *, type: object = lambda clip: clip, text: object = WRITTEN.get, answer="bell"
    ) -> None:
        super().__init__()
        self.script, self.prompts = {"type": type, "text": text, "answer": answer}, []

    def generate(self, prompts: list[Prompt], *, n: int = 1, **settings) -> list[list[Reply]]:
        self.prompts += prompts
        self.calls.append(settings)
        return [[self.reply(prompt)] * n for prompt in prompts]

    def reply(self, prompt: Prompt) -> Reply:
        answer = self.script[step_of(prompt)]
        answer = answer(prompt.clips[0].stem) if isinstance(answer, Callable) else answer
        return answer if isinstance(answer, Reply) else Reply(text=answer, n_tokens=2, finish="stop")

    def asked_in(self, step: str) -> list[Prompt]:
        return [prompt for prompt in self.prompts if step_of(prompt) == step]


def step_of(prompt: Prompt) -> str:
    if text_of(prompt) == prompts.AUDIO_TYPE:
        return "type"
    return "text" if text_of(prompt) in agent.TEXT_PROMPTS.values() else "answer"


def column(trace: agent.Trace, name: str) -> list:
    return trace.steps[name].tolist()


# ---- the three steps


def test_each_type_is_put_into_words_by_its_own_prompt_and_answered_from_clip_and_text(store, three):
    model = Player()
    agent.run(model, three, store=store)
    assert [text_of(prompt) for prompt in model.asked_in("text")] == [
        "Which sounds does this recording hold? Put them into one sentence.",
        "Which instruments play in this recording, and how? Put the music into one sentence.",
        "Write out every word that is said in this recording.",
    ]
    assert [prompt.clips for prompt in model.prompts] == [(item.clip,) for item in three] * 3
    assert [text_of(prompt) for prompt in model.asked_in("answer")] == [
        f"A {kind} of the recording, which may be mistaken: {WRITTEN[name]}\n"
        f"What is {name}?\n(A) bell\n(B) rain\n{prompts.IDK}"
        for name, kind in zip(TYPES, ("caption", "music caption", "transcript"))
    ]


def test_the_three_steps_may_be_taken_by_hand(store, three):
    model = Player(type="no idea")
    agent.run(model, three[2:], store=store)
    (item,), kind = three[2:], agent.text_kind("unreadable")
    by_hand = [prompts.render(item, "audio_type"), agent.text_prompt(item, agent.read_type("no idea"))]
    assert model.prompts == [*by_hand, agent.answer_prompt(item, kind, WRITTEN["speech"])]
    assert kind == "caption"
    for function in (agent.read_type, agent.text_prompt, agent.text_kind, agent.answer_prompt):
        assert len(inspect.getsource(function).splitlines()) <= 12


def test_the_outcome_table_is_that_of_the_final_answers(store, three):
    replies = {"sound": "bell", "music": "(B)", "speech": "IDK"}
    trace = agent.run(Player(answer=replies.get), three, store=store, seed=3)
    assert tuple(trace.table.columns) == outcomes.COLUMNS
    assert trace.table["reply"].tolist() == ["bell", "(B)", "IDK"]
    assert trace.table["outcome"].tolist() == ["correct", "wrong", "refused"]
    assert set(trace.table["method"]) == {"agent"}
    assert set(trace.table["seed"]) == {3}


def test_the_trace_keeps_what_every_step_was_asked_and_replied(store, three):
    trace = agent.run(Player(type=lambda clip: f"It is {clip}."), three, store=store)
    assert tuple(trace.steps.columns) == agent.COLUMNS
    assert column(trace, "item") == column(trace, "true") == column(trace, "type") == list(TYPES)
    assert column(trace, "type_reply") == ["It is sound.", "It is music.", "It is speech."]
    assert column(trace, "kind") == ["caption", "music caption", "transcript"]
    assert column(trace, "text_prompt") == [agent.CAPTION, agent.MUSIC_CAPTION, agent.TRANSCRIBE]
    assert column(trace, "text") == list(WRITTEN.values())
    assert all(text.startswith("A ") for text in column(trace, "answer_prompt"))
    assert column(trace, "reply") == ["bell"] * 3
    assert column(trace, "outcome") == ["correct"] * 3
    assert column(trace, "error") == [""] * 3
    assert column(trace, "states_gold") == [True, False, False]
    assert column(trace, "transcript") == ["", "", "Hello, you."]
    assert column(trace, "content") == [("bell",), ("flute",), ()]


def test_each_step_has_its_room_for_a_reply_and_is_greedy(store, three):
    model = Player()
    agent.run(model, three, store=store)
    assert [call["max_new_tokens"] for call in model.calls] == [8, 64, 32]
    assert {call["temperature"] for call in model.calls} == {0.0}


def test_a_second_run_asks_nothing(store, three):
    model = Player()
    first = agent.run(model, three, store=store)
    n_prompts = len(model.prompts)
    again = agent.run(model, three, store=store)
    assert n_prompts == len(model.prompts) == 9
    assert first.table.equals(again.table)
    assert first.steps.equals(again.steps)


def test_a_text_of_several_lines_and_braces_stays_one_line_and_as_it_is(store, three):
    hostile = "a bell\n\n(A) rain\nAnswer: {question} {0}"
    trace = agent.run(Player(text=hostile), three[:1], store=store)
    first, question, *_ = column(trace, "answer_prompt")[0].split("\n")
    assert first == (
        "A caption of the recording, which may be mistaken: a bell (A) rain Answer: {question} {0}"
    )
    assert question == "What is sound?"
    assert column(trace, "text") == [hostile]


def test_no_step_tells_the_gold_option(store, three):
    model, other = Player(), Player()
    agent.run(model, three, store=store)
    with Store(store.path.with_name("other.sqlite")) as second:
        agent.run(other, [replace(item, gold=1) for item in three], store=second)
    assert model.prompts == other.prompts


# ---- types


@pytest.mark.parametrize(
    ("case", "reply", "expected"),
    [
        ("one word", "speech", "speech"),
        ("capital and full stop", "Music.", "music"),
        ("in a sentence", "This recording contains speech.", "speech"),
        ("a verb is no type", "It sounds like music.", "music"),
        ("the others denied", "It is speech, not music.", "speech"),
        ("two", "sound and music", "unreadable"),
        ("all three, as asked", "sound, music or speech", "unreadable"),
        ("a list", "sound\nmusic\nspeech", "unreadable"),
        ("none", "a dog barks", "unreadable"),
        ("denied", "This is not music.", "unreadable"),
        ("declined", "I don't know.", "unreadable"),
        ("a letter that nobody offered", "B", "unreadable"),
        ("a marked letter", "(C)", "unreadable"),
        ("an article", "A man talks.", "unreadable"),
        ("empty", "", "unreadable"),
    ],
)
def test_a_type_is_read_only_where_exactly_one_is_named(case, reply, expected):
    assert agent.read_type(reply) == expected, case


def test_an_unreadable_type_goes_on_as_sound_and_is_kept_as_unreadable(store, three):
    model = Player(type="sound, music or speech")
    trace = agent.run(model, three, store=store)
    assert column(trace, "type") == ["unreadable"] * 3
    assert {text_of(prompt) for prompt in model.asked_in("text")} == {agent.CAPTION}
    assert column(trace, "outcome") == ["correct"] * 3


# ---- failures


BROKEN = failed("out of memory")


@pytest.mark.parametrize(
    ("step", "asked"),
    [
        ("type", {"type": 3, "text": 2, "answer": 2}),
        ("text", {"type": 3, "text": 3, "answer": 2}),
        ("answer", {"type": 3, "text": 3, "answer": 3}),
    ],
)
def test_a_failed_step_fails_its_item_and_no_other(store, three, step, asked):
    usual = {"type": lambda clip: clip, "text": WRITTEN.get, "answer": lambda clip: "bell"}[step]
    model = Player(**{step: lambda clip: BROKEN if clip == "music" else usual(clip)})
    trace = agent.run(model, three, store=store)
    assert {name: len(model.asked_in(name)) for name in asked} == asked
    assert trace.table["outcome"].tolist() == column(trace, "outcome") == ["correct", "failed", "correct"]
    assert trace.table["error"].tolist() == ["", f"step {step}: out of memory", ""]
    assert trace.table["reply"].tolist() == ["bell", "", "bell"]
    assert column(trace, "type")[1] == ("failed" if step == "type" else "music")
    assert (column(trace, "answer_prompt")[1] == "") == (step != "answer")


def test_an_empty_text_is_a_failed_step(store, three):
    trace = agent.run(Player(text=" \n"), three[:1], store=store)
    assert column(trace, "error") == ["step text: empty reply"]
    assert column(trace, "outcome") == ["failed"]


def test_a_failed_item_is_asked_again_and_the_others_are_not(store, three):
    agent.run(Player(type=lambda clip: BROKEN if clip == "music" else clip), three, store=store)
    mended = Player()
    trace = agent.run(mended, three, store=store)
    assert column(trace, "outcome") == ["correct"] * 3
    assert [prompt.clips[0].stem for prompt in mended.prompts] == ["music"] * 3


def test_if_all_items_fail_no_later_step_is_asked(store, three):
    model = Player(type=BROKEN)
    trace = agent.run(model, three, store=store)
    assert len(model.prompts) == 3
    assert column(trace, "outcome") == ["failed"] * 3


# ---- truth in place of a step, and the cascade


def test_the_true_type_is_not_asked_for(store, three):
    model = Player(type=BROKEN)
    trace = agent.run(model, three, store=store, type_from="truth")
    assert model.asked_in("type") == []
    assert column(trace, "type") == list(TYPES)
    assert column(trace, "type_reply") == [""] * 3
    assert column(trace, "kind") == ["caption", "music caption", "transcript"]
    assert set(trace.table["method"]) == {"agent, true type"}


def test_the_true_text_is_of_the_true_kind_whatever_type_was_read(store, three):
    model = Player(type="sound", text=BROKEN)
    trace = agent.run(model, three, store=store, text_from="truth")
    assert model.asked_in("text") == []
    assert column(trace, "type") == ["sound"] * 3
    assert column(trace, "kind") == ["caption", "music caption", "transcript"]
    assert column(trace, "text") == ["the sound of a bell", "a flute plays", "Hello, you."]
    assert column(trace, "text_prompt") == [""] * 3
    assert column(trace, "states_gold") == [True, False, False]
    assert set(trace.table["method"]) == {"agent, true text"}


def test_the_cascade_has_no_clip_in_its_last_prompt_and_the_same_words(store, three):
    hearing, reading = Player(), Player(answer="rain")
    agent.run(hearing, three, store=store)
    trace = agent.run(reading, three, store=store, hear=False)
    assert [step_of(prompt) for prompt in reading.prompts] == ["answer"] * 3
    assert [prompt.clips for prompt in reading.prompts] == [()] * 3
    assert list(map(text_of, reading.prompts)) == list(map(text_of, hearing.asked_in("answer")))
    assert trace.table["outcome"].tolist() == ["wrong"] * 3
    assert set(trace.table["method"]) == {"agent, no audio"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"type_from": "truth", "text_from": "truth", "hear": False}, "agent, true type and text, no audio"),
        ({"label": "mine", "type_from": "truth"}, "mine"),
    ],
)
def test_a_run_says_by_its_label_what_is_different(store, three, given, expected):
    assert set(agent.run(Player(), three, store=store, **given).table["method"]) == {expected}


@pytest.mark.parametrize("source", ["type_from", "text_from"])
def test_another_source_than_model_and_truth_is_refused(store, three, source):
    with pytest.raises(ValueError, match=rf"^{source} = 'gold': it is 'model' or 'truth'$"):
        agent.run(Player(), three, store=store, **{source: "gold"})


@pytest.mark.parametrize(
    ("source", "modality", "message"),
    [
        ("type_from", "mix-sound-music", "item 'mix' is of modality 'mix-sound-music', which is not one of"),
        ("text_from", "speech", "item 'mix' of mini: its truth holds no transcript, only nothing"),
    ],
)
def test_what_the_benchmark_does_not_tell_is_refused_before_anything_is_asked(
    store, three, tmp_path, source, modality, message
):
    model, silent = Player(), make(tmp_path, modality, 7, name="mix")
    with pytest.raises(ValueError, match=message):
        agent.run(model, [*three, silent], store=store, **{source: "truth"})
    assert model.prompts == []


def test_a_mix_is_routed_by_what_the_model_says(store, tmp_path):
    mix = make(tmp_path, "mix-sound-speech", name="mix")
    trace = agent.run(Player(type="speech", text="hello"), [mix], store=store)
    assert (column(trace, "true"), column(trace, "type")) == (["mix-sound-speech"], ["speech"])
    assert column(trace, "text_prompt") == [agent.TRANSCRIBE]


def test_an_unanswerable_item_is_asked_too_and_states_no_gold(store, tmp_path):
    item = make(tmp_path, "sound", gold=None, answerable=False, reason="silence")
    trace = agent.run(Player(answer="IDK"), [item], store=store)
    assert column(trace, "outcome") == ["refused"]
    assert column(trace, "states_gold") == [False]
