"""Runs: what is asked and stored, graded into a table, and the controls that take the clip away."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny
from fake_model import FakeModel

from lalm_utils import outcomes, prompts, runs
from lalm_utils.items import Item
from lalm_utils.models import Reply, failed
from lalm_utils.prompts import SOUND, SPEECH


@pytest.fixture
def four(tmp_path) -> list[Item]:
    """Four items whose questions are their ids, with clips of 0.3 to 0.6 s."""
    result = []
    for number, modality in enumerate(("sound", "music", "sound", "speech")):
        clip = tiny.write_tone(tmp_path / f"{number}.wav", 300 + 100 * number, 0.3 + 0.1 * number)
        result.append(item(f"q{number}", clip, modality=modality, gold=number % 2))
    return result


def item(name: str, clip: Path, *, modality: str = "sound", gold: int | None = 0) -> Item:
    return Item(
        id=name, benchmark="mini", split="test", modality=modality, question=f"question {name}?",
        options=("bell", "rain"), gold=gold, clip=clip, answerable=gold is not None,
        reason="" if gold is not None else "silence",
    )  # fmt: skip


def scripted_model(**replies: Reply | str) -> FakeModel:
    """A model that replies by the question's id."""
    return FakeModel(lambda text, sample: replies[text.split("?")[0].removeprefix("question ")])


# ---- asking


def test_another_limit_of_tokens_is_asked_anew_and_the_methods_own_is_the_default(store, four):
    model = FakeModel(lambda text, sample: "bell")
    for limit in (None, 300, 300, 32):
        runs.ask(model, four, store=store, max_new_tokens=limit)
    assert [call["max_new_tokens"] for call in model.calls] == [32, 300]


def test_one_failed_reply_is_shown_counted_and_left_out_of_every_run(store, four, capsys):
    broken = scripted_model(q0="bell", q1=failed("TimeoutError: 60 s"), q2="rain", q3="bell")
    plain = runs.ask(broken, four, store=store)
    idk = runs.ask(scripted_model(q0="bell", q1="rain", q2="rain", q3="bell"), four, "idk", store=store)
    before, after = runs.without_failures(plain, idk)
    assert list(before["item"]) == list(after["item"]) == ["q0", "q2", "q3"]
    output = capsys.readouterr().out
    assert "1 of 4 items" in output
    assert "TimeoutError: 60 s" in output


def test_runs_without_a_failure_stay_as_they_are_and_nothing_is_said(store, four, capsys):
    plain = runs.ask(FakeModel(lambda text, sample: "bell"), four, store=store)
    (same,) = runs.without_failures(plain)
    assert same is plain
    assert capsys.readouterr().out == ""


def test_no_item_left_is_an_error(store, four):
    plain = runs.ask(FakeModel(lambda text, sample: failed("no server")), four, store=store)
    with pytest.raises(outcomes.OutcomeError, match=r"no item is left: 4 failed, e\.g\. 'no server'"):
        runs.without_failures(plain)


def test_a_run_is_the_outcome_table_of_its_replies(store, four):
    model = scripted_model(q0="bell", q1="(A)", q2="I don't know", q3="something else entirely")
    table = runs.ask(model, four, store=store, seed=7)
    assert tuple(table.columns) == outcomes.COLUMNS
    assert table["item"].tolist() == ["q0", "q1", "q2", "q3"]
    assert table["outcome"].tolist() == ["correct", "wrong", "refused", "unreadable"]
    assert table["choice"].fillna(-1).tolist() == [0, 0, -1, -1]
    assert table["gold"].tolist() == [0, 1, 0, 1]
    assert table["reply"].tolist()[2] == "I don't know"
    assert table["modality"].tolist() == ["sound", "music", "sound", "speech"]
    assert {(row.model, row.method, row.seed) for row in table.itertuples()} == {("fake", "plain", 7)}


def test_a_failed_reply_is_a_row_and_is_asked_again(store, four):
    table = runs.ask(scripted_model(q0="bell", q1=failed("broken"), q2="bell", q3="rain"), four, store=store)
    assert table["outcome"].tolist() == ["correct", "failed", "correct", "correct"]
    assert table["error"].tolist() == ["", "broken", "", ""]
    second = scripted_model(q1="rain")
    assert runs.ask(second, four, store=store)["outcome"].tolist() == ["correct"] * 4
    assert len(second.requests) == 1


def test_a_reply_that_is_stored_is_not_asked_for_again(store, four):
    model = scripted_model(q0="bell", q1="bell", q2="bell", q3="bell")
    first, again = (runs.ask(model, four, store=store) for _ in range(2))
    assert len(model.requests) == 4
    assert first.equals(again)


@pytest.mark.parametrize(
    ("method", "limit"),
    [
        ("plain", 32),
        ("idk", 32),
        ("stepwise", 128),
        ("stepwise_idk", 128),
        ("mcot", 128),
        ("mcot_no_idk", 128),
        ("audio_type", 8),
    ],
)
def test_each_method_has_its_words_and_its_room_for_a_reply(store, four, method, limit):
    model = FakeModel(lambda text, sample: "bell")
    table = runs.ask(model, four, method, store=store)
    assert {call["max_new_tokens"] for call in model.calls} == {limit}
    assert {call["temperature"] for call in model.calls} == {0.0}
    assert set(table["method"]) == {method}
    assert {text for text, _ in model.requests} == {
        prompts.render(item, method).turns[0].text for item in four
    }


def test_a_label_names_the_run_in_the_table_and_changes_nothing_else(store, four):
    model = FakeModel(lambda text, sample: "bell")
    plain, labelled = (runs.ask(model, four, store=store, label=label) for label in (None, "no permission"))
    assert set(labelled["method"]) == {"no permission"}
    assert labelled.drop(columns="method").equals(plain.drop(columns="method"))
    assert len(model.requests) == 4


def test_without_audio_the_model_gets_no_clip_and_its_replies_are_stored_apart(store, four):
    model = Listener()
    runs.ask(model, four, store=store)
    runs.ask(model, four, store=store, audio=False)
    assert [len(clips) for clips in model.clips] == [1, 1, 1, 1, 0, 0, 0, 0]


class Listener(FakeModel):
    """Keeps the clips it is given."""

    def __init__(self) -> None:
        super().__init__(lambda text, sample: "bell")
        self.clips: list[tuple[Path, ...]] = []

    def generate(self, prompts, **settings):
        self.clips += [prompt.clips for prompt in prompts]
        return super().generate(prompts, **settings)


def test_unanswerable_items_are_graded_too(store, four):
    items = [*four[:1], item("u0", four[0].clip, gold=None), item("u1", four[1].clip, gold=None)]
    table = runs.ask(scripted_model(q0="bell", u0="IDK", u1="rain"), items, "idk", store=store)
    assert table["outcome"].tolist() == ["correct", "refused", "wrong"]
    assert table["kind"].tolist() == ["", "inaudible", "inaudible"]


def test_an_unknown_method_is_refused_before_anything_is_asked(store, four):
    model = FakeModel()
    with pytest.raises(ValueError, match="no method 'best': choose one of plain, idk, stepwise, "):
        runs.ask(model, four, "best", store=store)
    assert model.requests == []


def test_every_method_has_a_limit_and_every_limit_a_method():
    assert set(runs.MAX_NEW_TOKENS) == {*prompts.QUESTIONS, "audio_type"}


def test_other_examples_are_other_questions_to_the_store(store, four):
    model = FakeModel(lambda text, sample: "I hear it.\nAnswer: bell")
    for shown in (None, (SPEECH, SOUND), (SOUND, SPEECH), (SOUND, SPEECH)):
        runs.ask(model, four, "mcot", store=store, exemplars=shown)
    assert len(model.requests) == 12
    expected = {prompts.render(item, "mcot", exemplars=(SOUND, SPEECH)).turns[0].text for item in four}
    assert {text for text, _ in model.requests[8:]} == expected


def test_the_answer_of_a_chain_is_its_last_line(store, four):
    chains = {
        "q0": "I hear rain.\nAnswer: bell",
        "q1": "It is unclear.\nAnswer: IDK",
        "q2": "A bell, or rain",
    }
    table = runs.ask(scripted_model(**chains, q3="Rain.\nAnswer: (B)"), four, "stepwise_idk", store=store)
    assert table["outcome"].tolist() == ["correct", "refused", "unreadable", "correct"]


def test_the_default_store_lies_in_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("LALM_UTILS_CACHE", str(tmp_path / "cache"))
    with runs.default_store():
        assert (tmp_path / "cache" / "replies.sqlite").is_file()


# ---- controls


def test_other_clips_leave_the_questions_as_they_are(four):
    others = runs.with_clips(four, [item.clip for item in four[::-1]])
    assert [item.clip for item in others] == [item.clip for item in four[::-1]]
    assert [replace(item, clip=mine.clip) for item, mine in zip(others, four)] == four
    with pytest.raises(ValueError, match="zip"):
        runs.with_clips(four, [four[0].clip])


def items_of(*modalities_and_clips: tuple[str, str]) -> list[Item]:
    return [
        item(f"q{i}", Path(f"/{clip}.wav"), modality=modality)
        for i, (modality, clip) in enumerate(modalities_and_clips)
    ]


@pytest.mark.parametrize(
    ("case", "items", "expected"),
    [
        ("a pair", [("sound", "a"), ("sound", "b")], "ba"),
        ("three in a ring", [("sound", "a"), ("sound", "b"), ("sound", "c")], "bca"),
        (
            "within each modality",
            [("sound", "a"), ("music", "x"), ("sound", "b"), ("music", "y"), ("music", "z")],
            "byazx",
        ),
        ("neighbours that share a clip", [("sound", "a"), ("sound", "a"), ("sound", "b")], "bba"),
        ("an item alone in its modality", [("sound", "a"), ("speech", "b"), ("sound", "c")], "cca"),
        ("a modality that shares one clip", [("sound", "a"), ("sound", "a"), ("music", "b")], "bba"),
    ],
)
def test_a_swapped_clip_is_another_one_of_the_modality_if_there_is_one(case, items, expected):
    swapped = runs.swap_clips(items_of(*items))
    assert "".join(item.clip.stem for item in swapped) == expected, case


def test_no_item_of_a_large_run_keeps_its_clip_and_each_clip_is_used_once():
    rng = np.random.default_rng(0)
    items = items_of(*[(str(rng.choice(["sound", "music", "speech"])), f"c{i}") for i in range(300)])
    swapped = runs.swap_clips(items)
    modality = {item.clip: item.modality for item in items}
    assert all(item.clip != mine.clip for item, mine in zip(swapped, items))
    assert all(modality[item.clip] == item.modality for item in swapped)
    assert len({item.clip for item in swapped}) == 300
    assert [item.gold for item in swapped] == [item.gold for item in items]


def test_two_splits_may_use_the_same_ids():
    first, second = items_of(("sound", "a"), ("sound", "b")), items_of(("sound", "c"), ("sound", "d"))
    assert [item.clip.stem for item in runs.swap_clips([*first, *second])] == ["b", "c", "d", "a"]


def test_items_that_all_share_one_clip_cannot_be_swapped():
    message = (
        r"item 'q0': all 2 items have the clip /a\.wav, and none can be swapped; take items with at least two"
    )
    with pytest.raises(ValueError, match=message):
        runs.swap_clips(items_of(("sound", "a"), ("music", "a")))


def test_silence_is_digital_and_as_long_as_the_clip(monkeypatch, tmp_path, four):
    monkeypatch.setenv("LALM_UTILS_CACHE", str(tmp_path / "cache"))
    silent = runs.with_silence(four)
    for item, mine in zip(silent, four):
        samples, rate = soundfile.read(item.clip)
        assert rate == 16_000
        assert not samples.any()
        assert len(samples) == pytest.approx(soundfile.info(mine.clip).frames, abs=800)
        assert replace(item, clip=mine.clip) == mine
    assert len({item.clip for item in silent}) == 4
    assert runs.with_silence(four) == silent
    assert len(list((tmp_path / "cache" / "silence").iterdir())) == 4
