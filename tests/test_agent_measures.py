"""The agent's steps measured: routing, word error rate, content of captions, on tables written by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lalm_utils import agent
from lalm_utils.agent_measures import caption_content, normalise, routing, routing_rates, word_error_rate

KINDS = {"sound": "caption", "music": "music caption", "speech": "transcript"}
EMPTY = {
    "modality": "", "type_reply": "", "answer_prompt": "", "reply": "", "outcome": "correct", "error": "",
    "states_gold": False, "transcript": "", "content": (),
}  # fmt: skip


def steps(*rows: dict) -> pd.DataFrame:
    """Rows of agent.COLUMNS: read as they truly are and asked for, unless a row says otherwise."""
    records = []
    for number, fields in enumerate(rows):
        row = EMPTY | {"item": f"q{number}", "type": fields["true"], "text": "something"} | fields
        route = row["type"] if row["type"] in KINDS else "sound"
        row = {"kind": KINDS[route], "text_prompt": agent.TEXT_PROMPTS[route]} | row
        records.append(row)
    return pd.DataFrame(records, columns=list(agent.COLUMNS))


def transcription(transcript: str, text: str, **fields) -> dict:
    return {"true": "speech", "transcript": transcript, "text": text} | fields


def captioning(true: str, content: str, text: str, **fields) -> dict:
    return {"true": true, "content": tuple(content.split("+")), "text": text} | fields


def values(frame: pd.DataFrame, group: str) -> dict[str, float]:
    part = frame[frame["group"] == group]
    return dict(zip(part["metric"], part["value"]))


def row(frame: pd.DataFrame, group: str, metric: str) -> pd.Series:
    (result,) = frame[(frame["group"] == group) & (frame["metric"] == metric)].to_dict("records")
    return pd.Series(result)


# ---- routing


def test_routing_counts_every_pair_of_types_and_keeps_unreadable_apart():
    pairs = [("sound", "sound"), ("sound", "music"), ("sound", "unreadable"), ("speech", "speech")]
    table = routing(steps(*({"true": true, "type": predicted} for true, predicted in pairs)))
    matrix = table.pivot(index="true", columns="read", values="count")
    assert table.columns.tolist() == ["true", "read", "count"]
    assert list(dict.fromkeys(table["true"])) == ["sound", "speech"]
    assert list(dict.fromkeys(table["read"])) == ["sound", "music", "speech", "unreadable"]
    assert matrix.loc["sound"].to_dict() == {"sound": 1, "music": 1, "speech": 0, "unreadable": 1}
    assert table["count"].sum() == 4


def test_a_failed_type_and_a_mix_have_places_of_their_own():
    table = routing(
        steps({"true": "mix-sound-speech", "type": "speech"}, {"true": "music", "type": "failed"})
    )
    counted_rows = table[table["count"] > 0]
    assert list(zip(counted_rows["true"], counted_rows["read"])) == [
        ("music", "failed"),
        ("mix-sound-speech", "speech"),
    ]


def test_routing_rates_leave_failed_items_out_and_have_intervals():
    pairs = [("sound", "sound"), ("sound", "unreadable"), ("speech", "failed"), ("music", "sound")]
    rates = routing_rates(steps(*({"true": true, "type": predicted} for true, predicted in pairs)))
    assert list(zip(rates["group"], rates["metric"], rates["value"].round(3), rates["n"])) == [
        ("sound", "right", 0.5, 2),
        ("sound", "unreadable", 0.5, 2),
        ("music", "right", 0.0, 1),
        ("music", "unreadable", 0.0, 1),
        ("overall", "right", 0.333, 3),
        ("overall", "unreadable", 0.333, 3),
    ]
    assert ((rates["low"] <= rates["value"]) & (rates["value"] <= rates["high"])).all()


# ---- word error rate


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I think the word is Tiger.", "i think the word is tiger"),
        ("tiger,rabbit -- EGG!", "tiger rabbit egg"),
        ("don’t 'quote' it's_so", "don't quote it's so"),
        ("3 plus four", "3 plus four"),
        ("...", ""),
    ],
)
def test_normalisation_drops_case_and_punctuation_and_nothing_else(text, expected):
    assert normalise(text) == expected


def test_word_error_rate_is_edits_of_all_clips_over_words_of_all_transcripts():
    # of 4 + 2 + 2 words: 1 substituted; 2 deleted; 1 inserted
    frame = word_error_rate(
        steps(
            transcription("Look at the tiger.", "look at a tiger"),
            transcription("one, two", "!"),
            transcription("two plus", "Two, plus, three"),
        )
    )
    result = values(frame, "speech")
    assert result["word_error_rate"] == pytest.approx(4 / 8)
    assert result["substitutions"] == pytest.approx(1 / 8)
    assert result["deletions"] == pytest.approx(2 / 8)
    assert result["insertions"] == pytest.approx(1 / 8)
    assert (result["words"], result["clips_left_out"]) == (8, 0)
    rate = row(frame, "speech", "word_error_rate")
    assert rate["n"] == 3
    assert 0 <= rate["low"] < 0.5 < rate["high"] <= 1
    assert (rate["low"], rate["high"]) == (pytest.approx(1 / 4), pytest.approx(1))


def test_a_perfect_transcript_has_no_errors_and_a_rambling_one_more_than_words():
    perfect = word_error_rate(steps(transcription("Hello, YOU!", "hello you")))
    assert values(perfect, "speech")["word_error_rate"] == 0
    rambling = word_error_rate(steps(transcription("hi", "one two three four")))
    assert values(rambling, "speech")["word_error_rate"] == 4


def test_only_transcripts_that_the_model_wrote_of_transcribed_speech_are_counted():
    frame = word_error_rate(
        steps(
            transcription("hello you", "hello you"),
            transcription("hello you", "a man talks", type="sound"),  # routed to a caption: left out
            transcription("hello you", "", outcome="failed"),  # no reply: left out
            transcription("", "some words in Hindi"),  # nothing to compare with
            {"true": "sound", "type": "speech", "transcript": "", "text": "woof"},  # no speech
        )
    )
    result = values(frame, "speech")
    assert (result["word_error_rate"], result["words"], result["clips_left_out"]) == (0, 2, 2)


@pytest.mark.parametrize(
    ("case", "table"),
    [
        ("no speech", steps(captioning("sound", "bell", "a bell"))),
        ("true texts", steps(transcription("hello", "hello", text_prompt=""))),
        ("no rows", steps(transcription("hello", "hello"))[:0]),
    ],
)
def test_without_a_transcript_the_rate_is_undefined_and_says_why(case, table):
    rate = row(word_error_rate(table), "speech", "word_error_rate")
    assert np.isnan(rate["value"]), case
    assert (rate["n"], rate["status"]) == (0, "no clips"), case


# ---- captions


def test_recall_and_precision_are_means_over_clips_against_the_generators_labels():
    frame = caption_content(
        steps(
            captioning("sound", "bell+bell+rain", "a bell and a dog bark"),  # recall 1/2, precision 1/2
            captioning("sound", "dog bark", "Dog bark, rain, bell, bell."),  # recall 1, precision 1/3
            captioning("sound", "wind", "nothing much"),  # recall 0, no precision
            captioning("music", "muted trumpet", "a muted trumpet"),  # recall 1, precision 1
            captioning(
                "music", "trumpet", "a muted trumpet, a bell"
            ),  # recall 0, precision 0; a bell is no label
        )
    )
    sound, music, overall = (values(frame, group) for group in ("sound", "music", "overall"))
    assert sound["recall"] == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert sound["precision"] == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert (music["recall"], music["precision"]) == (0.5, 0.5)
    assert overall["recall"] == pytest.approx((1 / 2 + 1 + 0 + 1 + 0) / 5)
    assert overall["precision"] == pytest.approx((1 / 2 + 1 / 3 + 1 + 0) / 4)
    assert row(frame, "sound", "precision")["n"] == 2
    assert row(frame, "overall", "recall")["n"] == 5
    for name in ("recall", "precision"):
        result = row(frame, "sound", name)
        assert result["low"] <= result["value"] <= result["high"]


def test_another_clips_caption_is_the_control():
    always = caption_content(
        steps(*[captioning("sound", "bell", "a bell")] * 3, captioning("sound", "rain", "a bell"))
    )
    assert values(always, "sound")["recall"] == 0.75
    assert values(always, "sound")["recall_another_clip"] == 0.75
    telling = caption_content(
        steps(captioning("sound", "bell", "a bell"), captioning("sound", "rain", "rain"))
    )
    assert values(telling, "sound")["recall"] == 1
    assert values(telling, "sound")["recall_another_clip"] == 0
    single = row(
        caption_content(steps(captioning("sound", "bell", "a bell"))), "sound", "recall_another_clip"
    )
    assert (single["n"], single["status"]) == (0, "no clips")


def test_only_captions_that_the_model_wrote_are_counted_and_the_others_are_told():
    frame = caption_content(
        steps(
            captioning("sound", "bell", "a bell"),
            captioning("sound", "rain", "rain", type="speech"),  # transcribed
            captioning("sound", "rain", "", outcome="failed"),
            captioning("sound", "rain", "rain", type="unreadable"),  # captioned on the default way
            captioning("music", "piano", "a piano", text_prompt=""),  # the true text
        )
    )
    assert values(frame, "sound")["recall"] == 1
    assert row(frame, "sound", "recall")["n"] == 2
    assert values(frame, "sound")["clips_left_out"] == 2
    assert values(frame, "overall")["clips_left_out"] == 3
    assert row(frame, "music", "recall")["status"] == "no clips"


def test_a_benchmark_without_labels_has_nothing_to_measure():
    frame = caption_content(steps({"true": "sound"}, {"true": "speech"}))
    assert frame["group"].tolist() == ["sound"] * 4 + ["music"] * 4 + ["overall"] * 4
    assert frame.loc[frame["metric"] == "recall", "status"].tolist() == ["no clips"] * 3


@pytest.mark.parametrize("measure", [word_error_rate, caption_content])
def test_settings_of_the_bootstrap_are_checked(measure):
    with pytest.raises(ValueError, match=r"level = 1\.5"):
        measure(steps({"true": "sound"}), level=1.5)
