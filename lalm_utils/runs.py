"""One run: a model answers items by a method, through the store, and the replies are graded into an outcome table.

In: a model, items, the name of a method. Out: the table of `outcomes`. The one call that notebooks make.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from lalm_utils import outcomes, prompts
from lalm_utils.audio import RATE, check_clip, write_clip
from lalm_utils.cache import cache_dir
from lalm_utils.items import Item
from lalm_utils.models import Model
from lalm_utils.prompts import Exemplar
from lalm_utils.store import Store

MAX_NEW_TOKENS = {
    "plain": 32, "idk": 32, "stepwise": 128, "stepwise_idk": 128, "mcot": 128, "mcot_no_idk": 128, "audio_type": 8,
    "mcot_turns": 128, "mcot_turns_no_idk": 128, "idk_sentence": 32, "idk_unsure": 32, "idk_may": 32,
}  # fmt: skip


def default_store() -> Store:
    """The store all notebooks share, in the user's cache."""
    folder = cache_dir()
    folder.mkdir(parents=True, exist_ok=True)
    return Store(folder / "replies.sqlite")


def ask(
    model: Model,
    items: Sequence[Item],
    method: str = "plain",
    *,
    store: Store,
    audio: bool = True,
    seed: int = 0,
    label: str | None = None,
    exemplars: Sequence[Exemplar] | None = None,
    max_new_tokens: int | None = None,
) -> pd.DataFrame:
    """Ask `model` about `items` by `method`, greedily; the outcome table of that run.

    `audio=False` leaves the clip out of the prompt. `label` names the run in the table's `method` column
    (default: the method). `exemplars` replaces the worked examples of a few-shot method (`prompts.render`).
    `max_new_tokens`: the limit of a reply (default: the method's of `MAX_NEW_TOKENS`; a model that thinks before it
    answers needs some hundreds). Replies already stored are not asked for again; another limit is another reply.
    """
    questions = [prompts.render(item, method, audio=audio, exemplars=exemplars) for item in items]
    limit = MAX_NEW_TOKENS[method] if max_new_tokens is None else max_new_tokens
    replies = store.ask(model, questions, max_new_tokens=limit, seed=seed)
    greedy = [reply for (reply,) in replies]
    return outcomes.table(items, greedy, model=model.name, method=label or method, seed=seed)


def without_failures(*tables: pd.DataFrame) -> list[pd.DataFrame]:
    """The tables without the items that got no reply in any of them, so that all stay about the same items.

    Prints how many items are left out, by run and error. Raises OutcomeError if no item is left.
    """
    failed = outcomes.failed_ids(*tables)
    if not failed:
        return list(tables)
    rows = pd.concat(tables)
    rows = rows[rows["outcome"] == "failed"]
    total = len(set().union(*(table["item"] for table in tables)))
    print(f"left out everywhere, for want of a reply: {len(failed)} of {total} items")
    print(rows.groupby(["method", "error"]).size().rename("items").to_string())
    left = [table[~table["item"].isin(failed)].reset_index(drop=True) for table in tables]
    if any(table.empty for table in left):
        raise outcomes.OutcomeError(
            f"no item is left: {len(failed)} failed, e.g. {rows['error'].iloc[0]!r}; mend the cause and run again"
        )
    return left


def with_clips(items: Sequence[Item], clips: Sequence[Path]) -> list[Item]:
    """The same questions on other clips: the silence and swapped-clip controls."""
    return [replace(item, clip=clip) for item, clip in zip(items, clips, strict=True)]


def swap_clips(items: Sequence[Item]) -> list[Item]:
    """Each question with another clip, its gold option unchanged.

    The clip is the next item's of the same modality that has another one (items may share a recording), or of
    any modality where there is none. Raises ValueError if all items share one clip.
    """
    return with_clips(items, [_another_clip(items, index) for index in range(len(items))])


def _another_clip(items: Sequence[Item], index: int) -> Path:
    item, following = items[index], [*items[index + 1 :], *items[:index]]
    for modality in (item.modality, None):
        for other in following:
            if other.clip != item.clip and modality in (other.modality, None):
                return other.clip
    raise ValueError(
        f"item {item.id!r}: all {len(items)} items have the clip {item.clip}, and none can be swapped; "
        "take items with at least two clips"
    )


def with_silence(items: Sequence[Item]) -> list[Item]:
    """Each question with digital silence as long as its clip (to 0.1 s), kept in the user's cache."""
    folder = cache_dir() / "silence"
    folder.mkdir(parents=True, exist_ok=True)
    clips = []
    for item in items:
        tenths = max(1, round(check_clip(item.clip) * 10))
        clips.append(folder / f"{tenths / 10:.1f}s.wav")
        if not clips[-1].exists():
            write_clip(clips[-1], np.zeros(tenths * RATE // 10, np.float32))
    return with_clips(items, clips)
