"""What a benchmark tells of a clip: type, text, labels; and which labels a text names."""

from __future__ import annotations

from pathlib import Path

import pytest

from lalm_utils import annotations
from lalm_utils.items import Item, from_record
from lalm_utils.mini.benchmark import planned_records


def item(modality: str = "sound", **values) -> Item:
    return Item(
        id="q0", benchmark="mmau", split="test", modality=modality, question="What is it?",
        options=("bell", "rain"), gold=0, clip=Path("/clips/q0.wav"), annotations=values,
    )  # fmt: skip


# ---- type and text


@pytest.mark.parametrize(
    ("case", "one", "expected"),
    [
        ("the modality", item("music"), "music"),
        ("the generator's type wins: a clip of another kind", item("music", type="speech"), "speech"),
        ("a type that is none is not believed", item("music", type="dog"), "music"),
        ("a type that cannot be looked up", item("music", type=["speech"]), "music"),
    ],
)
def test_a_clip_has_one_type(case, one, expected):
    assert annotations.type_of(one) == annotations.clip_type(one) == expected, case


def test_a_mix_has_no_single_type():
    mix = item("mix-sound-speech")
    assert annotations.clip_type(mix) == "mix-sound-speech"
    message = r"^item 'q0' is of modality 'mix-sound-speech', which is not one of sound, music, speech: leave"
    with pytest.raises(ValueError, match=message):
        annotations.type_of(mix)


@pytest.mark.parametrize(
    ("case", "one", "expected"),
    [
        ("sound", item("sound", caption="a bell"), ("caption", "a bell")),
        ("music", item("music", caption=" a tune "), ("music caption", "a tune")),
        ("speech", item("speech", transcript="Hello."), ("transcript", "Hello.")),
        ("speech with both", item("speech", transcript="Hello.", caption="a man"), ("transcript", "Hello.")),
        (
            "speech that is not transcribed",
            item("speech", transcript="", caption="Hindi"),
            ("caption", "Hindi"),
        ),
        ("sound with a transcript", item("sound", transcript="x", caption="a bell"), ("caption", "a bell")),
    ],
)
def test_the_text_is_a_transcript_of_speech_and_a_caption_of_the_rest(case, one, expected):
    assert annotations.text_of(one) == expected, case


@pytest.mark.parametrize(
    ("one", "message"),
    [
        (
            item("speech"),
            "item 'q0' of mmau: its truth holds no transcript, only nothing; let the model write",
        ),
        (
            item("sound", label="dog", caption=None),
            "its truth holds no caption, only caption, label; let the",
        ),
        (item("music", transcript="x"), "its truth holds no music caption, only transcript; let the model"),
    ],
)
def test_a_benchmark_without_the_text_is_told_what_to_do(one, message):
    with pytest.raises(ValueError, match=message):
        annotations.text_of(one)


@pytest.mark.parametrize(
    ("case", "items", "expected"),
    [
        (
            "all annotated",
            [item("sound", caption="a bell"), item("speech", transcript="x")],
            {"type", "text"},
        ),
        ("one item without a text", [item("sound", caption="a bell"), item("music")], {"type"}),
        ("a mix", [item("mix-sound-music", caption="a bell")], set()),
    ],
)
def test_what_is_available_is_annotated_in_every_item(case, items, expected):
    assert annotations.available(items) == expected, case


def test_the_embedded_benchmark_tells_type_and_text_of_every_item():
    items = [from_record(record, "/clips", benchmark="mini") for record in planned_records("test")]
    assert {item.task for item in items} >= {"Language", "Spoken word", "Event count", "Tempo"}
    assert annotations.available(items) == {"type", "text"}
    assert [annotations.type_of(item) for item in items] == [item.modality for item in items]
    assert all(annotations.labels_of(item) for item in items if item.modality != "speech")


@pytest.mark.parametrize(
    ("content", "expected"),
    [(["bell", "bell"], ("bell", "bell")), (("rain",), ("rain",)), ("bell", ()), (None, ()), ([], ())],
)
def test_labels_are_a_list_or_nothing(content, expected):
    assert annotations.labels_of(item(content=content)) == expected


# ---- labels in a text


LABELS = ("trumpet", "muted trumpet", "dog bark", "rain", "bell")


@pytest.mark.parametrize(
    ("case", "text", "expected"),
    [
        ("none", "", set()),
        ("whatever the case and the article", "The RAIN, then a dog bark.", {"rain", "dog bark"}),
        ("the longer of two", "a muted trumpet", {"muted trumpet"}),
        ("both, one after the other", "a muted trumpet and a trumpet", {"muted trumpet", "trumpet"}),
        ("whole words only", "raindrops on bells", set()),
        ("in the label's order of words only", "bark of a dog", set()),
        ("across punctuation", "dog; bark", {"dog bark"}),
        ("twice is once", "rain rain rain", {"rain"}),
        ("a denial is not seen", "no rain", {"rain"}),
    ],
)
def test_labels_are_named_word_for_word(case, text, expected):
    assert annotations.labels_in(text, LABELS) == expected, case


@pytest.mark.parametrize("labels", [["dog", "dog bark"], ["dog bark", "dog"]])
def test_the_longer_of_two_labels_that_begin_alike_is_named(labels):
    assert annotations.labels_in("a dog bark", labels) == {"dog bark"}
    assert annotations.labels_in("a dog, a dog bark", labels) == {"dog", "dog bark"}


def test_numbers_are_the_same_in_words_and_digits():
    assert annotations.labels_in("heard three times", ["2", "3"]) == {"3"}
    assert annotations.labels_in("heard 3 times", ["two", "three"]) == {"three"}


def test_labels_of_equal_words_are_named_together_and_empty_ones_never():
    assert annotations.labels_in("a dog", ["Dog", "the dog", "...", ""]) == {"Dog", "the dog"}
