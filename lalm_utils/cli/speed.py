"""The same questions asked one by one and asked well: seconds, and how often each clip is heard (notebook 11).

In: a loaded Qwen2-Audio and items. Out: a tidy table, one row per task, repeat and way of asking. The slow way is
the loop of a model card: for each question and each sample one call of `generate` on what the processor makes of
text and clip, with nothing kept for the next. The store is passed by in both ways.
"""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from lalm_utils import prompts
from lalm_utils.engine.engines import SharedEngine
from lalm_utils.engine.hardware import give_back_memory
from lalm_utils.engine.plain_engine import PlainEngine
from lalm_utils.engine.transformers_model import TransformersModel
from lalm_utils.finetuning.k_of_n import METHOD, TEMPERATURE, N
from lalm_utils.items import Item
from lalm_utils.models import ModelError, Prompt
from lalm_utils.runs import MAX_NEW_TOKENS

METHODS = ("plain", "idk", "stepwise", "mcot")
LOOP, TOGETHER = "one by one", "together"
GREEDY, SAMPLED, SEVERAL = "one reply", f"{N} samples", f"{len(METHODS)} methods"
MOST_DRIFT, MOST_GB = 0.05, 3.0
COLUMNS = ("task", "way", "repeat", "questions", "replies", "seconds", "passes_per_clip")


def compare(
    model: TransformersModel, asked: Sequence[Item], *, repeats: int = 3, seed: int = 0
) -> pd.DataFrame:
    """COLUMNS for each task: greedy replies to the plain prompt, N samples, and four methods on the same clips.

    Both ways start each repeat with nothing kept; which of them is timed first alternates, so that a machine that
    slows down favours neither. passes_per_clip: how often a clip went through the audio tower, on average.
    Raises ModelError for a model whose engine shares nothing, ValueError for no items or repeats.
    """
    _refuse_unshared(model)
    if not asked or repeats < 1:
        raise ValueError(f"{len(asked)} items, {repeats} repeats: both are at least 1")
    rows, clips = [], len({item.clip for item in asked})
    for repeat in range(repeats):
        for task in (GREEDY, SAMPLED, SEVERAL):
            ways = {LOOP: _loop, TOGETHER: _together}
            for way in sorted(ways, reverse=bool(repeat % 2)):
                seconds, replies, passes = ways[way](model, _calls(task, asked), seed)
                rows.append((task, way, repeat, len(asked), replies, seconds, passes / clips))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def ratios(table: pd.DataFrame) -> pd.DataFrame:
    """Per task: seconds a question in each way (medians), their ratio, and its lowest and highest repeat."""
    seconds = table.assign(each=table["seconds"] / table["questions"])
    by_way = seconds.pivot(index=["task", "repeat"], columns="way", values="each")
    by_way["ratio"] = by_way[LOOP] / by_way[TOGETHER]
    grouped = by_way.groupby("task", sort=False)
    heard = table[table["way"] == TOGETHER].groupby("task")["passes_per_clip"].max()
    frame = grouped[[LOOP, TOGETHER, "ratio"]].median()
    frame = frame.assign(lowest=grouped["ratio"].min(), highest=grouped["ratio"].max(), passes_per_clip=heard)
    return frame.loc[list(dict.fromkeys(table["task"]))]


def over_many(
    model: TransformersModel, asked: Sequence[Item], *, block: int = 100, seed: int = 0
) -> pd.DataFrame:
    """Seconds a question in each block of a long run with the plain prompt, and of the same run backwards: block (from
    1), questions, forward, backward.

    What a run keeps grows with it, and must not slow it down. The items are asked in an order drawn by `seed`, each
    run from nothing kept. Raises ValueError for fewer items than two blocks, ModelError as `compare` does.
    """
    _refuse_unshared(model)
    if len(asked) < 2 * block:
        raise ValueError(
            f"{len(asked)} items are not two blocks of {block}: give more items or smaller blocks"
        )
    drawn = random.Random(seed).sample(list(asked), len(asked))
    blocks = [drawn[start : start + block] for start in range(0, len(drawn) - block + 1, block)]
    frame = pd.DataFrame({"block": range(1, len(blocks) + 1), "questions": block})
    forward, backward = (_block_seconds(model, order, seed) for order in (blocks, blocks[::-1]))
    return frame.assign(forward=forward, backward=backward[::-1])


def drift(frame: pd.DataFrame) -> float:
    """By how much of it a question's time changes from the first block of `over_many` to the last, by a straight line.

    A block is asked early in one of the runs and as late in the other, so what it asks falls out of the ratio.
    """
    later = np.log(frame["forward"] / frame["backward"]) / 2
    steps = np.arange(len(frame)) - (len(frame) - 1) / 2  # blocks behind the middle
    return float(np.expm1((later * steps).sum() / (steps**2).sum() * (len(frame) - 1)))


def _block_seconds(model: TransformersModel, blocks: Sequence[Sequence[Item]], seed: int) -> list[float]:
    fresh = _afresh(model)
    give_back_memory()  # of what was timed before: the peak is to be that of a run

    def seconds(some: Sequence[Item]) -> float:
        rendered = [prompts.render(item, METHOD) for item in some]
        how = {"max_new_tokens": MAX_NEW_TOKENS[METHOD], "seed": seed}
        return _timed(lambda: len(fresh.generate(rendered, **how)))[0] / len(some)

    return [seconds(some) for some in blocks]


def side_by_side(model: TransformersModel, asked: Sequence[Prompt], *, seed: int = 0) -> pd.DataFrame:
    """The greedy reply to each prompt in both ways, and whether they are the same."""
    how = {"max_new_tokens": MAX_NEW_TOKENS[METHOD], "seed": seed}
    alone = _one_by_one(model)
    slow = [alone.generate([prompt], **how)[0][0].text for prompt in asked]
    fast = [several[0].text for several in model.generate(asked, **how)]
    frame = pd.DataFrame({LOOP: slow, TOGETHER: fast})
    return frame.assign(equal=frame[LOOP] == frame[TOGETHER])


def verdicts(frame: pd.DataFrame, goals: pd.Series, *, drift: float, peak_gb: float) -> pd.DataFrame:
    """Each goal of notebook 11 beside what was measured: goal, measured, met.

    frame: as `ratios` returns it; goals: task to the least ratio (NaN: none); drift: as `drift` returns it; peak_gb: of
    the process, in 1e9 bytes.
    """
    rows = [
        (
            f"{task}: times as fast",
            f"at least {goal:g}",
            frame.loc[task, "ratio"],
            frame.loc[task, "ratio"] >= goal,
        )
        for task, goal in goals.dropna().items()
    ]
    heard = frame.loc[SEVERAL, "passes_per_clip"]
    rows += [
        (f"{SEVERAL}: tower passes per clip", "1", heard, heard == 1),
        ("long run: slower at its end by", f"at most {MOST_DRIFT:g}", drift, drift <= MOST_DRIFT),
        ("peak memory of the process (GB)", f"at most {MOST_GB:g}", peak_gb, peak_gb <= MOST_GB),
    ]
    table = pd.DataFrame(rows, columns=["what", "goal", "measured", "met"]).set_index("what")
    return table.assign(measured=table["measured"].astype(float).round(3))


Call = tuple[list[Prompt], int, float, int]  # prompts, samples, temperature, tokens at most


def _calls(task: str, asked: Sequence[Item]) -> list[Call]:
    if task == SAMPLED:
        return [([prompts.render(item, METHOD) for item in asked], N, TEMPERATURE, MAX_NEW_TOKENS[METHOD])]
    methods = METHODS if task == SEVERAL else (METHOD,)
    return [
        ([prompts.render(item, method) for item in asked], 1, 0.0, MAX_NEW_TOKENS[method])
        for method in methods
    ]


def _one_by_one(model: TransformersModel) -> TransformersModel:
    """The model behind an engine that keeps nothing, one prompt a call."""
    alone = copy.copy(model)
    alone.engine, alone.batch_size = PlainEngine(model.model, model.processor, ends=model.parts.ends), 1
    return alone


def _loop(model: TransformersModel, calls: Sequence[Call], seed: int) -> tuple[float, int, float]:
    """Seconds, replies and tower passes of one `generate` per question and sample."""
    alone = _one_by_one(model)

    def work() -> int:
        asked = [
            alone.generate([prompt], temperature=heat, max_new_tokens=most, seed=seed, first_sample=number)
            for some, samples, heat, most in calls
            for prompt in some
            for number in range(samples)
        ]
        return len(asked)

    seconds, replies = _timed(work)
    return seconds, replies, replies  # every call hears its clip anew


def _together(model: TransformersModel, calls: Sequence[Call], seed: int) -> tuple[float, int, float]:
    """The same through the engine, from empty caches."""
    fresh = _afresh(model)

    def work() -> int:
        asked = [
            fresh.generate(some, n=samples, temperature=heat, max_new_tokens=most, seed=seed)
            for some, samples, heat, most in calls
        ]
        return sum(len(replies) for several in asked for replies in several)

    seconds, replies = _timed(work)
    return seconds, replies, fresh.engine.audio.passes


def _refuse_unshared(model: TransformersModel) -> None:
    if not isinstance(model.engine, SharedEngine):
        raise ModelError(
            f"{model.name}: its engine shares nothing between prompts, so there is nothing to compare."
        )


def _afresh(model: TransformersModel) -> TransformersModel:
    """The model with nothing kept."""
    fresh = copy.copy(model)
    fresh.engine = model.engine.afresh(model.model)
    return fresh


def _timed(work: Callable[[], int]) -> tuple[float, int]:
    begun = time.perf_counter()
    done = work()
    return time.perf_counter() - begun, done
