"""Interventions on chains: exact strengths, nothing at strength 0, and mistakes that are mistakes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fake_model import FakeModel

from lalm_utils import chain_interventions as chain
from lalm_utils.items import Item
from lalm_utils.store import Store

TEXT = "I hear a bell, then rain. It goes on for long.\nSomebody speaks over it."
OPTIONS = ("bell", "rain", "dog bark", "2")
SAID = {"I hear a bell, then rain.": "A bell, and rain.", "It goes on for long.": "It lasts."}
CHANGES = {
    "cut_short": chain.cut_short,
    "fill": chain.fill,
    "fill_whole": chain.fill_whole,
    "paraphrase": lambda text, s: chain.paraphrase(text, s, SAID),
    "mistake": lambda text, s: chain.mistake(text, s, SAID),
}


def item(**changes) -> Item:
    fields = {
        "id": "q", "benchmark": "b", "split": "test", "clip": Path("/q.wav"), "question": "Which sound?",
        "options": OPTIONS, "gold": 0, "modality": "sound", "task": "Event",
        "annotations": {"content": ["bell", "rain"], "transcript": ""},
    }  # fmt: skip
    return Item(**fields | changes)


SPOKEN = {"transcript": "the teacher drinks coffee"}
ITEMS = [
    item(),
    item(id="r", annotations={"content": ["dog bark", "wind"]}),
    item(id="s", modality="speech", options=("tea", "hat"), annotations=SPOKEN),
]


@pytest.mark.parametrize("name", CHANGES)
def test_nothing_changes_at_strength_0_and_the_same_comes_back_twice(name):
    assert CHANGES[name](TEXT, 0) == TEXT
    assert CHANGES[name](TEXT, 0.5) == CHANGES[name](TEXT, 0.5)


@pytest.mark.parametrize("unit, n", [("word", 15), ("clause", 4), ("sentence", 3)])
def test_units_are_the_whole_chain(unit, n):
    units = chain.split(TEXT, unit)
    assert len(units) == n
    assert "".join(units) == TEXT


@pytest.mark.parametrize(
    "n, strength, wanted", [(10, 0.24, 2), (10, 0.25, 3), (1, 0.5, 1), (1, 0.49, 0), (7, 1, 7)]
)
def test_a_strength_is_a_number_of_units_halves_up(n, strength, wanted):
    assert chain.count(n, strength) == wanted


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_a_strength_outside_the_unit_interval_is_refused(strength):
    with pytest.raises(ValueError, match=r"strength .* in \[0, 1\]"):
        chain.cut_short(TEXT, strength)


def test_early_answering_keeps_the_first_units():
    assert chain.cut_short("One. Two. Three. Four.", 0.5) == "One. Two."
    assert chain.cut_short(TEXT, 0.6, unit="word") == "I hear a bell, then rain."
    assert chain.cut_short(TEXT, 1) == ""


@pytest.mark.parametrize("position", ["random", "start", "end"])
@pytest.mark.parametrize("strength", [0.2, 0.5, 0.8, 1])
def test_filler_replaces_that_many_words_and_keeps_the_length(position, strength):
    words = chain.fill(TEXT, strength, position=position).split()
    assert len(words) == 15
    assert words.count("…") == chain.count(15, strength)
    first, last = words[0] == "…", words[-1] == "…"
    assert position == "random" or strength == 1 or (first, last) == (position == "start", position == "end")


def test_a_greater_strength_fills_what_a_smaller_one_does():
    filled = [
        {k for k, word in enumerate(chain.fill(TEXT, s, seed=3).split()) if word == "…"}
        for s in (0.2, 0.5, 0.9)
    ]
    assert filled[0] < filled[1] < filled[2]
    assert chain.fill(TEXT, 0.5, seed=3) != chain.fill(TEXT, 0.5, seed=4)


def test_lorem_and_whole_fillers():
    assert chain.fill("a b c", 1, filler=chain.LOREM) == "lorem ipsum dolor"
    assert chain.fill_whole("a b c d", 0.5) == "… …"
    assert chain.fill_whole("a b c d", 0.01) == "…"


def test_mistakes_come_from_a_sentence_on_and_paraphrases_anywhere():
    wrong = {"One.": "1", "Two.": "2", "Three.": "3", "Four.": "4"}
    assert chain.mistake("One. Two. Three. Four.", 0.5, wrong) == "One. Two. 3 4"
    assert chain.mistake("One. Two. Three. Four.", 1, wrong) == "1 2 3 4"
    half = chain.paraphrase("One. Two. Three. Four.", 0.5, wrong)
    assert sum(figure in half for figure in "1234") == 2


@pytest.mark.parametrize(
    "text, left",
    [
        ("I hear the sound of a bell. The answer is bell.", "I hear the sound of a bell."),
        ("I hear a bell. So it is a bell.", "I hear a bell."),
        ("I hear a bell. Therefore option A is correct.", "I hear a bell."),
        ("I hear a bell.", "I hear a bell."),  # a report is not the answer, though it names an option
        ("bell", ""),
        ("(B)", ""),
        ("I do not know.", ""),
        ("IDK", ""),
        ("", ""),
    ],
)
def test_the_sentence_that_states_the_answer_is_taken_away(text, left):
    assert chain.without_answer(text, OPTIONS) == left


def test_an_exact_mistake_reports_what_is_not_there():
    helper = chain.ExactHelper(ITEMS)
    (wrong,) = helper.rewrite("mistake", [(ITEMS[0], "I hear a bell, then rain.")])
    assert "bell" not in wrong
    assert "rain" not in wrong
    assert "dog bark" in wrong or "wind" in wrong
    assert helper.rewrite("mistake", [(ITEMS[0], "I hear a bell, then rain.")]) == [wrong]
    (article,) = chain.ExactHelper([ITEMS[0], replace(ITEMS[1], annotations={"content": ["owl"]}, options=("x", "y"))]
                                   ).rewrite("mistake", [(ITEMS[0], "I hear a bell.")])  # fmt: skip
    assert article == "I hear an owl."


@pytest.mark.parametrize(
    "text, wanted",
    [("I count: 2, 3.", "I count: 3, 4."), ("five plus three", "six plus four"), ("One of the guitars.", None),
     ("I compare how loud they are.", None)],
)  # fmt: skip
def test_an_exact_mistake_shifts_numbers_and_skips_what_reports_nothing(text, wanted):
    odd = item(options=("x", "y"), annotations={})
    assert chain.ExactHelper([odd]).rewrite("mistake", [(odd, text)]) == [wanted or text]


def test_an_exact_mistake_puts_another_word_into_a_quotation():
    speech = item(
        id="t", modality="speech", options=("x", "y"), annotations={"transcript": "He lost a jacket."}
    )
    (wrong,) = chain.ExactHelper([*ITEMS, speech]).rewrite(
        "mistake", [(speech, 'The speaker says: "He lost a jacket."')]
    )
    assert "jacket" not in wrong
    assert wrong.startswith('The speaker says: "He lost a ')


def test_an_exact_paraphrase_keeps_labels_and_quotations():
    units = [(ITEMS[0], "I hear the sound of a bell."), (ITEMS[2], 'The speaker says: "I hear then."')]
    said = chain.ExactHelper(ITEMS).rewrite("paraphrase", units)
    assert said == ["What can be heard is a bell.", 'The words that are spoken are: "I hear then."']
    table = chain.fidelity("paraphrase", units, said, chain.vocabulary(ITEMS)).set_index("metric")
    assert table.loc["facts kept", ["value", "n"]].tolist() == [1, 1]


def test_a_model_helper_is_asked_without_the_clip_and_an_empty_reply_skips(tmp_path):
    model = FakeModel(
        lambda text, sample: "" if "rain" in text.partition("Sentence:")[2] else "Another thing.\nMore."
    )
    with Store(tmp_path / "store.sqlite", progress=False) as store:
        helper = chain.ModelHelper(model, store)
        assert helper.rewrite("mistake", [(ITEMS[0], "A bell."), (ITEMS[0], "Then rain.")]) == [
            "Another thing.", "Then rain.",
        ]  # fmt: skip
    assert "bell, rain, dog bark, 2" in model.requests[0][0]
