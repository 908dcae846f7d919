"""The embedded benchmark's plan: sizes, novelty, unanswerable items, and texts that do not tell the answer."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest

from lalm_utils.mini.benchmark import plan as planning
from lalm_utils.mini.benchmark import sounds
from lalm_utils.mini.benchmark.plan import (
    REASONS,
    SIZES,
    SWAPPABLE,
    PlannedItem,
    generator,
    plan,
    pools,
    render,
    unanswerable,
)
from lalm_utils.mini.benchmark.sampling import BalancedPositions
from lalm_utils.mini.benchmark.scene import LEVELS, MAX_SECONDS, RATE, active_rms, noise_like
from lalm_utils.mini.benchmark.voice import IDK_VOICES, TEST_VOICES, TRAIN_VOICES

MODALITIES = ("sound", "music", "speech")
ANSWERABLE = ("dev", "idk", "test", "final")
VARIANTS = {v for group in (TRAIN_VOICES, IDK_VOICES, TEST_VOICES) for names in group.values() for v in names}


@cache
def items_of(split: str) -> tuple[PlannedItem, ...]:
    return tuple(plan("train", size=900) if split == "train" else plan(split))


def leaves(value: object) -> Iterator[object]:
    """Everything inside nested tuples, lists and mappings, keys left out."""
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, (tuple, list)):
        for part in value:
            yield from leaves(part)
    else:
        yield value


def labels_of(split: str, *, novel: bool) -> set[str]:
    """Sounds, instruments, languages and words of a split's pools."""
    pool = pools(split, novel=novel)
    vocabulary = {word for group in pool.words.values() for word in group}
    return {*pool.events, *pool.textures, *pool.instruments, *pool.languages, *vocabulary}


def played(item: PlannedItem) -> str:
    """Everything that an item's clip holds, as one text: truth and the clip's parameters."""
    parts = leaves([dict(item.spec.truth), item.spec.build.args])
    return " / ".join(part for part in parts if isinstance(part, str))


def whole_words(labels: set[str]) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, sorted(labels)))})(?!\w)")


FACTS = {fact for sound in sounds.SOUNDS.values() for fact in sound.fact.values()}
NOVEL = labels_of("idk", novel=True) | labels_of("test", novel=True)
WORDS_IN_FACTS = {label for label in NOVEL for fact in FACTS if whole_words({label}).search(fact)}


# ---- sizes


@pytest.mark.parametrize(
    ("split", "each"),
    [
        ("dev", (100, 100, 100)),
        ("idk", (300, 300, 300)),
        ("test", (333, 333, 333)),
        ("final", (200, 200, 200)),
    ],
)
def test_a_split_holds_equally_many_items_of_each_modality(split, each):
    counts = Counter(item.modality for item in items_of(split))
    assert tuple(counts[modality] for modality in MODALITIES) == each
    assert len(items_of(split)) == SIZES[split] == sum(each)


@pytest.mark.parametrize("split", ANSWERABLE)
def test_levels_and_tasks_are_about_equally_frequent(split):
    for modality in MODALITIES:
        items = [item for item in items_of(split) if item.modality == modality and not item.novel]
        levels, tasks = (Counter(getattr(item, name) for item in items) for name in ("level", "task"))
        assert set(levels) == set(LEVELS)
        assert max(levels.values()) <= 1.35 * min(levels.values()), (modality, levels)
        assert set(tasks) == set(planning.MODALITIES[modality].TASKS)
        assert max(tasks.values()) <= min(tasks.values()) + 3, (modality, tasks)


@pytest.mark.parametrize("split", ["train", *ANSWERABLE, "unanswerable"])
def test_ids_are_unique_name_their_split_and_seed_their_clip(split):
    ids = [item.id for item in items_of(split)]
    assert len(set(ids)) == len(ids)
    assert all(item.id.startswith(f"{split}-") and item.seed == item.id for item in items_of(split))


def test_chunks_of_train_hold_other_items():
    first, second = plan("train", chunk=0, size=60), plan("train", chunk=1, size=60)
    assert not {item.seed for item in first} & {item.seed for item in second}
    assert sum(a.spec.question == b.spec.question for a, b in zip(first, second)) < 20


def test_no_two_splits_share_a_seed_or_a_clip():
    seeds = [item.seed for split in ("train", *ANSWERABLE, "unanswerable") for item in items_of(split)]
    assert len(set(seeds)) == len(seeds)
    firsts = {generator(seed, "clip").integers(2**63) for seed in seeds}
    assert len(firsts) == len(seeds)


def test_a_generator_depends_on_every_part_of_its_seed_and_on_their_order():
    numbers = [generator(*parts).integers(2**63) for parts in (("a", 1), ("a", 2), (1, "a"), ("a", "1", ""))]
    assert len(set(numbers)) == 4
    assert generator("a", 1).integers(2**63) == numbers[0]


# ---- novelty


@pytest.mark.parametrize(
    ("split", "share"), [("dev", 0.0), ("idk", 0.2), ("test", 0.2), ("final", 0.2), ("train", 0.0)]
)
def test_a_fifth_of_idk_and_test_is_novel_and_nothing_else(split, share):
    for modality in MODALITIES:
        novel = [item.novel for item in items_of(split) if item.modality == modality]
        assert np.mean(novel) == pytest.approx(share, abs=0.005), modality
    assert not any(item.novel for item in items_of("unanswerable"))


def test_the_novel_labels_of_a_split_occur_in_no_other_pool():
    groups = [labels_of("dev", novel=False), labels_of("idk", novel=True), labels_of("test", novel=True)]
    assert all(len(group) > 30 for group in groups)
    for i, group in enumerate(groups):
        for other in groups[i + 1 :]:
            assert not group & other
    assert labels_of("idk", novel=False) == labels_of("train", novel=False) == groups[0]


@pytest.mark.parametrize(
    ("split", "novel", "foreign"),
    [
        ("train", False, ("idk", "test")), ("dev", False, ("idk", "test")), ("idk", False, ("idk", "test")),
        ("test", False, ("idk", "test")), ("idk", True, ("test",)), ("test", True, ("idk",)),
    ],
)  # fmt: skip
def test_no_item_plays_a_label_that_is_novel_elsewhere(split, novel, foreign):
    forbidden = set().union(*(labels_of(other, novel=True) for other in foreign)) - WORDS_IN_FACTS
    pattern, items = whole_words(forbidden), [item for item in items_of(split) if item.novel == novel]
    assert len(items) > 150
    for item in items:
        assert not pattern.search(played(item)), (item.id, item.task, pattern.findall(played(item)))


def test_no_fact_about_a_sound_names_a_novel_word():
    assert not WORDS_IN_FACTS


SHARED = (
    "Sound event", "Event order", "Instrument", "Instrument order", "Spoken word", "Word order", "Language",
    "Said by whom",
)  # fmt: skip


@pytest.mark.parametrize("split", ["idk", "test", "final"])
def test_a_novel_item_plays_a_novel_label_and_its_options_are_half_familiar_as_a_known_ones_are(split):
    mine, items = labels_of(split, novel=True), [i for i in items_of(split) if i.task in SHARED]
    assert {item.task for item in items_of(split) if item.novel} == set(SHARED)
    for item in items:
        unplayed = {option for option in item.spec.options if option in mine}
        assert len(unplayed) == 2, (item.id, item.spec.options)
        assert (item.spec.options[item.spec.gold] in mine) == item.novel, item.id
        assert len(set(item.spec.options)) == 4
    seen = {label for item in items for label in item.spec.options}
    assert seen >= set(pools(split, novel=True).events) | set(pools(split, novel=True).instruments)


def words_of(item: PlannedItem) -> list[str]:
    return re.findall(r"\w+", " ".join([item.spec.question, *item.spec.options]).casefold())


def auc_of_bag_of_words(items: list[PlannedItem]) -> tuple[float, float]:
    """AUC, and its standard error, of a ridge classifier on a question's words; within tasks, by five folds."""
    index = {word: k for k, word in enumerate(sorted({w for item in items for w in words_of(item)}))}
    x = np.zeros((len(items), len(index)))
    for row, item in enumerate(items):
        x[row, [index[word] for word in words_of(item)]] = 1
    y, tasks = np.array([item.novel for item in items], float), np.array([item.task for item in items])
    for task in set(tasks):  # a task's share of novel items is no secret: only what goes beyond it counts
        x[tasks == task] -= x[tasks == task].mean(0)
    score, folds = np.zeros(len(items)), np.arange(len(items)) % 5
    for fold in range(5):
        train = folds != fold
        weights = np.linalg.solve(
            x[train].T @ x[train] + 5 * np.eye(x.shape[1]), x[train].T @ (y[train] - y[train].mean())
        )
        score[~train] = x[~train] @ weights
    wins, variance = [], 0.0
    for task in sorted(set(tasks)):
        novel, known = score[(tasks == task) & (y == 1)], score[(tasks == task) & (y == 0)]
        wins.append(
            ((novel[:, None] > known).mean() + (novel[:, None] == known).mean() / 2, len(novel) * len(known))
        )
        variance += (
            (len(novel) * len(known)) ** 2 * (len(novel) + len(known) + 1) / (12 * len(novel) * len(known))
        )
    total = sum(weight for _, weight in wins)
    return sum(value * weight for value, weight in wins) / total, float(np.sqrt(variance) / total)


@pytest.mark.parametrize("split", ["idk", "test", "final"])
def test_the_words_of_a_question_do_not_tell_whether_its_content_is_novel(split):
    auc, error = auc_of_bag_of_words([item for item in items_of(split) if item.task in SHARED])
    print(f"{split}: AUC {auc:.3f}, standard error {error:.3f}")
    assert abs(auc - 0.5) <= 2.5 * error
    # The check can fail: with the options that novel items had before, all of them novel, it does.
    texts = [
        planning.replace(item, spec=planning.replace(item.spec, options=tuple(
            f"new{i}" if item.novel else f"old{i}" for i in range(4)
        )))
        for item in items_of(split) if item.task in SHARED
    ]  # fmt: skip
    assert auc_of_bag_of_words(texts)[0] > 0.95


@pytest.mark.parametrize("split", ["train", "dev", "unanswerable"])
def test_labels_that_training_never_plays_are_shown_there(split):
    options = {option for item in items_of(split) for option in item.spec.options}
    unplayed = NOVEL & options
    assert len(unplayed) > (20 if split == "unanswerable" else 50), sorted(unplayed)


@pytest.mark.parametrize(
    ("split", "novel", "voices"),
    [
        ("train", False, TRAIN_VOICES), ("dev", False, TRAIN_VOICES), ("test", False, TRAIN_VOICES),
        ("idk", True, IDK_VOICES), ("test", True, TEST_VOICES),
    ],
)  # fmt: skip
def test_each_group_of_items_speaks_with_its_own_voices(split, novel, voices):
    used = set()
    for item in items_of(split):
        if item.novel == novel and item.modality == "speech":
            used |= set(leaves(item.spec.build.args)) & VARIANTS
    assert used == {variant for names in voices.values() for variant in names}


def test_no_voice_belongs_to_two_groups():
    assert len(VARIANTS) == sum(len(n) for g in (TRAIN_VOICES, IDK_VOICES, TEST_VOICES) for n in g.values())


@pytest.mark.parametrize("split", ["dev", "train", "unanswerable"])
def test_a_split_without_novel_labels_says_so(split):
    message = rf"split '{split}' has no novel labels; those that have: \['final', 'idk', 'test'\]"
    with pytest.raises(ValueError, match=message):
        pools(split, novel=True)


# ---- unanswerable items


def test_unanswerable_items_are_of_two_sorts_in_equal_parts():
    items = items_of("unanswerable")
    counts = Counter(item.reason for item in items)
    assert len(items) == SIZES["unanswerable"] >= 120
    assert set(counts) == set(REASONS)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert counts["silence"] + counts["masked"] == counts["option_removed"] + counts["wrong_category"]
    assert {(item.reason, item.modality) for item in items} == {(r, m) for r in REASONS for m in MODALITIES}


def test_only_unanswerable_items_carry_a_reason():
    assert not any(item.reason for split in ("train", *ANSWERABLE) for item in items_of(split))


def test_where_the_right_option_was_removed_no_option_is_heard():
    removed = [item for item in items_of("unanswerable") if item.reason == "option_removed"]
    assert {item.task for item in removed} == set(SWAPPABLE)
    for item in removed:
        audible = {
            annotation.label
            for annotation in render(item).annotations
            if annotation.group in ("content", "background", "language")
        }
        options = item.spec.options
        assert audible, item.id
        assert not audible & set(options), (item.id, audible & set(options))
        assert len(set(options)) == len(options)
        assert set(options) <= set(item.spec.pool)


def test_where_the_category_is_wrong_the_clip_is_a_clean_one_of_another_modality_without_any_option():
    wrong = [item for item in items_of("unanswerable") if item.reason == "wrong_category"]
    for item in wrong:
        annotations = render(item).annotations
        played = {annotation.label for annotation in annotations if annotation.group == "type"}
        assert played == {item.spec.truth["type"]}, item.id
        assert item.modality not in played, item.id
        assert not {annotation.label for annotation in annotations} & set(item.spec.options), item.id
        assert item.spec.rationale.startswith(("I hear the sound of", "The timbre is", "The speaker says")), (
            item.id
        )


def test_a_silent_clip_holds_only_a_hiss():
    silent = [item for item in items_of("unanswerable") if item.reason == "silence"]
    for item in silent:
        scene = render(item)
        assert np.abs(scene.samples).max() <= 1e-4, item.id
        assert scene.annotations == (), item.id
        assert 2.0 <= len(scene.samples) / RATE <= 4.5, item.id


def test_a_masked_clip_lies_40_db_below_its_noise():
    masked = [item for item in items_of("unanswerable") if item.reason == "masked"][::4]
    for item in masked:
        rng, build = (
            generator(item.seed, "clip"),
            inspect.getclosurevars(item.spec.build).nonlocals["build_sound"],
        )
        sound, scene = build(rng).samples.astype(np.float64), render(item)
        noise = noise_like(rng, len(sound)).astype(np.float64)
        # The clip is a sum of the two; their factors tell the levels, and nothing else is in it.
        factors, rest, *_ = np.linalg.lstsq(np.stack([sound, noise], 1), scene.samples.astype(np.float64))
        assert rest < 1e-6, item.id
        level = 20 * np.log10(factors[0] * active_rms(sound) / factors[1])
        assert level == pytest.approx(-40, abs=0.1), item.id
        assert scene.annotations == (), item.id


@pytest.mark.parametrize("reason", REASONS)
def test_unanswerable_training_items_are_made_alike(reason):
    item = unanswerable("train-0-u999", "train", "speech", reason, BalancedPositions())
    assert (item.reason, item.split, item.modality, item.novel) == (reason, "train", "speech", False)
    assert len(render(item).samples) <= MAX_SECONDS * RATE + 1


# ---- text tells nothing


def numeric_rank(item: PlannedItem, k: int) -> object:
    options = item.spec.options
    if not all(option.isdigit() for option in options):
        return "no numbers"
    return sum(int(other) < int(options[k]) for other in options)


def length_rank(item: PlannedItem, k: int) -> object:
    options = item.spec.options
    return len(options), sum(len(other) < len(options[k]) for other in options)


PRIORS = {
    "the option": lambda item, k: item.spec.options[k],
    "the option in its task": lambda item, k: (item.task, item.spec.options[k]),
    "the option in its task and level": lambda item, k: (item.task, item.level, item.spec.options[k]),
    "the position": lambda item, k: (len(item.spec.options), k),
    "the position in a task": lambda item, k: (item.task, k),
    "the option after this question": lambda item, k: (item.spec.question, item.spec.options[k]),
    "the position after this question": lambda item, k: (item.spec.question, k),
    "the size of a number": numeric_rank,
    "the length of an option": length_rank,
}
RANKS = ("the size of a number", "the length of an option")


def surplus(items, key) -> tuple[float, float]:
    """(hit rate of a learned text prior minus chance, its standard error).

    Rates are learned on every other item and tried on the rest, and the other way round: the share of times an
    option with this key was right, against the times a guesser would expect. Ties share the guess.
    """
    gains = []
    for seen, planned in ((items[::2], items[1::2]), (items[1::2], items[::2])):
        right, expected = Counter(), Counter()
        for item in seen:
            for k in range(len(item.spec.options)):
                right[key(item, k)] += k == item.spec.gold
                expected[key(item, k)] += 1 / len(item.spec.options)
        for item in planned:
            count = len(item.spec.options)
            rates = np.array([(right[key(item, k)] + 1) / (expected[key(item, k)] + 1) for k in range(count)])
            best = np.isclose(rates, rates.max())
            gains.append(best[item.spec.gold] / best.sum() - 1 / count)
    return float(np.mean(gains)), float(np.std(gains, ddof=1) / np.sqrt(len(gains)))


@pytest.mark.parametrize("prior", [name for name in PRIORS if name not in RANKS])
@pytest.mark.parametrize("split", ANSWERABLE)
def test_what_was_right_in_one_half_does_not_tell_what_is_right_in_the_other(split, prior):
    gain, error = surplus(items_of(split), PRIORS[prior])
    assert gain <= 2 * error, (
        f"{split}: {prior} beats chance by {gain:.3f}, {gain / error:.1f} standard errors"
    )
    # Nor by its opposite: a deck of labels makes an option that was right before a wrong one later.
    assert gain >= -3.5 * error, f"{split}: {prior} tells what is wrong, {gain / error:.1f} standard errors"


@pytest.mark.parametrize("prior", RANKS)
def test_neither_the_largest_number_nor_the_longest_option_is_right_more_often(prior):
    # Over all splits at once: a rank has few values, so what it could tell in one split it tells in all.
    items = [item for split in ANSWERABLE for item in items_of(split)]
    gain, error = surplus(items, PRIORS[prior])
    assert abs(gain) <= 2 * error, f"{prior} is {gain / error:.1f} standard errors from chance"


def test_the_priors_would_see_a_leak():
    # Each kind of leak in one item of five is far beyond the bounds above.
    items = list(items_of("test"))
    leaks = {
        "the position": lambda options: 0,
        "the option": lambda options: options.index(min(options)),
        "the length of an option": lambda options: options.index(max(options, key=len)),
    }
    for prior, leak in leaks.items():
        leaky = [_answered(item, leak) if number % 5 in (0, 3) else item for number, item in enumerate(items)]
        gain, error = surplus(leaky, PRIORS[prior])
        assert gain > 4 * error, prior


def _answered(item: PlannedItem, leak) -> PlannedItem:
    spec = planning.replace(item.spec, gold=leak(item.spec.options))
    return planning.replace(item, spec=spec)


@pytest.mark.parametrize("split", ANSWERABLE)
def test_a_constant_letter_never_beats_its_share(split):
    items = items_of(split)
    for letter in range(4):
        planned = [item for item in items if len(item.spec.options) > letter]
        share = np.mean([1 / len(item.spec.options) for item in planned])
        hits = np.mean([item.spec.gold == letter for item in planned])
        # Decks deal each position equally often; only what is left of the last deck can differ.
        assert abs(hits - share) <= 0.012, (letter, hits, share)
