"""The engine against two peers, and against itself with parts of it switched off: seconds (notebook 11).

In: a loaded Qwen2-Audio and items. Out: a tidy table, one row per task, repeat and way of asking:

    one by one         the loop of a model card: one call of `generate` per question and sample
    batched generate   transformers' own batches: left-padded, sorted by length, num_return_sequences for samples
    together           this package's engine

Both peers use what the processor makes of text and clip, and keep nothing for the next call. Each way starts each
repeat with empty caches, and the store is not used.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from transformers import GenerationConfig

from lalm_utils import prompts
from lalm_utils.engine.hardware import processor_name, trim_heap
from lalm_utils.engine.prefix_sharing_engine import PrefixSharingEngine
from lalm_utils.engine.transformers_model import TransformersModel
from lalm_utils.finetuning.k_of_n import METHOD, TEMPERATURE, N
from lalm_utils.items import Item
from lalm_utils.models import ModelError, Prompt
from lalm_utils.runs import MAX_NEW_TOKENS

METHODS = ("plain", "idk", "stepwise", "mcot")
LOOP, BATCHED, TOGETHER = "one by one", "batched generate", "together"
GREEDY, SAMPLED, SEVERAL = "one reply", f"{N} samples", f"{len(METHODS)} methods"
TASKS = (GREEDY, SAMPLED, SEVERAL)
PEER_BATCH = 16
MAX_DRIFT, MAX_GB = 0.05, 3.0
COLUMNS = ("task", "way", "repeat", "questions", "replies", "seconds", "passes_per_clip")
WHOLE = "whole engine"
SWITCHES: Mapping[str, Mapping[str, Any]] = {  # fields of EngineOptions
    WHOLE: {},
    "no drafts": {"drafts": False},
    "no merging of equal streams": {"merge_streams": False},
    "neither of the two": {"drafts": False, "merge_streams": False},
    "no prefix cache": {"prefix_cache_mb": 0},
    "no audio cache": {"audio_cache_mb": 0},
    "audio tower over its whole window": {"whole_window": True},
}

Call = tuple[list[Prompt], int, float, int]  # prompts, samples, temperature, max_new_tokens


def compare(
    model: TransformersModel, items: Sequence[Item], *, repeats: int = 3, seed: int = 0
) -> pd.DataFrame:
    """COLUMNS for each task: greedy replies to the plain prompt, N samples, and four methods on the same clips.

    Which way is timed first changes with the repeat, so that a machine that slows down favours none.
    passes_per_clip: how often a clip went through the audio tower, on average. Raises ModelError for a model whose
    engine shares nothing, ValueError for no items or repeats.
    """
    _check(model, items, repeats)
    rows, clips = [], len({item.clip for item in items})
    ways = {LOOP: _loop, BATCHED: _batched, TOGETHER: _together}
    for repeat in range(repeats):
        for task in TASKS:
            for way in _rotated(list(ways), repeat):
                seconds, replies, passes = ways[way](model, _calls(task, items), seed)
                rows.append((task, way, repeat, len(items), replies, seconds, passes / clips))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def ratios(table: pd.DataFrame) -> pd.DataFrame:
    """How many times as fast as each peer the engine is, in the same repeat: a row per task and peer.

    Index task, peer; metric ("speed_ratio"); value: the median of the repeats; low, high: their range, which holds the
    true median with a probability of 1 - 2^(1 - repeats), 0.97 for six (empty: a single repeat); n (questions); status.
    """
    seconds = table.pivot(index="repeat", columns=["task", "way"], values="seconds")
    rows = {}
    for task in dict.fromkeys(table["task"]):
        for peer in (LOOP, BATCHED):
            ratio = seconds[task, peer] / seconds[task, TOGETHER]
            low, high = (ratio.min(), ratio.max()) if len(ratio) > 1 else (np.nan, np.nan)
            rows[task, peer] = {"metric": "speed_ratio", "value": ratio.median(), "low": low, "high": high}
    frame = pd.DataFrame.from_dict(rows, orient="index").rename_axis(["task", "peer"])
    status = "" if len(seconds) > 1 else "a single repeat"
    return frame.assign(n=table["questions"].max(), status=status)


def ablation(
    model: TransformersModel,
    items: Sequence[Item],
    *,
    switches: Mapping[str, Mapping[str, Any]] = SWITCHES,
    repeats: int = 3,
    seed: int = 0,
) -> pd.DataFrame:
    """Seconds of each task with a part of the engine switched off: task, switch, repeat, seconds, cpu_seconds.

    In one process and in turns, each time from empty caches. cpu_seconds are the process's own, which other work on
    the machine changes less.
    """
    _check(model, items, repeats)
    rows = []
    for repeat in range(repeats):
        for task in TASKS:
            for switch in _rotated(list(switches), repeat):
                start = time.process_time()
                seconds, _, _ = _together(model, _calls(task, items), seed, **switches[switch])
                rows.append((task, switch, repeat, seconds, time.process_time() - start))
    return pd.DataFrame(rows, columns=["task", "switch", "repeat", "seconds", "cpu_seconds"])


def slowdowns(table: pd.DataFrame, *, clock: str = "seconds") -> pd.DataFrame:
    """Per task and switch of `ablation`: the median time, and its ratio to the whole engine's in the same repeat
    (median, lowest, highest). Above 1: the part that was switched off saves time."""
    whole = table[table["switch"] == WHOLE].set_index(["task", "repeat"])[clock].rename("whole")
    paired_times = table.join(whole, on=["task", "repeat"])
    paired_times["ratio"] = paired_times[clock] / paired_times["whole"]
    grouped = paired_times.groupby(["task", "switch"], sort=False)
    ratio = grouped["ratio"]
    frame = pd.DataFrame({clock: grouped[clock].median(), "ratio": ratio.median()})
    return frame.assign(lowest=ratio.min(), highest=ratio.max())


def over_many(
    model: TransformersModel, items: Sequence[Item], *, block: int = 100, seed: int = 0
) -> pd.DataFrame:
    """Seconds a question in each block of a long run with the plain prompt, and of the same run backwards: block (from
    1), questions, forward, backward.

    Caches grow during a run, and must not slow it down. The items are in an order drawn by `seed`, each run starts with
    empty caches. Raises ValueError for fewer items than two blocks, ModelError as `compare` does.
    """
    _check(model, items, 1)
    if len(items) < 2 * block:
        raise ValueError(
            f"{len(items)} items are not two blocks of {block}: give more items or smaller blocks"
        )
    order = random.Random(seed).sample(list(items), len(items))
    blocks = [order[start : start + block] for start in range(0, len(order) - block + 1, block)]
    frame = pd.DataFrame({"block": range(1, len(blocks) + 1), "questions": block})
    forward, backward = (_block_seconds(model, run, seed) for run in (blocks, blocks[::-1]))
    return frame.assign(forward=forward, backward=backward[::-1])


def drift(frame: pd.DataFrame) -> float:
    """By how much of it a question's time changes from the first block of `over_many` to the last, by a straight line.

    A block comes early in one of the runs and as late in the other, so its content cancels in the ratio.
    """
    later = np.log(frame["forward"] / frame["backward"]) / 2
    steps = np.arange(len(frame)) - (len(frame) - 1) / 2  # blocks behind the middle
    return float(np.expm1((later * steps).sum() / (steps**2).sum() * (len(frame) - 1)))


def processor(model: TransformersModel) -> str:
    """The device that a ratio was measured on (`hardware.processor_name`), and the number format."""
    return f"{processor_name(model.device)}, {model.description['dtype']}"


def side_by_side(model: TransformersModel, prompts: Sequence[Prompt], *, seed: int = 0) -> pd.DataFrame:
    """The greedy reply to each prompt by the loop and by the engine, and whether they are the same."""
    options = {"max_new_tokens": MAX_NEW_TOKENS[METHOD], "seed": seed}
    loop = model.with_generic_engine(batch_size=1)
    slow = [loop.generate([prompt], **options)[0][0].text for prompt in prompts]
    fast = [replies[0].text for replies in model.generate(prompts, **options)]
    frame = pd.DataFrame({LOOP: slow, TOGETHER: fast})
    return frame.assign(equal=frame[LOOP] == frame[TOGETHER])


def verdicts(
    frame: pd.DataFrame, goals: Mapping[str, float], *, passes: float, drift: float, peak_gb: float
) -> pd.DataFrame:
    """Each goal of notebook 11 beside what was measured: goal, measured, met.

    frame: as `ratios` returns it; goals: by task, the least ratio to batched `generate`; passes: of the tower a clip;
    drift: as `drift` returns it; peak_gb: of the process, in 1e9 bytes.
    """
    rows = []
    for task, goal in goals.items():
        ratio = frame.loc[(task, BATCHED), "value"]
        rows.append((f"{task}: times as fast as {BATCHED}", f"at least {goal:g}", ratio, ratio >= goal))
    rows += [
        (f"{SEVERAL}: tower passes per clip", "1", passes, passes == 1),
        ("long run: slower at its end by", f"at most {MAX_DRIFT:g}", drift, drift <= MAX_DRIFT),
        ("peak memory of the process (GB)", f"at most {MAX_GB:g}", peak_gb, peak_gb <= MAX_GB),
    ]
    table = pd.DataFrame(rows, columns=["what", "goal", "measured", "met"]).set_index("what")
    return table.assign(measured=table["measured"].astype(float).round(3))


def _calls(task: str, items: Sequence[Item]) -> list[Call]:
    if task == SAMPLED:
        return [([prompts.render(item, METHOD) for item in items], N, TEMPERATURE, MAX_NEW_TOKENS[METHOD])]
    methods = METHODS if task == SEVERAL else (METHOD,)
    return [
        ([prompts.render(item, method) for item in items], 1, 0.0, MAX_NEW_TOKENS[method])
        for method in methods
    ]


def _loop(model: TransformersModel, calls: Sequence[Call], seed: int) -> tuple[float, int, float]:
    """Seconds, replies and tower passes of one `generate` per question and sample."""
    loop = model.with_generic_engine(batch_size=1)

    def work() -> int:
        replies = [
            loop.generate([prompt], temperature=heat, max_new_tokens=most, seed=seed, first_sample=sample)
            for some, samples, heat, most in calls
            for prompt in some
            for sample in range(samples)
        ]
        return len(replies)

    seconds, replies = _timed(work)
    return seconds, replies, replies  # every call encodes its clip anew


def _batched(model: TransformersModel, calls: Sequence[Call], seed: int) -> tuple[float, int, float]:
    """The same by transformers' own batched `generate`, which encodes a clip once for each row of its batch."""
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.inference_mode():
        torch.manual_seed(seed)
        seconds, replies = _timed(lambda: sum(len(batched_replies(model, *call)) for call in calls))
    return seconds, replies, replies


def batched_replies(
    model: TransformersModel, prompts: Sequence[Prompt], n: int, temperature: float, max_new_tokens: int
) -> list[str]:
    """n replies per prompt by transformers' own `generate`, on left-padded batches of prompts sorted by length."""
    generic, tokenizer = model.with_generic_engine().engine, model.processor.tokenizer
    sampling = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {}
    config = model.model.generation_config.to_diff_dict() | sampling
    config |= {"max_new_tokens": max_new_tokens, "num_return_sequences": n}
    inputs = sorted((model.ready(prompt) for prompt in prompts), key=lambda prompt: -prompt.length)
    texts: list[str] = []
    for start in range(0, len(inputs), PEER_BATCH):
        batch = inputs[start : start + PEER_BATCH]
        tensors = generic.tensors(batch, [prompt.text for prompt in batch])
        sequences = model.model.generate(**tensors, generation_config=GenerationConfig(**config))
        replies = sequences[:, tensors["input_ids"].shape[1] :]
        texts += tokenizer.batch_decode(replies, skip_special_tokens=True)
    return texts


def _together(
    model: TransformersModel, calls: Sequence[Call], seed: int, **options: Any
) -> tuple[float, int, float]:
    """The same by the engine, from empty caches."""
    fresh = _with_empty_caches(model, **options)

    def work() -> int:
        replies = [
            fresh.generate(some, n=samples, temperature=heat, max_new_tokens=most, seed=seed)
            for some, samples, heat, most in calls
        ]
        return sum(len(samples) for call in replies for samples in call)

    seconds, replies = _timed(work)
    return seconds, replies, fresh.engine.audio.passes


def _block_seconds(model: TransformersModel, blocks: Sequence[Sequence[Item]], seed: int) -> list[float]:
    fresh = _with_empty_caches(model)
    trim_heap()  # of what was timed before: the peak is to be that of a run

    def seconds(block: Sequence[Item]) -> float:
        rendered = [prompts.render(item, METHOD) for item in block]
        options = {"max_new_tokens": MAX_NEW_TOKENS[METHOD], "seed": seed}
        return _timed(lambda: len(fresh.generate(rendered, **options)))[0] / len(block)

    return [seconds(block) for block in blocks]


def _check(model: TransformersModel, items: Sequence[Item], repeats: int) -> None:
    if not isinstance(model.engine, PrefixSharingEngine):
        raise ModelError(
            f"{model.name}: its engine shares nothing between prompts, so there is nothing to compare."
        )
    if not items or repeats < 1:
        raise ValueError(f"{len(items)} items, {repeats} repeats: both are at least 1")


def _with_empty_caches(model: TransformersModel, **options: Any) -> TransformersModel:
    changed = replace(model.engine.options, **options)
    return model.with_engine(model.engine.with_empty_caches(model.model, changed))


def _rotated(names: Sequence[str], by: int) -> list[str]:
    by %= len(names)
    return [*names[by:], *names[:by]]


def _timed(work: Callable[[], int]) -> tuple[float, int]:
    start = time.perf_counter()
    count = work()
    return time.perf_counter() - start, count
