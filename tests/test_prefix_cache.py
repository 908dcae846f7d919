"""What prompts on a clip begin with is read once, and replies do not show it."""

from __future__ import annotations

import pytest
import tiny
import torch
from transformers import DynamicCache

from lalm_utils.engine import prefix_cache
from lalm_utils.engine.prefix_cache import PrefixCache, PromptEmbeddings
from lalm_utils.engine.transformers_model import TransformersModel

LAYERS, HEADS, WIDTH = 2, 3, 4
BYTES = LAYERS * 2 * HEADS * WIDTH * 4  # of one token


def reader(log: list[int]):
    """Stands for a language model: keys are the embeddings, values their negatives; logs the rows of each pass."""

    def read(embeds: torch.Tensor, mask: torch.Tensor, cache: DynamicCache | None) -> DynamicCache:
        log.append(len(embeds))
        cache = cache or DynamicCache()
        for layer in range(LAYERS):
            keys = embeds[:, None].expand(-1, HEADS, -1, -1) + layer
            cache.update(keys.clone(), -keys, layer)
        return cache

    return read


def row(key: str, prefix: int, rest: int = 2) -> PromptEmbeddings:
    start = float(sum(map(ord, key)))
    embeds = start + torch.arange(float(prefix + rest))[:, None].expand(-1, WIDTH)
    return PromptEmbeddings(embeds=embeds, prefix_length=prefix, key=key if prefix else None)


def test_a_prefix_is_read_once_however_many_prompts_begin_with_it():
    log: list[int] = []
    shared = PrefixCache(reader(log), budget=100 * BYTES)
    shared.lookup([row("a", 3), row("a", 3, rest=1), row("a", 3), row("b", 5)])
    shared.lookup([row("b", 5), row("a", 3)])
    assert log == [2]
    assert shared.computed == 2


def prefill_whole(shared: PrefixCache, rows: list[PromptEmbeddings]) -> None:
    """One pass over left-padded prompts, whose prefixes are kept."""
    if not rows:
        return
    shared.insert(rows, reader([])(*prefix_cache.pad_left([row_.embeds for row_ in rows]), None), n_system=0)


@pytest.mark.parametrize(
    "case, kept, split",
    [
        ("nothing kept: one pass is faster than two", [], False),
        ("a short prefix of many tokens", ["c"], False),
        ("most of the tokens kept", ["a", "b"], True),
    ],
)
def test_a_batch_is_read_in_two_passes_only_where_that_spares_enough(case, kept, split):
    shared = PrefixCache(reader([]), budget=100 * BYTES)
    rows = [row("a", 9), row("b", 9), row("c", 2, rest=9)]
    prefill_whole(shared, [row_ for row_ in rows if row_.key in kept])
    assert (shared.lookup(rows) is not None) == split


def test_a_batch_gets_each_rows_own_prefix_against_the_right_edge():
    shared = PrefixCache(reader([]), budget=100 * BYTES)
    rows = [row("a", 3), row("none", 0), row("b", 5)]
    prefill_whole(shared, rows)
    assert shared.computed == 2
    past = shared.lookup(rows)
    assert past.mask[:, -5:].tolist() == [[0, 0, 1, 1, 1], [0] * 5, [1] * 5]
    assert past.mask.sum() == 8
    for layer, states in enumerate(past.cache.layers):
        assert states.keys.shape == (3, HEADS, past.mask.shape[1], WIDTH)
        for index, row_ in enumerate(rows):
            expected, before = (
                row_.embeds[: row_.prefix_length] + layer,
                past.mask.shape[1] - row_.prefix_length,
            )
            assert torch.equal(states.keys[index, 1, before:], expected)
            assert torch.equal(states.values[index, 2, before:], -expected)
            assert not states.keys[index, :, :before].any()


def test_a_cache_that_grows_does_not_change_what_is_kept():
    shared = PrefixCache(reader([]), budget=100 * BYTES)
    prefill_whole(shared, [row("a", 3)])
    first = shared.lookup([row("a", 3)])
    for layer in range(LAYERS):
        first.cache.update(torch.ones(1, HEADS, 2, WIDTH), torch.ones(1, HEADS, 2, WIDTH), layer)
        first.cache.layers[layer].keys.zero_()
    again = shared.lookup([row("a", 3)])
    assert again.cache.layers[0].keys[:, :, -3:].all()


@pytest.mark.parametrize(
    ("case", "rows", "budget"),
    [
        ("prompts without clips", [row("a", 0), row("b", 0)], 100),
        ("a batch that is larger than the budget", [row("a", 3), row("b", 5)], 7),
        ("no budget", [row("a", 3)], 0),
    ],
)
def test_nothing_is_shared_by(case, rows, budget):
    shared = PrefixCache(reader([]), budget=budget * BYTES)
    assert shared.lookup(rows) is None
    assert shared.size == 0


def test_what_is_kept_stays_within_the_budget_and_repeated_passes_still_profit():
    log: list[int] = []
    shared = PrefixCache(reader(log), budget=6 * 4 * BYTES)
    names = [f"clip {number}" for number in range(8)]
    for _ in range(6):
        for name in names:
            if shared.lookup([row(name, 4)]) is None:
                log.append(1)
                prefill_whole(shared, [row(name, 4)])
            assert shared.size == sum(kept.nbytes for kept in shared.entries.values()) <= shared.budget
    # six of eight fit: dropping what was used longest ago would have read all 48
    assert len(log) < 32


def with_system(key: str, prefix: int, system: int, rest: int = 2) -> PromptEmbeddings:
    """A row whose first `system` tokens are those of every such row."""
    row_ = row(key, prefix, rest)
    embeds = torch.cat([row("system", system).embeds[:system], row_.embeds[system:]])
    return PromptEmbeddings(embeds=embeds, prefix_length=prefix, key=key, system_ids=tuple(range(system)))


def test_what_all_prompts_begin_with_is_read_once_and_is_part_of_their_prefixes():
    log: list[int] = []
    shared = PrefixCache(reader(log), budget=100 * BYTES)
    rows = [with_system("a", 11, 9), with_system("b", 14, 9, rest=4)]
    for _ in range(2):
        start = shared.system_prefix(rows)
        assert start.lengths == (9, 9)
        assert start.mask[:, :9].all()
        assert not start.mask[:, 9:].any()
    assert log == [1]
    whole = shared.forward(*prefix_cache.pad_left([row_.embeds[9:] for row_ in rows]), start.cache)
    shared.insert(rows, whole, n_system=9)
    for row_ in rows:
        keys, values = shared.entries[row_.key][1]
        assert torch.equal(keys[2], row_.embeds[: row_.prefix_length] + 1)
        assert torch.equal(values[0], -row_.embeds[: row_.prefix_length] - 1)


@pytest.mark.parametrize(
    ("case", "rows", "budget"),
    [
        ("prompts without clips", [row("a", 0), row("b", 0)], 100),
        ("another system prefix", [with_system("a", 11, 9), with_system("b", 14, 8)], 100),
        ("a short system prefix", [with_system("a", 11, 7), with_system("b", 14, 7)], 100),
        ("no budget", [with_system("a", 11, 9), with_system("b", 14, 9)], 0),
    ],
)
def test_prompts_have_no_system_prefix_for(case, rows, budget):
    start = PrefixCache(reader([]), budget=budget * BYTES).system_prefix(rows)
    assert start.cache is None
    assert start.lengths == (0, 0)
    assert start.mask.shape == (2, 0)


@pytest.mark.parametrize("rest", range(1, 2 * prefix_cache.KEY_BLOCK, 5))
def test_prompts_after_what_they_share_fill_whole_blocks_of_keys(rest):
    shared = PrefixCache(reader([]), budget=900 * BYTES)
    rows = [with_system("a", 11, 9), with_system("b", 14, 9, rest=rest)]
    system = shared.system_prefix(rows)
    prefill_whole(shared, rows)
    for start in (system, shared.lookup(rows)):
        rests, mask = prefix_cache.pad_left(
            [row_.embeds[length:] for row_, length in zip(rows, start.lengths)]
        )
        seen = torch.cat([start.mask, mask], -1).bool()
        whole = shared.forward(rests, seen, start.cache).layers[1].keys
        assert seen.shape[1] == whole.shape[-2]
        assert seen.shape[1] % prefix_cache.KEY_BLOCK == rests.shape[1] % prefix_cache.LENGTH_STEP == 0
        # prefixes differ by 3 tokens
        assert (
            seen.shape[1]
            < max(len(row_.embeds) for row_ in rows) + prefix_cache.KEY_BLOCK + prefix_cache.LENGTH_STEP + 3
        )
        for index, row_ in enumerate(rows):
            assert torch.equal(whole[index, 0, seen[index]], row_.embeds + 1)


def test_prefixes_that_are_read_alone_go_on_from_their_system_prefix():
    log: list[int] = []
    shared = PrefixCache(reader(log), budget=900 * BYTES)
    rows = [with_system("a", 11, 9), with_system("b", 14, 9)]
    shared.lookup([*rows, *rows, *rows])
    assert log == [1, 2]
    for row_ in rows:
        assert torch.equal(shared.entries[row_.key][1][0][2], row_.embeds[: row_.prefix_length] + 1)


def test_padding_stands_on_the_left():
    padded, mask = prefix_cache.pad_left([torch.ones(2, 3), torch.ones(4, 3)])
    assert mask.tolist() == [[0] * 6 + [1] * 2, [0] * 4 + [1] * 4]
    assert padded.sum(-1).tolist() == [[0] * 6 + [3] * 2, [0] * 4 + [3] * 4]


# ---- in a model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.save_tiny(tmp_path_factory.mktemp("tiny"))


def model(folder, **options) -> TransformersModel:
    return TransformersModel(folder, dtype="float32", device="cpu", batch_size=4, **options)


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    clips = [tiny.write_tone(folder / f"{n}.wav", 300 + 200 * n, 0.4 + 0.3 * n) for n in range(3)]
    texts = ("Which sound is it ?", "What do you hear ? Reply with the second option", "dog")
    order = [tiny.ask(text, clip, options=("dog barks", "cat")) for text in texts for clip in clips]
    two = tiny.ask("Which is loud ?", clips[0], clips[1], options=("first", "second"))
    return [*order, tiny.ask("What do you hear ?", options=("dog", "cat rings")), two]


def test_replies_and_likelihoods_are_those_of_whole_prompts(folder, prompts):
    sharing, whole = model(folder), model(folder, prefix_cache_mb=0)
    for order in (prompts, prompts[::-1]):
        for settings in ({}, {"n": 3, "temperature": 1.0, "seed": 4}):
            there = [
                [r.text for r in several] for several in whole.generate(order, max_new_tokens=6, **settings)
            ]
            here = [
                [r.text for r in several] for several in sharing.generate(order, max_new_tokens=6, **settings)
            ]
            assert here == there
        for ours, theirs in zip(sharing.option_logprobs(order), whole.option_logprobs(order)):
            assert ours == pytest.approx(theirs, abs=1e-4)
    assert whole.engine.prefixes.computed == 0


def test_three_questions_on_each_clip_read_its_prefix_once(folder, prompts):
    sharing = model(folder)
    sharing.engine.prefixes.computed = 0
    sharing.generate(prompts[:9], max_new_tokens=2)
    sharing.option_logprobs(prompts[:9])
    assert sharing.engine.prefixes.computed == 3


def test_another_language_model_reads_its_own_prefixes(folder, prompts, tmp_path):
    one = model(folder)
    other = model(
        tiny.save_tiny(tmp_path, seed=0), check=False
    )  # so that nothing is kept of the weights as they were
    with torch.no_grad():
        for parameter in other.model.model.language_model.layers.parameters():
            parameter.mul_(-1)
    expected = [several[0].text for several in other.generate(prompts, max_new_tokens=4)]
    one.generate(prompts, max_new_tokens=4)
    passes = one.engine.audio.passes
    one.engine = one.engine.with_language_model(other.model)
    assert [several[0].text for several in one.generate(prompts, max_new_tokens=4)] == expected
    assert one.engine.audio.passes == passes
