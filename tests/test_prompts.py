"""The methods' prompts: their exact text, since stored replies and published figures belong to a wording."""

from __future__ import annotations

import re
import string
from functools import cache
from pathlib import Path

import pytest

from lalm_utils import agent, parsing, prompts
from lalm_utils.items import Item
from lalm_utils.mini.benchmark import font, sounds, tasks_music, tasks_sound, tasks_speech, voice, words
from lalm_utils.mini.benchmark.plan import PlannedItem, plan
from lalm_utils.mini.training import chat, wordings
from lalm_utils.prompts import HONEST, MUSIC, SOUND, SPEECH, render

CLIP = Path("/data/clips/17.wav")
QUESTION = "Which sound is heard in this clip?"
ITEM = Item(
    id="17", benchmark="mini", split="test", modality="sound", question=QUESTION,
    options=("bell", "dog bark", "rain"), gold=1, clip=CLIP,
)  # fmt: skip
LISTED = f"{QUESTION}\n(A) bell\n(B) dog bark\n(C) rain\n"
PLAIN = "Which option is correct? Reply with the text of that option."
STEPS = "Think step by step about what you hear. Then finish with a line that starts with 'Answer:'."
STEPS_IDK = f"{STEPS} If you do not know the answer, that line reads 'Answer: IDK'."
ONE_EXAMPLE = """These examples tell in words what was heard.

Heard: a trumpet plays a short tune, then a piano repeats it more softly
Question: Which instrument repeats the tune?
(A) piano
(B) trumpet
(C) violin
(D) flute
Reply:
The tune comes from a trumpet at first. Its repetition is struck on keys, and softer.
Answer: piano

Now the audio that you were given.
"""


@pytest.mark.parametrize(
    ("method", "text"),
    [
        ("plain", LISTED + PLAIN),
        ("idk", f"{LISTED}{PLAIN} If you do not know the answer, reply only with IDK."),
        ("stepwise", LISTED + STEPS),
        ("stepwise_idk", LISTED + STEPS_IDK),
        ("audio_type", "What does this recording contain: sound, music or speech? Reply with one word."),
    ],
)
def test_a_method_asks_in_these_words(method, text):
    [turn] = render(ITEM, method).turns
    assert (turn.role, turn.text, turn.clips) == ("user", text, (CLIP,))


def test_plain_is_the_default():
    assert render(ITEM) == render(ITEM, "plain")


def test_permission_to_decline_is_the_only_difference_to_the_plain_prompt():
    plain, idk = (render(ITEM, method).turns[0].text for method in ("plain", "idk"))
    assert idk.startswith(plain)
    assert idk.removeprefix(plain) == " If you do not know the answer, reply only with IDK."


# ---- worked examples


def test_an_example_is_written_out_before_the_question():
    [turn] = render(ITEM, "mcot_no_idk", exemplars=(MUSIC,)).turns
    assert (turn.role, turn.text, turn.clips) == ("user", ONE_EXAMPLE + LISTED + STEPS, (CLIP,))


@pytest.mark.parametrize(
    ("few", "zero", "exemplars"),
    [
        ("mcot", "stepwise_idk", [SOUND, MUSIC, HONEST, SPEECH]),
        ("mcot_no_idk", "stepwise", [SOUND, MUSIC, SPEECH]),
    ],
)
def test_the_examples_are_the_only_difference_to_the_prompt_without_them(few, zero, exemplars):
    with_examples, without = (render(ITEM, method).turns[0].text for method in (few, zero))
    assert with_examples == prompts.exemplar_text(exemplars) + without
    assert render(ITEM, few, exemplars=()) == render(ITEM, zero)


def test_permission_is_a_sentence_and_an_example_that_uses_it():
    for with_idk, without in (("stepwise_idk", "stepwise"), ("mcot", "mcot_no_idk")):
        asked_text, forced = (render(ITEM, method).turns[0].text for method in (with_idk, without))
        assert asked_text.endswith("'Answer: IDK'.")
        assert "IDK" not in forced
    assert set(prompts.EXEMPLARS["mcot"]) - set(prompts.EXEMPLARS["mcot_no_idk"]) == {HONEST}
    assert prompts.EXEMPLARS["mcot"][-1] != HONEST


def test_examples_come_in_the_order_and_number_that_are_asked_for():
    text = render(ITEM, "mcot", exemplars=(SPEECH, SOUND)).turns[0].text
    assert text.index(SPEECH.steps) < text.index(SOUND.steps) < text.index(QUESTION)
    assert text.count("Heard: ") == 2
    assert prompts.exemplar_text(()) == ""


@pytest.mark.parametrize("method", ["plain", "stepwise_idk", "audio_type"])
def test_examples_for_a_method_that_shows_none_are_refused(method):
    few = "mcot or mcot_no_idk or mcot_turns or mcot_turns_no_idk"
    message = rf"^method '{method}' shows no examples: give them to {few}$"
    with pytest.raises(ValueError, match=message):
        render(ITEM, method, exemplars=(SOUND,))


# ---- earlier turns


@pytest.mark.parametrize(
    ("method", "zero", "exemplars"),
    [
        ("mcot_turns", "stepwise_idk", [SOUND, MUSIC, HONEST, SPEECH]),
        ("mcot_turns_no_idk", "stepwise", [SOUND, MUSIC, SPEECH]),
    ],
)
def test_earlier_turns_are_the_only_difference_to_the_prompt_without_examples(method, zero, exemplars):
    prompt = render(ITEM, method)
    assert prompt.turns[-1:] == render(ITEM, zero).turns
    assert [turn.role for turn in prompt.turns] == ["user", "assistant"] * len(exemplars) + ["user"]
    assert [turn.text for turn in prompt.turns[1::2]] == [exemplar.reply for exemplar in exemplars]
    assert prompt.clips == (CLIP,)
    assert render(ITEM, method, exemplars=()) == render(ITEM, zero)


def test_an_example_as_a_turn_is_told_and_asked_like_the_question():
    user, assistant, _ = render(ITEM, "mcot_turns_no_idk", exemplars=(MUSIC,)).turns
    assert user.text == (
        "Heard: a trumpet plays a short tune, then a piano repeats it more softly\n"
        "Which instrument repeats the tune?\n(A) piano\n(B) trumpet\n(C) violin\n(D) flute\n" + STEPS
    )
    assert user.clips == ()
    assert assistant.text == MUSIC.reply


# ---- wordings of the permission


@pytest.mark.parametrize(
    ("method", "sentence"),
    [
        ("idk", " If you do not know the answer, reply only with IDK."),
        ("idk_sentence", " If you don't know the answer, only reply with 'I don't know'."),
        ("idk_unsure", " If you are not sure of the answer, reply only with IDK."),
        ("idk_may", " You may reply IDK."),
    ],
)
def test_a_wording_of_the_permission_is_one_sentence_behind_the_plain_prompt(method, sentence):
    assert set(prompts.PERMISSIONS) == {"idk", "idk_sentence", "idk_unsure", "idk_may"}
    assert render(ITEM, method).turns[0].text == LISTED + PLAIN + sentence


# ---- every method


@pytest.mark.parametrize(
    ("method", "options"),
    [
        *((method, ("bell", "dog bark", "rain")) for method in prompts.QUESTIONS),
        ("audio_type", ("sound", "music", "speech")),
    ],
)
def test_a_prompt_carries_the_options_that_it_offers(method, options):
    prompt = render(ITEM, method)
    assert prompt.options == options
    assert all(option in prompt.turns[-1].text for option in options)


@pytest.mark.parametrize("method", [*prompts.QUESTIONS, "audio_type"])
def test_without_audio_only_the_clip_is_left_out(method):
    with_clip, without_clip = render(ITEM, method), render(ITEM, method, audio=False)
    assert with_clip.clips == (CLIP,)
    assert without_clip.clips == ()
    assert (without_clip.turns[0].text, without_clip.options) == (with_clip.turns[0].text, with_clip.options)


def test_no_method_tells_the_gold_option():
    for gold in (0, 2, None):
        other = Item(**{**vars(ITEM), "gold": gold})
        for method in (*prompts.QUESTIONS, "audio_type"):
            assert render(other, method) == render(ITEM, method)


def test_eight_options_are_lettered_to_h():
    listed = prompts.listing(tuple(f"option {i}" for i in range(8)))
    assert listed.splitlines()[0] == "(A) option 0"
    assert listed.splitlines()[-1] == "(H) option 7"


def test_braces_in_a_question_or_an_option_stay_as_they_are():
    odd = Item(**{**vars(ITEM), "question": "What is {x}?", "options": ("{}", "{options}"), "gold": 0})
    assert render(odd).turns[0].text == "What is {x}?\n(A) {}\n(B) {options}\n" + PLAIN


@pytest.mark.parametrize("method", ["IDK", "", "cot"])
def test_an_unknown_method_is_refused_with_those_that_exist(method):
    known = "plain, idk, stepwise, stepwise_idk, mcot, mcot_no_idk, mcot_turns, mcot_turns_no_idk, "
    known += "idk_sentence, idk_unsure, idk_may, audio_type"
    message = rf"^no method '{method}': choose one of {known}$"
    with pytest.raises(ValueError, match=message):
        render(ITEM, method)


# ---- the examples: nobody's items, no label that is held out, each readable as what it shows

ALL = (SOUND, MUSIC, SPEECH, HONEST)
each_exemplar = pytest.mark.parametrize("exemplar", ALL, ids=lambda exemplar: exemplar.question)


@cache
def planned() -> tuple[PlannedItem, ...]:
    """Every item that may be asked, text only: nothing is rendered."""
    return tuple(item for split in ("test", "dev", "idk", "unanswerable") for item in plan(split))


def bare(text: str) -> str:
    """Without case, punctuation and differences of spacing."""
    return " ".join(text.translate(str.maketrans("", "", string.punctuation)).casefold().split())


def sentences(text: str) -> set[str]:
    return {bare(part) for part in re.split(r"(?<=[.?!;:])\s+|\n", text)} - {""}


def test_no_text_of_an_example_is_an_items():
    truths = [item.spec.truth for item in planned()]
    texts = {bare(str(truth.get(key) or "")) for truth in truths for key in ("caption", "transcript")} - {""}
    questions = {bare(wording) for item in planned() for wording in item.spec.wordings}
    rationales = {bare(item.spec.rationale) for item in planned()}
    assert len(planned()) > 2000
    assert min(len(texts), len(questions), len(rationales)) > 80
    for exemplar in ALL:
        own = sentences(exemplar.description) | sentences(exemplar.question) | sentences(exemplar.steps)
        assert not own & (texts | questions | rationales), exemplar.question
        for text in texts:
            if len(text.split()) > 3:  # shorter ones are labels, which examples and items share on purpose
                assert text not in bare(f"{exemplar.description} {exemplar.steps}"), exemplar.question


def test_no_item_offers_the_options_of_an_example():
    offered = {frozenset(map(bare, item.spec.options)) for item in planned()}
    for exemplar in ALL:
        assert frozenset(map(bare, exemplar.options)) not in offered, exemplar.question


def test_no_label_that_is_kept_from_training_occurs_in_an_example():
    novel_labels = {*sounds.IDK_SOUNDS, *sounds.TEST_SOUNDS, *font.IDK_INSTRUMENTS, *font.TEST_INSTRUMENTS}
    novel_labels |= {*voice.IDK_LANGUAGES, *voice.TEST_LANGUAGES}
    novel_labels |= {word for group in (words.IDK, words.TEST) for said in group.values() for word in said}
    exemplar_text = f" {bare(prompts.exemplar_text(ALL))} "
    assert len(novel_labels) > 50
    assert [label for label in novel_labels if f" {bare(label)} " in exemplar_text] == []


def test_every_option_of_an_example_is_a_label_that_training_uses():
    trained = {
        *sounds.TRAIN_SOUNDS,
        *font.TRAIN_INSTRUMENTS,
        *(w for said in words.TRAIN.values() for w in said),
    }
    assert {option for exemplar in ALL for option in exemplar.options} <= trained


@each_exemplar
def test_an_example_ends_in_a_line_that_is_read_as_its_own_answer(exemplar):
    *_steps, last = exemplar.reply.split("\n")
    assert last.startswith("Answer: ")
    for text in (last, exemplar.reply):
        reading = parsing.read(text, exemplar.options)
        expected = ("refusal", None) if exemplar.gold is None else ("option", exemplar.gold)
        assert (reading.kind, reading.choice) == expected, text


def test_there_is_one_example_a_modality_with_an_answer_and_one_that_declines():
    assert [exemplar.modality for exemplar in ALL if exemplar.gold is not None] == [
        "sound",
        "music",
        "speech",
    ]
    assert [exemplar for exemplar in ALL if exemplar.gold is None] == [HONEST]
    assert HONEST.reply.endswith("\nAnswer: IDK")


def test_the_right_options_stand_in_different_places():
    assert len({exemplar.gold for exemplar in ALL}) == 4


@each_exemplar
def test_the_steps_are_one_line_of_text(exemplar):
    for text in (exemplar.description, exemplar.question, exemplar.steps, *exemplar.options):
        assert text.strip() == text != ""
        assert "\n" not in text
    assert "Answer:" not in exemplar.steps + exemplar.description


CONSTANTS = {
    **{name: getattr(prompts, name) for name in ("PLAIN", "IDK", "STEPWISE", "STEPWISE_IDK", "AUDIO_TYPE")},
    **{name: getattr(agent, name) for name in ("TRANSCRIBE", "CAPTION", "MUSIC_CAPTION", "NOTE")},
    "examples": prompts.exemplar_text(ALL),
    **prompts.PERMISSIONS,
}


@pytest.mark.parametrize("name", CONSTANTS)
def test_no_wording_of_a_method_is_one_of_training(name):
    trained = (*wordings.CHOOSE, *wordings.PERMIT, *wordings.REASON, *wordings.TYPE, *wordings.DESCRIBE)
    trained += (*wordings.TRANSCRIBE, *chat.questions())
    modules = (tasks_sound, tasks_music, tasks_speech)
    tuples = [value for module in modules for value in vars(module).values() if isinstance(value, tuple)]
    trained += tuple(wording for value in tuples for wording in value if isinstance(wording, str))
    training_sentences = set().union(*map(sentences, trained))
    assert len(training_sentences) > 150
    assert not sentences(CONSTANTS[name]) & training_sentences


def test_the_package_has_no_other_examples():
    exemplars = [value for value in vars(prompts).values() if isinstance(value, prompts.Exemplar)]
    assert sorted(map(id, exemplars)) == sorted(map(id, ALL))


@pytest.mark.parametrize(
    "options, listed",
    [
        (("A. dog", "B. cat"), "(A) dog\n(B) cat"),
        (("(A) dog", "(B) cat"), "(A) dog\n(B) cat"),
        (("a) dog", "b) cat"), "(A) dog\n(B) cat"),
        (("1. dog", "2. cat"), "(A) dog\n(B) cat"),
        (("B. dog", "A. cat"), "(A) B. dog\n(B) A. cat"),
        (("A. dog", "cat"), "(A) A. dog\n(B) cat"),
        (("A dog", "B minor"), "(A) A dog\n(B) B minor"),
    ],
)
def test_letters_that_options_carry_themselves_are_not_listed_twice(options, listed):
    assert prompts.listing(options) == listed
