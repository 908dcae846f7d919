"""The training mixture's texts: wordings apart from the methods', refusals in one form only, readable replies."""

from __future__ import annotations

import re
import string
from collections import Counter
from functools import cache

import numpy as np
import pytest

from lalm_utils import agent, parsing, prompts
from lalm_utils.items import Item
from lalm_utils.mini.benchmark import tasks_music, tasks_sound, tasks_speech
from lalm_utils.mini.benchmark.plan import (
    MODALITIES,
    REASONS,
    PlannedItem,
    plan,
    played_labels,
    render,
    unanswerable,
)
from lalm_utils.mini.benchmark.sampling import BalancedPositions
from lalm_utils.mini.training import chat, instruct, wordings, worked_examples
from lalm_utils.mini.training.instruct import FORMS, reshuffle

WORDINGS = (
    *wordings.CHOOSE, *wordings.PERMIT, *wordings.REASON, *wordings.TYPE, *wordings.DESCRIBE, *wordings.TRANSCRIBE,
    *wordings.PERMIT_STEPS, *wordings.OPEN, *wordings.NOTES, *wordings.POLICIES, *worked_examples.CASES,
    *worked_examples.TURNS, *filter(None, worked_examples.OPENINGS), *filter(None, worked_examples.CLOSINGS),
)  # fmt: skip
METHODS = (
    *prompts.QUESTIONS.values(), prompts.AUDIO_TYPE, prompts.EXAMPLES, prompts.HEARD, agent.NOTE, agent.TRANSCRIBE,
    agent.CAPTION, agent.MUSIC_CAPTION,
)  # fmt: skip


@cache
def answerable() -> tuple[PlannedItem, ...]:
    """300 items of `train`: every task at every level."""
    items = tuple(plan("train", size=300))
    assert len({(item.task, item.level) for item in items}) == 90
    return items


@cache
def hopeless(count: int = 96) -> tuple[PlannedItem, ...]:
    kinds, positions = tuple(MODALITIES), BalancedPositions()
    return tuple(
        unanswerable(f"train-3-u{i:03d}", "train", kinds[i % 3], REASONS[i % 4], positions)
        for i in range(count)
    )


def sentences(text: str) -> set[str]:
    """The sentences of a text without case, punctuation and differences of spacing."""
    bare = str.maketrans("", "", string.punctuation)
    parts = re.split(r"(?<=[.?!])\s+|\n", text)
    return {" ".join(part.translate(bare).casefold().split()) for part in parts} - {""}


# ---- wordings


def test_no_training_wording_is_a_wording_of_a_method():
    method_sentences = set().union(*(sentences(method) for method in METHODS))
    assert len(method_sentences) >= 6
    for wording in (*WORDINGS, *chat.questions()):
        assert not sentences(wording) & method_sentences, wording


def test_no_question_asks_as_a_method_does():
    modules = (tasks_sound, tasks_music, tasks_speech)
    questions = [
        w for m in modules for v in vars(m).values() if isinstance(v, tuple) for w in v if isinstance(w, str)
    ]
    assert len(questions) > 80
    method_sentences = set().union(*(sentences(method) for method in METHODS))
    assert not set().union(*(sentences(question) for question in questions)) & method_sentences


def test_wordings_vary_and_none_occurs_twice():
    assert len(set(map(str.casefold, WORDINGS))) == len(WORDINGS)
    for group in (wordings.CHOOSE, wordings.PERMIT, wordings.REASON, wordings.TYPE, wordings.DESCRIBE):
        assert len(group) >= 4


@pytest.mark.parametrize("form", FORMS)
def test_no_whole_example_holds_a_sentence_of_a_method(form):
    method_sentences = set().union(*(sentences(method) for method in METHODS))
    for number, item in enumerate(answerable()):
        example = FORMS[form](item, np.random.default_rng(number))
        assert not sentences(example.user) & method_sentences, example.user


def test_permission_is_worded_only_where_it_is_given():
    for number, item in enumerate(answerable()):
        for form in FORMS:
            user = FORMS[form](item, np.random.default_rng(number)).user
            if form in ("choice_or_idk", "stepwise_or_idk"):
                assert "IDK" in user
            elif form not in (
                "examples_in_turn",
                "examples_as_turns",
                "choice_with_note",
            ):  # these take either sort
                assert "IDK" not in user, (form, user)


def test_an_idk_is_learnt_only_where_it_is_permitted():
    for number, item in enumerate((*answerable(), *hopeless())):
        for form in FORMS:
            example = FORMS[form](item, np.random.default_rng(number))
            if "IDK" in example.reply:
                assert "IDK" in example.user.rsplit("\n", 1)[-1], (form, example.user)


# ---- replies


@pytest.mark.parametrize("form", ["choice", "choice_or_idk", "stepwise"])
def test_a_reply_is_read_as_the_right_option(form):
    for number, item in enumerate(answerable()):
        rng = np.random.default_rng(number)
        example = FORMS[form](item, rng)
        _, options, gold = reshuffle(item, np.random.default_rng(number))
        if example.reply == instruct.REFUSAL:
            continue  # the right option was taken out: see the test of that
        reading = parsing.read(example.reply, options)
        assert (reading.kind, reading.choice) == ("option", gold), (item.id, example.reply, options)


def test_a_step_by_step_reply_reports_what_is_heard_and_then_answers():
    for number, item in enumerate(answerable()):
        example = FORMS["stepwise"](item, np.random.default_rng(number))
        report, answer = example.reply.split("\nAnswer: ")
        assert report
        assert "\n" not in report
        assert answer == item.spec.options[item.spec.gold]


@pytest.mark.parametrize("reason", REASONS)
def test_a_refusal_is_taught_on_unanswerable_clips_with_permission_and_read_as_one(reason):
    items = [item for item in hopeless() if item.reason == reason]
    assert len(items) == 24
    for number, item in enumerate(items):
        example = FORMS["choice_or_idk"](item, np.random.default_rng(number))
        assert example.reply == "IDK"
        assert parsing.read(example.reply, item.spec.options).kind == "refusal"
        assert any(wording in example.user for wording in wordings.PERMIT)


def listed(user: str) -> str:
    """An example's text without its question, each option between separators."""
    return (
        "|" + re.sub(r"\.?\n(\([A-Z]\) |[A-Z][.):] |\d\. |- |Options: |Choices: )?|; | / ", "|", user) + "|"
    )


def test_an_answerable_item_is_refused_only_with_permission_and_its_right_option_taken_out():
    removed = 0
    for number, item in enumerate(answerable()):
        gold = item.spec.options[item.spec.gold]
        for form, make in FORMS.items():
            example = make(item, np.random.default_rng(number))
            if example.reply.endswith(instruct.REFUSAL):
                assert instruct.REFUSAL in example.user.rsplit("\n", 1)[-1]
                assert f"|{gold}|" not in listed(example.user), example.user
                removed += 1
            elif form in ("choice", "choice_or_idk"):
                assert example.reply == gold
                assert f"|{gold}|" in listed(example.user), example.user
    # One in ten of the six tasks of thirty that can lose an option without gaining a right one.
    # Four forms and a half may decline.
    assert 5 <= removed <= 60


def test_a_question_whose_options_are_not_heard_is_answered_by_one_of_them():
    steps = 0
    for number, item in enumerate(answerable()):
        example = FORMS["unoffered"](item, np.random.default_rng(number))
        *report, guess = example.reply.split("\nAnswer: ")
        assert len(report) in (0, 1)
        steps += bool(report)
        assert f"|{guess}|" in listed(example.user)
        truth = {item.spec.options[item.spec.gold], *item.spec.truth.get("content", ())}
        assert guess not in truth
        assert not [label for label in truth if f"|{label}|" in listed(example.user)]
    assert 0.25 < steps / 300 < 0.45


def test_strange_options_hold_no_word_of_a_novel_label():
    unplayed = [
        label
        for item in answerable()
        for label in item.spec.pool
        if label not in played_labels() and " " not in label
    ]
    words = {label.casefold() for label in unplayed} - {f.casefold() for f in instruct.TYPES}
    strange = {*wordings.STRANGE_KINDS, *wordings.STRANGE_THINGS}
    assert len(words) > 60
    assert not strange & words
    assert len(strange) == len(wordings.STRANGE_KINDS) + len(wordings.STRANGE_THINGS)


def test_the_type_and_the_account_are_the_ground_truth():
    for number, item in enumerate(answerable()):
        rng = np.random.default_rng(number)
        assert FORMS["kind"](item, rng).reply == item.modality
        account, truth = FORMS["account"](item, rng), item.spec.truth
        if truth.get("transcript"):
            assert (account.reply, item.modality) == (truth["transcript"], "speech")
            assert account.user in wordings.TRANSCRIBE
        else:
            assert account.reply == truth["caption"]
            assert account.user in wordings.DESCRIBE


def test_every_reply_is_one_to_learn():
    for number, item in enumerate(answerable()):
        for form, make in FORMS.items():
            example = make(item, np.random.default_rng(number))
            assert example.reply.strip() == example.reply != "", (form, item.id)
            assert example.user.strip() == example.user != "", (form, item.id)


# ---- layouts


def test_an_example_is_question_options_in_one_of_the_layouts_and_instruction():
    seen = Counter()
    for number, item in enumerate(answerable()):
        example = FORMS["choice"](item, np.random.default_rng(number))
        _, options, _ = reshuffle(item, np.random.default_rng(number))
        question, *listing, instruction = example.user.split("\n")
        assert question in item.spec.wordings
        assert instruction in wordings.CHOOSE
        [layout] = [k for k, lines in enumerate(wordings.LISTINGS) if lines(options) == "\n".join(listing)]
        seen[layout] += 1
    assert min(seen[k] for k in range(len(wordings.LISTINGS))) >= 5
    assert seen[0] == max(seen.values())


def test_the_same_draw_gives_the_same_example_and_another_draw_others():
    item = answerable()[0]
    users = {FORMS["choice"](item, np.random.default_rng(seed)).user for seed in (1, 1, 2, 3, 4, 5)}
    assert 4 <= len(users) <= 5


# ---- reshuffling


def visits(item: PlannedItem, count: int = 8) -> list[tuple[str, tuple[str, ...], int]]:
    return [reshuffle(item, np.random.default_rng([seed, 1])) for seed in range(count)]


def test_reshuffling_keeps_the_gold_and_never_doubles_an_option():
    for item in answerable():
        for question, options, gold in visits(item):
            assert options[gold] == item.spec.options[item.spec.gold], item.id
            assert len(set(options)) == len(options) == len(item.spec.options), (item.id, options)
            assert set(options) <= set(item.spec.pool), item.id
            assert question in item.spec.wordings, item.id


def test_redrawn_distractors_are_never_heard_in_the_clip():
    # Options of the item itself may be heard: the order questions are about them.
    for item in answerable():
        audible = set(item.spec.truth.get("content", ())) | {item.spec.options[item.spec.gold]}
        for _, options, gold in visits(item):
            fresh = {*options[:gold], *options[gold + 1 :]} - set(item.spec.options)
            assert not fresh & audible, (item.id, fresh & audible)


def test_over_many_visits_positions_and_distractors_change():
    item = next(item for item in answerable() if item.task == "Spoken word")
    seen = visits(item, 80)
    counts = np.bincount([gold for _, _, gold in seen], minlength=4)
    assert counts.min() >= 8
    assert len({option for _, options, _ in seen for option in options}) > 20
    kept = sum(set(options) == set(item.spec.options) for _, options, _ in seen)
    assert 25 <= kept <= 55


def test_numbers_stay_a_window_of_neighbours():
    for item in answerable():
        if item.spec.options[0].isdigit():
            for _, options, _ in visits(item, 4):
                assert set(options) == set(item.spec.options)


def test_unanswerable_items_stay_unanswerable():
    for item in hopeless():
        for _, options, _ in visits(item, 6):
            assert set(options) == set(item.spec.options), item.id
    removed = [item for item in hopeless() if item.reason == "option_removed"]
    for item in removed:
        groups = ("content", "background", "language")
        audible = {annotation.label for annotation in render(item).annotations if annotation.group in groups}
        assert audible, item.id
        assert not any(audible & set(options) for _, options, _ in visits(item, 6)), item.id


def test_the_text_prompt_of_an_item_differs_from_each_of_its_training_texts(tmp_path):
    # The evaluation's own prompt for the same question, in whatever layout training shows it.
    for number, planned in enumerate(answerable()[:60]):
        spec = planned.spec
        item = Item(
            id="x", benchmark="mini", split="train", modality=planned.modality, question=spec.question,
            options=spec.options, gold=spec.gold, clip=tmp_path / "x.wav",
        )  # fmt: skip
        evaluated = {prompts.render(item, method).turns[0].text for method in ("plain", "idk", "stepwise")}
        trained = {make(planned, np.random.default_rng(number)).user for make in FORMS.values()}
        assert not evaluated & trained
