"""The tasks: valid questions and clips at every level, rationales, annotations, and answers that the clips hold."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from texts import occurs

from lalm_utils.mini.benchmark import sounds, tasks_music, tasks_sound, tasks_speech
from lalm_utils.mini.benchmark.font import INSTRUMENTS
from lalm_utils.mini.benchmark.plan import MODALITIES, generator, pools
from lalm_utils.mini.benchmark.sampling import BalancedPositions, SamplingContext, with_article
from lalm_utils.mini.benchmark.scene import LEVELS, MAX_SECONDS, RATE, Mixer, QuestionSpec, Scene, active_rms
from lalm_utils.mini.benchmark.words import NUMBERS

ALL = [(modality, task) for modality, module in MODALITIES.items() for task in module.TASKS]
NOVEL = [(modality, task, split) for modality, module in MODALITIES.items() for task in module.NOVEL
         for split in ("idk", "test")]  # fmt: skip
# Whoever reports what is heard in these tasks has named the right option with it.
REPORT_NAMES_ANSWER = {
    "Sound event", "Background sound", "Event order", "Louder sound", "Instrument order", "Note count",
    "Spoken word", "Word order", "Sound behind speech", "Said by whom",
}  # fmt: skip


@cache
def specs(
    modality: str, task: str, level: str, count: int = 12, split: str = "train"
) -> tuple[QuestionSpec, ...]:
    make, positions = MODALITIES[modality].TASKS[task][0], BalancedPositions()
    pool = pools(split, novel=split != "train")
    return tuple(
        make(
            SamplingContext(
                rng=generator("tests", task, level, i), level=level, pools=pool, positions=positions
            )
        )
        for i in range(count)
    )


@cache
def scene(modality: str, task: str, level: str, number: int, split: str = "train") -> Scene:
    return specs(modality, task, level, split=split)[number].build(generator("tests", "clip", task, number))


def answer(spec: QuestionSpec) -> str:
    return spec.options[spec.gold]


def labels(scene: Scene, group: str) -> list[str]:
    return [annotation.label for annotation in scene.annotations if annotation.group == group]


# ---- the set of generators


def test_there_are_at_least_20_generators_and_no_name_serves_two():
    makers = [module.TASKS[task][0] for module in MODALITIES.values() for task in module.TASKS]
    assert len(ALL) == len(makers) >= 20
    assert len({task for _, task in ALL}) == len(ALL)
    assert len(set(makers)) == len(makers)


@pytest.mark.parametrize("modality", MODALITIES)
def test_every_modality_asks_for_perception_and_for_reasoning(modality):
    categories = [category for _, category in MODALITIES[modality].TASKS.values()]
    assert set(categories) == {"Perception", "Reasoning"}
    assert min(categories.count(category) for category in set(categories)) >= 3
    assert set(MODALITIES[modality].NOVEL) <= set(MODALITIES[modality].TASKS)


# ---- questions


def check_spec(spec: QuestionSpec) -> None:
    assert 2 <= len(spec.options) <= 4
    assert len(set(spec.options)) == len(spec.options)
    assert 0 <= spec.gold < len(spec.options)
    assert all(option == option.strip() != "" for option in spec.options)
    assert spec.question in spec.wordings
    assert len(set(spec.wordings)) == len(spec.wordings) >= 3
    assert all(wording.strip() and not set("{}") & set(wording) for wording in spec.wordings)
    assert set(spec.options) <= set(spec.pool)
    assert spec.rationale.strip()
    assert spec.rationale[-1] in '."'
    assert spec.truth.get("caption") or spec.truth.get("transcript")


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("modality", "task"), ALL)
def test_every_task_makes_valid_questions_at_every_level(modality, task, level):
    for spec in specs(modality, task, level):
        check_spec(spec)
        assert spec.truth["type"] == modality


@pytest.mark.parametrize(("modality", "task", "split"), NOVEL)
def test_novel_labels_suffice_for_the_novel_tasks(modality, task, split):
    for level in LEVELS:
        for spec in specs(modality, task, level, split=split):
            check_spec(spec)
            assert len(spec.options) == 4
    check_scene(scene(modality, task, "hard", 0, split))


@pytest.mark.parametrize(("modality", "task"), ALL)
def test_wordings_and_answers_vary(modality, task):
    samples = [spec for level in LEVELS for spec in specs(modality, task, level)]
    assert len({spec.question for spec in samples}) >= 3
    assert len({answer(spec) for spec in samples}) >= 2
    assert len({spec.gold for spec in samples}) == max(len(spec.options) for spec in samples)


def test_a_rationale_names_the_answer_only_where_hearing_it_is_the_answer():
    tasks = set()
    for modality, task in ALL:
        samples = [spec for level in LEVELS for spec in specs(modality, task, level)]
        # One that never changes ("I compare the pitch of the first note with ...") names nothing.
        if len({spec.rationale for spec in samples}) > 1 and any(
            occurs(answer(d), d.rationale) for d in samples
        ):
            tasks.add(task)
    assert tasks == REPORT_NAMES_ANSWER


@pytest.mark.parametrize(
    ("modality", "task", "heard"),
    [
        ("sound", "Event order", lambda spec: spec.truth["content"]),
        ("sound", "Absent sound", lambda spec: spec.truth["content"]),
        ("sound", "Louder sound", lambda spec: spec.truth["content"]),
        ("sound", "Sound source", lambda spec: spec.truth["content"]),
        ("sound", "Sound place", lambda spec: spec.truth["content"]),
        ("music", "Instrument order", lambda spec: spec.truth["content"]),
        ("music", "Instrument family", lambda spec: spec.truth["content"]),
        ("music", "Number of instruments", lambda spec: spec.truth["content"]),
        ("speech", "Word order", lambda spec: spec.truth["transcript"].split(", ")),
        ("speech", "Unsaid word", lambda spec: spec.truth["transcript"].split(", ")),
        ("speech", "Word count", lambda spec: spec.truth["transcript"].split(", ")),
        ("speech", "Said by whom", lambda spec: spec.truth["transcript"].split()),
    ],
)
def test_a_rationale_reports_all_that_is_heard_in_order(modality, task, heard):
    for level in LEVELS:
        for spec in specs(modality, task, level):
            places = [spec.rationale.index(label) for label in heard(spec)]
            assert places == sorted(places), spec.rationale


# ---- what is right is what is heard


def nth(spec: QuestionSpec) -> int:
    return next(i for i, ordinal in enumerate(tasks_sound.ORDINALS) if ordinal in spec.question)


def family_of(spec: QuestionSpec) -> str:
    return tasks_music.FAMILIES[INSTRUMENTS[spec.truth["content"][0]].family]


def kind_of(spec: QuestionSpec) -> str:
    kinds = pools("train").words
    return next(
        kind for kind, words in kinds.items() for word in words if occurs(word, spec.truth["transcript"])
    )


def worked_out(spec: QuestionSpec) -> str:
    first, operator, other = spec.truth["transcript"].strip(".").split()
    sign = {"plus": 1, "minus": -1}[operator]
    return str(NUMBERS.index(first) + sign * NUMBERS.index(other))


def said_by(spec: QuestionSpec) -> str:
    person = "woman" if "woman" in spec.question else "man"
    return re.search(rf'The {person} says "(\w+)"', spec.rationale)[1]


RIGHT: dict[str, Callable[[QuestionSpec, Scene], str]] = {
    "Sound event": lambda spec, one: labels(one, "content")[0],
    "Background sound": lambda spec, one: labels(one, "background")[0],
    "Event count": lambda spec, one: str(len(labels(one, "content"))),
    "Event order": lambda spec, one: labels(one, "content")[nth(spec)],
    "Absent sound": lambda spec, one: (set(spec.options) - set(labels(one, "content"))).pop(),
    "Louder sound": lambda spec, one: labels(one, "content")[labels(one, "loud").index("loud")],
    "Sound source": lambda spec, one: sounds.SOUNDS[labels(one, "content")[0]].fact["made_by"],
    "Sound place": lambda spec, one: sounds.SOUNDS[labels(one, "content")[0]].fact["place"],
    "Instrument": lambda spec, one: labels(one, "content")[0],
    "Instrument order": lambda spec, one: labels(one, "content")[nth(spec)],
    "Instrument family": lambda spec, one: family_of(spec),
    "Number of instruments": lambda spec, one: str(len(set(labels(one, "content")))),
    "Note count": lambda spec, one: str(len(labels(one, "number"))),
    "Spoken word": lambda spec, one: next(o for o in spec.options if occurs(o, spec.truth["transcript"])),
    "Word order": lambda spec, one: spec.truth["transcript"].split(", ")[nth(spec)],
    "Unsaid word": lambda spec, one: (set(spec.options) - set(spec.truth["transcript"].split(", "))).pop(),
    "Word count": lambda spec, one: str(len(labels(one, "number"))),
    "Word category": lambda spec, one: kind_of(spec),
    "Spoken arithmetic": lambda spec, one: worked_out(spec),
    "Said by whom": lambda spec, one: said_by(spec),
    "Language": lambda spec, one: labels(one, "language")[0],
    "Sound behind speech": lambda spec, one: labels(one, "background")[0],
}  # fmt: skip


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("modality", "task"), [(m, t) for m, t in ALL if t in RIGHT])
def test_the_gold_option_is_what_the_clip_says(modality, task, level):
    for number in (0, 1):
        spec, item = specs(modality, task, level)[number], scene(modality, task, level, number)
        assert RIGHT[task](spec, item) == answer(spec), spec.question


@pytest.mark.parametrize(
    "task", ["Event count", "Number of instruments", "Note count", "Word count", "Spoken arithmetic"]
)
def test_numeric_options_are_a_window_of_neighbours(task):
    modality = next(modality for modality, name in ALL if name == task)
    for spec in itertools.chain(*(specs(modality, task, level) for level in LEVELS)):
        numbers = sorted(map(int, spec.options))
        assert numbers == list(range(numbers[0], numbers[0] + 4))
        assert numbers[0] >= 1


# ---- clips


def check_scene(scene: Scene) -> None:
    seconds = len(scene.samples) / RATE
    assert scene.samples.dtype == np.float32
    assert scene.samples.ndim == 1
    assert 0.1 <= seconds <= MAX_SECONDS + 1 / RATE
    assert np.isfinite(scene.samples).all()
    assert 0.2 < np.abs(scene.samples).max() <= 0.95
    assert scene.annotations
    for annotation in scene.annotations:
        assert 0 <= annotation.start < annotation.end <= seconds, annotation
        assert annotation.label, annotation


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("modality", "task"), ALL)
def test_every_task_renders_a_valid_clip_at_every_level(modality, task, level):
    for number in (0, 1):
        item = scene(modality, task, level, number)
        check_scene(item)
        assert labels(item, "type") == [modality]


def test_the_longest_clips_still_hold_all_that_is_counted():
    # The largest number at the slowest pace: what a clip of 6 s cannot hold would be missing from its annotations.
    for modality, task in (("sound", "Event count"), ("music", "Note count"), ("speech", "Word count")):
        for level in LEVELS:
            most = max(specs(modality, task, level, count=40), key=lambda spec: int(answer(spec)))
            notes = labels(most.build(generator("longest", task)), "number")
            assert notes == [str(i + 1) for i in range(int(answer(most)))], (task, level)


# ---- the mixer


def tone(seconds: float) -> np.ndarray:
    return np.sin(2 * np.pi * 440 * np.arange(round(seconds * RATE)) / RATE).astype(np.float32)


def test_a_mixer_places_sounds_and_cuts_at_six_seconds():
    mixer = Mixer("sound")
    assert mixer.add(tone(0.5), at=1.0, gain_db=-20) == 1.5
    assert mixer.add(tone(0.5), at=5.8) == pytest.approx(6.3)
    mixer.annotate("content", "early", 1.0, 1.5)
    mixer.annotate("content", "cut", 5.8, 6.3)
    mixer.annotate("content", "beyond", 6.1, 6.3)
    mixdown = mixer.mixdown()
    assert len(mixdown) == MAX_SECONDS * RATE
    assert np.abs(mixdown[:16_000]).max() == 0
    assert np.abs(mixdown[16_000:24_000]).max() == pytest.approx(0.1, rel=0.01)
    done = mixer.finish(np.random.default_rng(0))
    assert [(annotation.label, annotation.end) for annotation in done.annotations] == [
        ("early", 1.5),
        ("cut", 6.0),
        ("sound", 6.0),
    ]


def test_pauses_do_not_count_in_the_active_level():
    half = np.concatenate([tone(1.0), np.zeros(3 * RATE, np.float32)])
    assert active_rms(half) == pytest.approx(np.sqrt(0.5), rel=0.02)
    assert active_rms(np.zeros(1000, np.float32)) == pytest.approx(1e-6)


# ---- sampling


def context(level: str = "easy", seed: int = 0) -> SamplingContext:
    return SamplingContext(
        rng=np.random.default_rng(seed), level=level, pools=pools("train"), positions=BalancedPositions()
    )


def test_a_deck_deals_each_position_equally_often():
    positions, rng = BalancedPositions(), np.random.default_rng(0)
    cards = [positions.next_index("position", 4, rng) for _ in range(16 * 5)]
    assert [cards.count(position) for position in range(4)] == [20] * 4
    assert all(sorted(cards[i : i + 16]) == sorted([0, 1, 2, 3] * 4) for i in range(0, 80, 16))
    assert cards[:16] != cards[16:32]


def test_decks_of_another_name_or_size_do_not_disturb_each_other():
    positions, rng = BalancedPositions(), np.random.default_rng(0)
    cards = [
        (positions.next_index("position", 3, rng), positions.next_index("rank", 3, rng)) for _ in range(12)
    ]
    assert (
        sorted(first for first, _ in cards) == sorted(second for _, second in cards) == sorted([0, 1, 2] * 4)
    )


def test_the_answer_stands_where_the_deck_says_and_the_rest_is_kept():
    item = context()
    for _ in range(20):
        options, gold = item.place_answer(("a", "b", "c", "d"), "c")
        assert options[gold] == "c"
        assert sorted(options) == ["a", "b", "c", "d"]


@pytest.mark.parametrize(("low", "high"), [(1, 4), (1, 9), (3, 7)])
def test_a_window_stays_within_its_bounds_and_reaches_both(low, high):
    item, seen = context(), set()
    for _ in range(200):
        options, gold = item.number_window(low, high)
        numbers = sorted(map(int, options))
        assert numbers == list(range(numbers[0], numbers[0] + 4))
        assert low <= numbers[0]
        assert numbers[-1] <= high
        seen.add(options[gold])
    assert seen == {str(number) for number in range(low, high + 1)}


@pytest.mark.parametrize(("level", "value"), [("easy", 1), ("medium", 2), ("hard", 3)])
def test_a_difficulty_has_one_value_a_level(level, value):
    assert context(level).difficulty(1, 2, 3) == value


@pytest.mark.parametrize(
    ("pitch", "digit"), [(20, "1"), (41, "1"), (45, "1"), (46, "2"), (60, "4"), (81, "9"), (100, "9")]
)
def test_a_pitch_label_rises_by_one_every_five_semitones(pitch, digit):
    assert tasks_music.pitch_label(pitch) == digit


@pytest.mark.parametrize(
    ("case", "phrase", "expected"),
    [
        ("an event takes an article", tasks_sound.phrase("bell"), "a bell"),
        ("a vowel changes it", tasks_sound.phrase("explosion"), "an explosion"),
        ("a steady sound takes none", tasks_sound.phrase("rain"), "rain"),
        ("instruments take one", with_article("oboe"), "an oboe"),
        ("sounds in order", tasks_sound.report(("bell", "rain")), "I hear a bell, then rain."),
    ],
)
def test_phrases_take_the_right_article(case, phrase, expected):
    assert phrase == expected, case


def test_two_speakers_of_one_sex_have_two_voices():
    for spec in itertools.chain(*(specs("speech", "Speakers", level) for level in LEVELS)):
        _, (first, second), _ = spec.build.args
        assert first != second
        assert (first[0], second[0]) == tasks_speech.SPEAKER_SEXES[answer(spec)]
