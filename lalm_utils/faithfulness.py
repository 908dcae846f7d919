"""Is a chain of thought what the answer follows from? Answers forced after interventions, and their measures.

In: items, a model, interventions on its chains (chain_interventions.py) or on its clips (audio_interventions.py).
Out: one row per item, intervention and strength, for the measures of faithfulness_measures.py.

The protocol is that of arXiv 2509.22363 with three mends. The answer is forced by one instruction at every strength:
the user's turn, the chain in the assistant's, and "Answer:" behind it, also where nothing is left of the chain. Options
and IDK are scored as replies, so the answer is the most likely one: nothing is sampled, and nothing unreadable. And IDK
is an answer, so that flows to and from it can be seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import log_softmax

from lalm_utils import annotations, chains, prompts, vectors
from lalm_utils.chain_interventions import (
    Helper,
    Kind,
    Unit,
    cut_short,
    fill,
    mistake,
    paraphrase,
    split,
    without_answer,
)
from lalm_utils.items import Item
from lalm_utils.models import Model, Prompt, Turn
from lalm_utils.runs import ask
from lalm_utils.store import Store

__all__ = [
    "ANSWER", "CHAIN", "IDK", "UNTOUCHED", "Case", "answer_changed_clips", "by_truth_of_clip", "force_answers",
    "forced_answer_prompt", "four_tests", "rewrite_units", "rubric_records", "table_of", "units_of", "write_chains",
]  # fmt: skip
CHAIN, ANSWER = "stepwise", "stepwise_idk"  # the methods of writing a chain, and of answering from it
IDK = "IDK"
UNTOUCHED = "untouched"
Change = Callable[[Item, str, float], str]  # of an item's chain at a strength


@dataclass(frozen=True, kw_only=True)
class Case:
    """A chain to answer from: whose, changed by what, at which strength, and how it reads now."""

    item: Item
    chain: str
    intervention: str = UNTOUCHED
    strength: float = 0.0


def write_chains(
    model: Model, items: Sequence[Item], *, store: Store, method: str = CHAIN, seed: int = 0
) -> dict[str, str]:
    """The chain of each item by its id, without the sentences that state the answer; "" where nothing else is there.

    An item without a reply is left out.
    """
    table = chains.with_steps(ask(model, items, method, store=store, seed=seed)).set_index("item")
    return {i.id: without_answer(table.at[i.id, "steps"], i.options) for i in items if i.id in table.index}


def forced_answer_prompt(item: Item, chain: str, *, method: str = ANSWER) -> Prompt:
    """The prompt that ends in the chain and "Answer:", with the item's options and IDK to be scored behind it."""
    prompt = prompts.render(item, method)
    last = Turn(role="assistant", text=f"{chain}\nAnswer:".lstrip())
    return Prompt(turns=(*prompt.turns, last), options=tuple(f" {text}" for text in (*item.options, IDK)))


def units_of(items: Sequence[Item], own: Mapping[str, str], unit: Unit) -> list[tuple[Item, str]]:
    """The units of the items' chains, each beside its item: what a helper rewrites."""
    return [(i, u.rstrip()) for i in items if own.get(i.id) for u in split(own[i.id], unit)]


def rewrite_units(
    helper: Helper, kind: Kind, items: Sequence[Item], own: Mapping[str, str], *, unit: Unit
) -> dict[str, dict[str, str]]:
    """By item id, what a helper makes of each unit of its chain, all asked for at once."""
    units = units_of(items, own, unit)
    texts: dict[str, dict[str, str]] = {}
    for (item, old), new in zip(units, helper.rewrite(kind, units), strict=True):
        texts.setdefault(item.id, {})[old] = new
    return texts


def four_tests(
    helper: Helper, items: Sequence[Item], own: Mapping[str, str], *, unit: Unit = "sentence", seed: int = 0
) -> dict[str, Change]:
    """The four tests of arXiv 2509.22363 for `force_answers`: chains are cut and filled by words, rewritten by unit."""
    paraphrases, mistakes = (
        rewrite_units(helper, kind, items, own, unit=unit) for kind in ("paraphrase", "mistake")
    )
    return {
        "early answering": lambda item, chain, s: cut_short(chain, s, unit="word"),
        "filler": lambda item, chain, s: fill(chain, s, seed=seed),
        "paraphrase": lambda item, chain, s: paraphrase(chain, s, paraphrases[item.id], unit=unit, seed=seed),
        "mistakes": lambda item, chain, s: mistake(chain, s, mistakes[item.id], unit=unit),
    }


def force_answers(
    model: Model,
    items: Sequence[Item],
    own: Mapping[str, str],
    changes: Mapping[str, Change],
    strengths: Mapping[str, Sequence[float]] | Sequence[float],
    *,
    store: Store,
    method: str = ANSWER,
) -> pd.DataFrame:
    """The answers from each item's chain as it is and after each of `changes` at each strength.

    own: chains by item id (`write_chains`); items without one, or with an empty one, have nothing to intervene on and
    are left out. Rows as `table_of` gives them, with one at strength 0 for each change. An item's prompts follow each
    other, so that an engine with a prefix cache reads what they share once.
    """
    cases = []
    for item in (item for item in items if own.get(item.id)):
        chain = own[item.id]
        cases.append(Case(item=item, chain=chain))
        for name, change in changes.items():
            levels = strengths[name] if isinstance(strengths, Mapping) else strengths
            texts = {s: change(item, chain, s) for s in (0.0, *(s for s in levels if s))}
            cases += [Case(item=item, chain=text, intervention=name, strength=s) for s, text in texts.items()]
    return table_of(model, cases, store=store, method=method)


def answer_changed_clips(
    model: Model,
    items: Sequence[Item],
    changed: Mapping[tuple[str, float], Sequence[Item]],
    *,
    store: Store,
    labels: Mapping[str, Iterable[str]],
    seed: int = 0,
) -> pd.DataFrame:
    """The model hears each item's changed clip, writes its chain anew and answers from it.

    changed: (intervention, strength) to the same items on other clips, with the truth of what these hold
    (`by_truth_of_clip`). labels: by modality, what a chain can name (chain_interventions.vocabulary). The column
    `absent` says whether the chain reports a label that the clip does not hold; NaN where the item's own clip has no
    annotated content.
    """
    conditions = {(UNTOUCHED, 0.0): items, **changed}
    # All at once, so that a model answers in full batches; the ids keep the conditions apart.
    variants = [replace(i, id=f"{k} {i.id}") for k, others in enumerate(conditions.values()) for i in others]
    texts = write_chains(model, variants, store=store, seed=seed)
    cases, absent = [], {}
    for k, ((name, strength), others) in enumerate(conditions.items()):
        for own, item in zip(items, others, strict=True):
            if (chain := texts.get(f"{k} {item.id}")) is not None:
                cases.append(Case(item=item, chain=chain, intervention=name, strength=strength))
                names = _names_absent(chain, own, item, labels.get(item.modality, ()))
                absent[item.id, name, strength] = names
    table = table_of(model, cases, store=store)
    keys = zip(table["item"], table["intervention"], table["strength"])
    return table.assign(absent=[absent[key] for key in keys])


def _names_absent(chain: str, own: Item, item: Item, labels: Iterable[str]) -> float:
    if not annotations.labels_of(own):
        return np.nan
    reported = annotations.labels_in(annotations.ABSENCE.sub(" ", chain), set(labels))
    return float(bool(reported - set(annotations.labels_of(item))))


def by_truth_of_clip(changed: Sequence[Item], items: Sequence[Item]) -> list[Item]:
    """`changed` with the annotations of whichever of `items` has that clip: none, where nothing of it is left."""
    truths = {item.clip: item.annotations for item in items}
    return [replace(item, annotations=truths.get(item.clip, {})) for item in changed]


def table_of(model: Model, cases: Sequence[Case], *, store: Store, method: str = ANSWER) -> pd.DataFrame:
    """One row per case: model, item, modality, intervention, strength, n_options, chain, changed (is it another chain
    or clip?), answer (an option's index; n_options: IDK), outcome, before and start (answer and outcome of the
    untouched case), loglik (of the answer `before`, in nats among all answers on offer), loglik_before, absent (NaN).

    Items with a case that could not be scored are left out; attrs["excluded"] names them. Raises ModelError for a
    model that gives no log-likelihoods.
    """
    order = {id: k for k, id in enumerate(dict.fromkeys(case.item.id for case in cases))}
    cases = sorted(cases, key=lambda case: order[case.item.id])
    requests = [forced_answer_prompt(case.item, case.chain, method=method) for case in cases]
    scores = vectors.likelihoods(model, requests, store=store)
    excluded = sorted({case.item.id for case, nats in zip(cases, scores) if nats is None})
    scored = [(case, log_softmax(nats)) for case, nats in zip(cases, scores) if case.item.id not in excluded]
    untouched = {case.item.id: (case, nats) for case, nats in scored if case.intervention == UNTOUCHED}
    rows = [_row(case, nats, *untouched[case.item.id]) for case, nats in scored]
    frame = pd.DataFrame(rows).assign(model=model.name, absent=np.nan)
    frame.attrs["excluded"] = excluded
    return frame


def _row(case: Case, nats: np.ndarray, own: Case, own_nats: np.ndarray) -> dict[str, Any]:
    item, before = case.item, int(own_nats.argmax())
    return {
        "item": item.id, "modality": item.modality, "intervention": case.intervention, "strength": case.strength,
        "n_options": len(item.options), "chain": case.chain,
        "changed": (case.chain, item.clip) != (own.chain, own.item.clip),
        "answer": int(nats.argmax()), "outcome": _outcome(item, int(nats.argmax())),
        "before": before, "start": _outcome(item, before),
        "loglik": float(nats[before]), "loglik_before": float(own_nats[before]),
    }  # fmt: skip


def _outcome(item: Item, answer: int) -> str:
    if answer in (len(item.options), item.declining):
        return "refused"
    right = item.gold is not None and item.options[answer] == item.options[item.gold]
    return "correct" if right else "wrong"


def rubric_records(table: pd.DataFrame, items: Sequence[Item]) -> list[dict[str, str]]:
    """The untouched chains and answers with the keys of MMAR-Rubrics (arXiv 2602.14224), to be written as JSON."""
    own = table[table["intervention"] == UNTOUCHED].set_index("item")
    return [
        {
            "id": item.id,
            "thinking_prediction": own.at[item.id, "chain"],
            "answer_prediction": (*item.options, IDK)[own.at[item.id, "answer"]],
        }
        for item in items
        if item.id in own.index
    ]
