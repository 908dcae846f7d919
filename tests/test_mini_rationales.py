"""Chains are true: their facts are recomputed here from the plan of the clip and from its annotations."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from texts import occurs

from lalm_utils.mini.benchmark.plan import PlannedItem, plan, render
from lalm_utils.mini.benchmark.sounds import SOUNDS
from lalm_utils.mini.benchmark.tasks_sound import ORDINALS
from lalm_utils.mini.training.rationales import rationale


@cache
def items() -> tuple[PlannedItem, ...]:
    chosen = tuple(plan("train", size=300))
    assert len({item.task for item in chosen}) == 30
    return chosen


def chains(item: PlannedItem) -> list[str]:
    return [rationale(item, np.random.default_rng([seed, 7]), item.spec.options) for seed in range(3)]


def answer(item: PlannedItem) -> str:
    return item.spec.options[item.spec.gold]


def in_order(chain: str) -> list[str]:
    """What a chain says is first, second and so on."""
    phrases = re.findall(
        rf"(?:the )?(?:{'|'.join(ORDINALS)})(?: is)?(?: an?)? ([a-z ]+?)(?=[.,])",
        re.split(r"(?<=\.) (?:Not|Missing|There is no)", chain)[0],
        re.I,
    )
    return [label.strip() for label in phrases]


def sequence_of(item: PlannedItem) -> list[str]:
    return list(item.spec.truth.get("content") or item.spec.truth["transcript"].split(", "))


def ordered(item: PlannedItem, chain: str) -> bool:
    return in_order(chain) == sequence_of(item)


def counts(item: PlannedItem, chain: str) -> bool:
    *steps, total = re.findall(r"([a-z ]*?) ?(\d+)", chain)
    return [int(n) for _, n in steps] == list(range(1, int(answer(item)) + 1)) and total[1] == answer(item)


def loudness(item: PlannedItem, chain: str) -> bool:
    levels = {"quiet": 0, "quieter": 0, "soft": 0, "loud": 2, "louder": 2}
    words = re.findall(r"\b(?:quieter|quiet|soft|louder|loud)\b", chain.casefold())
    expected = {"getting louder": (0, 2), "getting quieter": (2, 0), "getting softer": (2, 0),
                "louder then quieter": (0, 2, 0), "quieter then louder": (2, 0, 2)}.get(answer(item))  # fmt: skip
    if expected is None:
        return "equally" in chain or "As loud at the end as" in chain
    result = tuple(levels[word] for word in words)
    return result == expected or (len(expected) == 2 and (result[0], result[-1]) == expected)


def pitches(item: PlannedItem, chain: str) -> bool:
    marks = [a.label for a in render(item).annotations if a.group == "pitch"]
    return re.findall(r"\d", chain) == marks


def calculated(item: PlannedItem, chain: str) -> bool:
    left, right = re.search(r"(\d+ [+-] \d+) = (-?\d+)", chain).groups()
    first, sign, second = left.split()
    return (
        (int(first) + int(second) if sign == "+" else int(first) - int(second))
        == int(right)
        == int(answer(item))
    )


def voices(item: PlannedItem, chain: str) -> bool:
    people = re.findall(r"\b(man|woman)\b", chain)
    return people == [
        a.label for a in sorted(render(item).annotations, key=lambda a: a.start) if a.group == "who"
    ]


def said_by(item: PlannedItem, chain: str) -> bool:
    words = item.spec.truth["transcript"].split()
    return voices(item, chain) and [word for word in re.findall(r"\w+", chain) if word in words] == words


def fact(key: str) -> Callable[[PlannedItem, str], bool]:
    return lambda item, chain: (
        occurs(item.spec.truth["content"][0], chain)
        and occurs(SOUNDS[item.spec.truth["content"][0]].fact[key], chain)
    )


TRUE: dict[str, Callable[[PlannedItem, str], bool]] = {
    "Event order": ordered, "Instrument order": ordered, "Word order": ordered,
    "Absent sound": lambda i, c: ordered(i, c) and c.rstrip(".").endswith(answer(i)),
    "Unsaid word": lambda i, c: ordered(i, c) and c.rstrip(".").endswith(answer(i)),
    "Event count": counts, "Note count": counts, "Word count": counts, "Number of instruments": counts,
    "Loudness trajectory": loudness, "Dynamics": loudness,
    "Melodic contour": pitches, "Higher note": pitches,
    "Spoken arithmetic": calculated, "Speakers": voices, "Said by whom": said_by,
    "Sound source": fact("made_by"), "Sound place": fact("place"),
    "Louder sound": lambda i, c: bool(re.search(rf"{re.escape(answer(i))}, loud", c)) and c.count("quiet") == 1,
    "Tempo": lambda i, c: abs(int(re.search(r"\d+", c)[0]) - i.spec.build.args[1]) <= 5 and occurs(answer(i), c),
}  # fmt: skip


@pytest.mark.parametrize("task", sorted({*TRUE}))
def test_the_facts_of_a_chain_are_those_of_the_clip(task):
    mine = [item for item in items() if item.task == task]
    assert len(mine) >= 5
    for item in mine:
        for chain in chains(item):
            assert TRUE[task](item, chain), (item.id, chain, answer(item), dict(item.spec.truth))


def test_the_other_chains_name_the_answer_or_what_leads_to_it():
    others = {item.task for item in items()} - {*TRUE} - {"Speaking rate"}
    for item in items():
        if item.task in others:
            assert all(occurs(answer(item), chain) for chain in chains(item)), (item.task, chains(item))


def test_what_a_chain_says_is_missing_is_an_option_that_the_clip_does_not_hold():
    n_options = 0
    for number, item in enumerate(items()):
        for seed in range(6):
            chain = rationale(item, np.random.default_rng([seed, number]), item.spec.options)
            result = re.search(r"(?:Not heard|Missing|Not in the clip): ([^.]+)\.$", chain)
            if result and item.task not in ("Absent sound", "Unsaid word"):
                n_options += 1
                gone = set(result[1].split(", "))
                assert gone <= set(item.spec.options) - {answer(item), *item.spec.truth.get("content", ())}
    assert n_options > 20


def test_chains_vary_in_their_wording():
    for item in items()[:60]:
        chains_of_seeds = {rationale(item, np.random.default_rng(seed)) for seed in range(12)}
        assert len(chains_of_seeds) >= 2, (item.task, chains_of_seeds)


def test_a_wrong_fact_is_noticed():
    order = next(item for item in items() if item.task == "Event order" and item.level == "hard")
    reversed_chain = "The first is rain. " + chains(order)[0]
    assert not ordered(order, reversed_chain)
    item = next(item for item in items() if item.task == "Event count")
    assert not counts(item, chains(item)[0].replace(answer(item), "17"))
