"""What the miniature model makes of each form of asking: steps, worked examples, notes, no options.

Rows as in acceptance.py. A chain's facts are judged against what the generator put into the clip, never against
the answer. Differences are paired by item, their intervals by bootstrap within modalities.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from lalm_utils import agent, annotations, bootstrap, outcomes, runs
from lalm_utils.items import MODALITIES, Item
from lalm_utils.mini.training.claims import is_readable, row, share_row
from lalm_utils.models import Model, Prompt, Turn
from lalm_utils.store import Store

# Tasks that need order, counting, arithmetic or a second hop.
NEEDS_STEPS = (
    "Event order", "Absent sound", "Event count", "Sound source", "Sound place", "Instrument order",
    "Instrument family", "Number of instruments", "Note count", "Word order", "Unsaid word", "Word count",
    "Word category", "Spoken arithmetic", "Said by whom",
)  # fmt: skip
OPEN = "Reply with the name alone."
METHODS = ("stepwise", "stepwise_idk", "mcot_no_idk", "mcot", "mcot_turns_no_idk", "mcot_turns", "idk")


def measure_forms(model: Model, store: Store, items: Sequence[Item]) -> pd.DataFrame:
    """All rows on these items: claim, group, value, low, high, n, bound, met."""
    plain = runs.ask(model, items, "plain", store=store)
    tables = {method: runs.ask(model, items, method, store=store) for method in METHODS}
    known = ~plain["novel"].to_numpy(bool)
    rows = [_accuracy("plain", plain, None)]
    rows += [_accuracy(name, table, plain) for name, table in tables.items()]
    rows += _steps(plain, tables)
    rows += _facts(items, tables["stepwise"], known)
    rows += _notes(model, store, items, plain)
    rows += _open(model, store, items, known)
    rows += _refused(model, store, items, tables["idk"])
    rows += [
        share_row(f"readable: {m}", "overall", is_readable(t), "at least 0.98", 0.98)
        for m, t in tables.items()
    ]
    return pd.DataFrame(rows)


def difference(
    claim: str, group: str, before: pd.DataFrame, after: pd.DataFrame, *, least: float = 0.0,
    keep: np.ndarray | None = None, clear: bool = False,
) -> dict:  # fmt: skip
    """Right answers gained, paired: at least `least`, or, with `clear`, by an interval above 0."""
    gain = (after["outcome"] == "correct").to_numpy(float) - (before["outcome"] == "correct").to_numpy(float)
    keep = np.ones(len(gain), bool) if keep is None else keep
    draws = bootstrap.weights(before["modality"][keep])
    value, resamples = bootstrap.ratio(gain[keep], np.ones(int(keep.sum())), draws)
    low, high, *_ = bootstrap.percentile(resamples)
    bound, met = ("interval above 0", low > 0) if clear else (f"at least {least:+.2f}", value >= least)
    return row(claim, group, value, low, high, int(keep.sum()), bound, bool(met))


def _accuracy(name: str, table: pd.DataFrame, plain: pd.DataFrame | None) -> dict:
    right = table["outcome"] == "correct"
    low, high = bootstrap.wilson(int(right.sum()), len(right))
    refused = f"{(table['outcome'] == 'refused').mean():.3f} refused"
    return row(f"accuracy: {name}", "overall", right.mean(), low, high, len(right), refused, None)


def _steps(plain: pd.DataFrame, tables: dict[str, pd.DataFrame]) -> list[dict]:
    needed = plain["task"].isin(NEEDS_STEPS).to_numpy()
    steps = tables["stepwise"]
    rows = [
        difference("steps less plain", "overall", plain, steps, least=-0.02),
        difference("steps less plain", "tasks that need steps", plain, steps, keep=needed, clear=True),
    ]
    for method in ("mcot_no_idk", "mcot_turns_no_idk"):
        rows.append(difference(f"{method} less steps", "overall", steps, tables[method], least=-0.05))
    return rows


def labels_named(chain: str, labels: Sequence[str]) -> list[str]:
    """The labels that a chain names as heard, in order; the longer of two labels that share a word."""
    report = annotations.ABSENCE.sub(" ", chain.split("Answer:")[0])
    pattern = "|".join(re.escape(label) for label in sorted(labels, key=len, reverse=True))
    return [label.casefold() for label in re.findall(rf"(?<!\w)(?:{pattern})(?!\w)", report, re.IGNORECASE)]


def truth_of(item: Item) -> list[str]:
    """What a chain should name: the labels of what sounds, else the words of a list that is read."""
    transcript = str(item.annotations.get("transcript") or "")
    words = (
        transcript.split(", ")
        if item.task in ("Word order", "Unsaid word", "Word count")
        else transcript.split()
    )
    labels = list(annotations.labels_of(item)) or (
        words if item.task == "Said by whom" or ", " in transcript else []
    )
    return [label.casefold() for label in labels]


def vocabulary_of(items: Sequence[Item], modality: str) -> list[str]:
    """Every label that a clip of this modality holds, and those offered where labels are asked for."""
    items = [item for item in items if item.modality == modality]
    options = [label for item in items if item.task in ASKS_FOR_LABELS for label in item.options]
    return sorted({*options, *(label for item in items if item.task in LABELLED for label in truth_of(item))})


def _facts(items: Sequence[Item], steps: pd.DataFrame, known: np.ndarray) -> list[dict]:
    """Facts of chains that name what is heard, all of it and in order; tasks where the clip holds labels."""
    vocabulary = {kind: vocabulary_of(items, kind) for kind in MODALITIES}
    labelled = np.array([bool(truth_of(item)) and item.task in LABELLED for item in items])
    right = pd.Series(
        [
            _same(labels_named(reply, vocabulary[item.modality]), truth_of(item))
            for item, reply in zip(items, steps["reply"])
        ]
    )
    rows = []
    for group, keep in {"known content": known & labelled, "novel content": ~known & labelled}.items():
        if keep.any():
            bound, least = ("at least 0.75", 0.75) if group == "known content" else ("", 0.0)
            rows.append(share_row("facts of chains right", group, right[keep], bound, least))
    return rows


FACTS = ("Sound source", "Sound place", "Instrument family")
COUNTS = ("Event count", "Number of instruments", "Word count")
LABELLED = (
    "Sound event", "Background sound", "Event order", "Absent sound", "Event count", "Louder sound", "Sound source",
    "Sound place", "Instrument", "Instrument order", "Instrument family", "Number of instruments", "Word order",
    "Unsaid word", "Word count", "Said by whom",
)  # fmt: skip


ASKS_FOR_LABELS = tuple(task for task in LABELLED if task not in (*FACTS, *COUNTS))


def _same(predicted: Sequence[str], true: Sequence[str]) -> bool:
    """The same labels in order; a label that is named again (before its property) counts once."""
    return list(predicted) == list(true) or (
        len(set(true)) == 1 == len(set(predicted)) and len(true) == 1 and predicted[0] == true[0]
    )


def _notes(model: Model, store: Store, items: Sequence[Item], plain: pd.DataFrame) -> list[dict]:
    """The agent with its own notes, with true ones, and with notes that state a wrong option."""
    own = agent.run(model, items, store=store).table
    true = agent.run(model, items, store=store, type_from="truth", text_from="truth").table
    rows = [
        difference("agent, own notes, less plain", "overall", plain, own, least=-0.03),
        difference("agent, true notes, less plain", "overall", plain, true, clear=True),
    ]
    cases = [(item, *false) for item in items if (false := false_note(item))]
    if cases:
        questions = [agent.answer_prompt(item, kind, text) for item, kind, text, _ in cases]
        replies = [
            r for (r,) in store.ask(model, questions, max_new_tokens=runs.MAX_NEW_TOKENS["idk"], seed=0)
        ]
        table = outcomes.table([c[0] for c in cases], replies, model=model.name, method="false note", seed=0)
        agreement = table["choice"].fillna(-1).eq(pd.Series([wrong for *_, wrong in cases]))
        low, high = bootstrap.wilson(int(agreement.sum()), len(agreement))
        share = agreement.mean()
        rows.append(row("a false note is believed", "overall", share, low, high, len(cases), "at most 0.50",
                        bool(share <= 0.5)))  # fmt: skip
    return rows


def false_note(item: Item) -> tuple[str, str, int] | None:
    """(kind, text, index): the true text with the right option exchanged for a wrong one; None where it holds none."""
    kind, text = annotations.text_of(item)
    right, exact = item.options[item.gold], rf"(?<!\w){re.escape(item.options[item.gold])}(?!\w)"
    wrong = [k for k, o in enumerate(item.options) if k != item.gold and not annotations.labels_in(text, [o])]
    if not re.search(exact, text) or right not in annotations.labels_in(text, item.options) or not wrong:
        return None
    return kind, re.sub(exact, item.options[wrong[0]], text), wrong[0]


def _open(model: Model, store: Store, items: Sequence[Item], known: np.ndarray) -> list[dict]:
    """Without options: right if the reply names the right option and no other one."""
    indices = [i for i, item in enumerate(items) if item.task not in ("Absent sound", "Unsaid word")]
    questions = [
        Prompt(turns=(Turn(role="user", text=f"{items[i].question}\n{OPEN}", clips=(items[i].clip,)),))
        for i in indices
    ]
    replies = [r for (r,) in store.ask(model, questions, max_new_tokens=16, seed=0)]
    right = pd.Series(
        [
            annotations.labels_in(reply.text, items[i].options) == {items[i].options[items[i].gold]}
            for i, reply in zip(indices, replies)
        ]
    )
    keep = known[indices]
    return [
        share_row("open answers right", group, right[part], bound, least)
        for group, part, bound, least in (
            ("known content", keep, "at least 0.50", 0.5), ("novel content", ~keep, "", 0.0)
        )
        if part.any()
    ]  # fmt: skip


def _refused(model: Model, store: Store, items: Sequence[Item], idk: pd.DataFrame) -> list[dict]:
    """Refusals under the IDK prompt, with the item's own clip and with another item's."""
    other = runs.ask(model, runs.swap_clips(items), "idk", store=store, label="another clip")
    rows = []
    for clip, table in {"own clip": idk, "another clip": other}.items():
        for novel, part in table.groupby("novel"):
            refused = part["outcome"] == "refused"
            low, high = bootstrap.wilson(int(refused.sum()), len(refused))
            group = f"{'novel' if novel else 'known'} content"
            rows.append(row(f"refused, {clip}", group, refused.mean(), low, high, len(refused), "", None))
    return rows
