"""The probes of trust: their questions are the stored ones, and within a pair only the condition differs."""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from lalm_utils import benchmarks
from lalm_utils.mini.benchmark import probes, splits
from lalm_utils.mini.benchmark.plan import PlannedItem, generator, render
from tests.test_mini_golden import TOLERANCE, digest_of, distance, facts_of

GOLDEN = Path(__file__).with_name("probes_golden.json")
each_split = pytest.mark.parametrize("split", probes.SPLITS)


def questions_of(split: str) -> list[dict]:
    return [splits.record(item, 0.0) for item in splits.plan(split)]


def chosen() -> list[PlannedItem]:
    """One clip of every axis, form, side and condition."""
    result: dict[tuple, PlannedItem] = {}
    for split in probes.SPLITS:
        for item in splits.plan(split):
            facts = item.spec.truth
            result.setdefault((split, facts["form"], facts["side"], facts["condition"]), item)
    return list({item.seed: item for item in result.values()}.values())


def quads(split: str) -> dict[str, dict[tuple[str, str], PlannedItem]]:
    result: dict[str, dict[tuple[str, str], PlannedItem]] = defaultdict(dict)
    for item in splits.plan(split):
        facts = item.spec.truth
        result[facts["quad"]][facts["side"], facts["condition"]] = item
    return result


@each_split
def test_questions_of_the_probes_are_the_stored_ones(split):
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert digest_of(questions_of(split)) == golden["questions"][split]


def test_clips_of_the_probes_are_the_stored_ones():
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))["clips"]
    result = {item.seed: facts_of(item) for item in chosen()}
    assert set(result) == set(golden)
    assert {id: d for id, facts in result.items() if (d := distance(facts, golden[id])) > TOLERANCE} == {}


def test_the_door_knows_the_probes():
    assert benchmarks.PROBES == probes.SPLITS
    items = benchmarks.planned_items("trust-privacy")
    assert len(items) == probes.SIZE
    assert items[0].annotations["side"] == "answer"


@each_split
def test_a_quad_has_two_sides_and_two_conditions(split):
    assert all(len(four) == 4 for four in quads(split).values())
    assert len(quads(split)) == 60


@each_split
def test_within_a_pair_the_condition_is_the_only_difference(split):
    for four in quads(split).values():
        for side in ("answer", "withhold"):
            off, on = four[side, "off"], four[side, "on"]
            assert off.spec.options == on.spec.options
            assert off.reason == on.reason
            same_clip = off.seed == on.seed
            question = on.spec.question.removeprefix(probes.URGING)
            assert question == off.spec.question
            if split in ("trust-safety", "trust-privacy"):
                assert same_clip
                assert (off.spec.truth["policy"], bool(on.spec.truth["policy"])) == ("", True)
            elif split == "trust-authentication":
                assert same_clip
                assert on.spec.question != off.spec.question
            else:
                assert not same_clip
                assert on.spec.question == off.spec.question


def test_each_kind_of_absent_sound_is_asked_for_in_either_form():
    facts = [item.spec.truth for item in splits.plan("trust-hallucination")]
    counts = Counter((each["form"], each["negative"]) for each in facts if each["negative"])
    assert set(counts) == {(form, kind) for form in ("explicit", "implicit") for kind in probes.NEGATIVES}
    assert min(counts.values()) >= 0.7 * max(counts.values())


def test_the_assertion_comes_behind_a_clip_that_is_equal_to_the_sample():
    for four in list(quads("trust-hallucination").values())[:6]:
        for side in ("answer", "withhold"):
            off, on = (render(four[side, condition]).samples for condition in ("off", "on"))
            assert len(on) > len(off) + 8000
            assert np.array_equal(on[: len(off)], off)


def test_twins_of_the_fairness_probe_share_the_voices_and_lose_the_right_option():
    for four in quads("trust-fairness").values():
        answer, withhold = four["answer", "off"], four["withhold", "off"]
        assert answer.seed == withhold.seed
        if answer.spec.truth["form"] == "word":
            assert answer.spec.options[answer.spec.gold] not in withhold.spec.options
            assert set(withhold.spec.options) & set(answer.spec.options)


@each_split
def test_the_right_option_stands_in_each_place_about_equally_often(split):
    places = Counter(
        (len(item.spec.options), item.spec.gold) for item in splits.plan(split) if not item.reason
    )
    for size in {size for size, _ in places}:
        counts = [places[size, index] for index in range(size)]
        assert min(counts) >= 0.4 * max(counts), places


def test_a_word_and_its_twin_sound_alike_and_are_of_another_topic():
    words = {topic: [pair.split()[0] for pair in pairs] for topic, pairs in probes.ALIKE.items()}
    for topic, pairs in probes.ALIKE.items():
        assert len({word for pair in pairs for word in pair.split()}) == 2 * len(pairs)
        assert not {pair.split()[1] for pair in pairs} & set(words[topic])


def test_a_resynthesised_voice_keeps_its_spectrum_and_not_its_samples():
    speech = probes.voice.say("Please say tiger again.").samples
    result = probes.resynthesise(speech, generator("test"))
    assert len(result) == len(speech)
    spectra = [np.abs(probes.signal.stft(x, nperseg=512)[2]).mean(axis=1) for x in (speech, result)]
    assert np.corrcoef(np.log(spectra[0] + 1e-6), np.log(spectra[1] + 1e-6))[0, 1] > 0.95
    assert abs(np.corrcoef(speech, result)[0, 1]) < 0.5


def write() -> None:
    content = {
        "questions": {split: digest_of(questions_of(split)) for split in probes.SPLITS},
        "clips": {item.seed: facts_of(item) for item in chosen()},
    }
    GOLDEN.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(write())
