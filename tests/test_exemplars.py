"""The worked examples: nobody's test items, no label kept back, each readable as what it shows."""

from __future__ import annotations

import re
import string
from functools import cache

import pytest

from lalm_utils import agent, exemplars, parsing, prompts
from lalm_utils.exemplars import HONEST, MUSIC, SOUND, SPEECH
from lalm_utils.mini.benchmark import font, sounds, tasks_music, tasks_sound, tasks_speech, voice, words
from lalm_utils.mini.benchmark.plan import PlannedItem, plan
from lalm_utils.mini.training import chat, instruct

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


# ---- whose they are


def test_no_text_of_an_example_is_an_items():
    truths = [item.spec.truth for item in planned()]
    told = {bare(str(truth.get(key) or "")) for truth in truths for key in ("caption", "transcript")} - {""}
    questions = {bare(wording) for item in planned() for wording in item.spec.wordings}
    rationales = {bare(item.spec.rationale) for item in planned()}
    assert len(planned()) > 2000
    assert min(len(told), len(questions), len(rationales)) > 80
    for exemplar in ALL:
        own = sentences(exemplar.heard) | sentences(exemplar.question) | sentences(exemplar.steps)
        assert not own & (told | questions | rationales), exemplar.question
        for text in told:
            if len(text.split()) > 3:  # shorter ones are labels, which examples and items share on purpose
                assert text not in bare(f"{exemplar.heard} {exemplar.steps}"), exemplar.question


def test_no_item_offers_the_options_of_an_example():
    offered = {frozenset(map(bare, item.spec.options)) for item in planned()}
    for exemplar in ALL:
        assert frozenset(map(bare, exemplar.options)) not in offered, exemplar.question


def test_no_label_that_is_kept_from_training_occurs_in_an_example():
    kept = {*sounds.IDK_SOUNDS, *sounds.TEST_SOUNDS, *font.IDK_INSTRUMENTS, *font.TEST_INSTRUMENTS}
    kept |= {*voice.IDK_LANGUAGES, *voice.TEST_LANGUAGES}
    kept |= {word for group in (words.IDK, words.TEST) for said in group.values() for word in said}
    shown = f" {bare(prompts.worked(ALL))} "
    assert len(kept) > 50
    assert [label for label in kept if f" {bare(label)} " in shown] == []


def test_every_option_of_an_example_is_a_label_that_training_uses():
    trained = {
        *sounds.TRAIN_SOUNDS,
        *font.TRAIN_INSTRUMENTS,
        *(w for said in words.TRAIN.values() for w in said),
    }
    assert {option for exemplar in ALL for option in exemplar.options} <= trained


# ---- what they show


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
    for text in (exemplar.heard, exemplar.question, exemplar.steps, *exemplar.options):
        assert text.strip() == text != ""
        assert "\n" not in text
    assert "Answer:" not in exemplar.steps + exemplar.heard


# ---- wordings


CONSTANTS = {
    **{name: getattr(prompts, name) for name in ("PLAIN", "IDK", "STEPWISE", "STEPWISE_IDK", "AUDIO_TYPE")},
    **{name: getattr(agent, name) for name in ("TRANSCRIBE", "CAPTION", "MUSIC_CAPTION", "NOTE")},
    "examples": prompts.worked(ALL),
}


@pytest.mark.parametrize("name", CONSTANTS)
def test_no_wording_of_a_method_is_one_of_training(name):
    trained = (*instruct.CHOOSE, *instruct.PERMIT, *instruct.REASON, *instruct.TYPE, *instruct.DESCRIBE)
    trained += (*instruct.TRANSCRIBE, *chat.questions())
    modules = (tasks_sound, tasks_music, tasks_speech)
    tuples = [value for module in modules for value in vars(module).values() if isinstance(value, tuple)]
    trained += tuple(wording for value in tuples for wording in value if isinstance(wording, str))
    taken = set().union(*map(sentences, trained))
    assert len(taken) > 150
    assert not sentences(CONSTANTS[name]) & taken


def test_the_package_has_no_other_examples():
    found = [value for value in vars(exemplars).values() if isinstance(value, exemplars.Exemplar)]
    assert sorted(map(id, found)) == sorted(map(id, ALL))
