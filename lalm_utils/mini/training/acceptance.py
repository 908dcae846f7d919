"""What the miniature model can do, measured on `test`: `python -m lalm_utils.mini.acceptance [--json FILE]`.

Each row is one claim of the model card with its N, its interval and the bound it is held against. Nothing is
tuned here: the split's clips, seeds and novel labels were never trained on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd

from lalm_utils import benchmarks, metrics, runs, tables
from lalm_utils.items import Item
from lalm_utils.load_model import load_model
from lalm_utils.mini.training.acceptance_forms import measure_forms
from lalm_utils.mini.training.claims import is_readable, row, share_row
from lalm_utils.models import Model
from lalm_utils.store import Store

TYPES = ("sound", "music", "speech")


def measure(model: Model, store: Store, *, n: int | None = None) -> pd.DataFrame:
    """All rows: claim, group, value, low, high, n, bound, met (true, false, or empty where nothing is asked)."""
    test = benchmarks.load("mini", split="test", n=n)
    hopeless = benchmarks.load("mini", split="unanswerable", n=n)
    plain = runs.ask(model, test, "plain", store=store)
    rows = _accuracy(plain)
    rows += _readable(plain, "readable replies to the plain prompt", 0.97)
    rows += _audio_controls(model, test, plain, store)
    rows += _audio_type(model, test, store)
    steps = runs.ask(model, test, "stepwise", store=store)
    rows += _stepwise(steps)
    rows += _refusals(model, test, hopeless, store)
    return pd.DataFrame(rows)


def _metric_row(claim: str, group: str, r: pd.Series, bound: str = "", met: bool | None = None) -> dict:
    """The row of a metric's value, low, high and n."""
    return row(claim, group, r["value"], r["low"], r["high"], r["n"], bound, met)


def _overall_accuracy(table: pd.DataFrame) -> pd.Series:
    """Accuracy over all rows of the table, with its interval."""
    return tables.values(metrics.evaluate(table, by=None), "accuracy").iloc[0]


def _accuracy(plain: pd.DataFrame) -> list[dict]:
    rows = []
    for r in tables.values(metrics.evaluate(plain), "accuracy").itertuples():
        chance = plain.loc[plain["modality"].eq(r.group) | (r.group == "overall"), "chance"].mean()
        overall = r.group == "overall"
        bound = "0.50 to 0.85" if overall else f"at least chance {chance:.3f} + 0.20"
        met = 0.5 <= r.value <= 0.85 if overall else r.value >= chance + 0.2
        rows.append(row("accuracy", r.group, r.value, r.low, r.high, r.n, bound, bool(met)))
    levels = tables.values(metrics.evaluate(plain, by="level"), "accuracy").set_index("group")
    ordered = levels.loc["easy", "value"] > levels.loc["medium", "value"] > levels.loc["hard", "value"]
    for name in ("easy", "medium", "hard"):
        rows.append(_metric_row("accuracy", name, levels.loc[name], "easy > medium > hard", bool(ordered)))
    for novel, part in plain.groupby("novel"):
        rows.append(
            _metric_row("accuracy", "novel content" if novel else "known content", _overall_accuracy(part))
        )
    for task, part in plain.groupby("task"):
        bound = f"chance {part['chance'].mean():.3f}"
        rows.append(_metric_row("accuracy by task", task, _overall_accuracy(part), bound))
    return rows


def _readable(table: pd.DataFrame, claim: str, minimum: float) -> list[dict]:
    return [share_row(claim, "overall", is_readable(table), f"at least {minimum}", minimum)]


def _audio_controls(model: Model, test: Sequence[Item], plain: pd.DataFrame, store: Store) -> list[dict]:
    """With silence, and with another item's clip, accuracy must fall to that of the text alone."""
    text_only = _overall_accuracy(runs.ask(model, test, "plain", store=store, audio=False, label="no audio"))
    rows = [_metric_row("control accuracy", "no audio", text_only)]
    for name, items_ in {"silence": runs.with_silence(test), "another clip": runs.swap_clips(test)}.items():
        accuracy = _overall_accuracy(runs.ask(model, items_, "plain", store=store, label=name))
        met = abs(accuracy["value"] - text_only["value"]) <= 0.05
        rows.append(_metric_row("control accuracy", name, accuracy, "within 0.05 of no audio", bool(met)))
    return rows


def _audio_type(model: Model, test: Sequence[Item], store: Store) -> list[dict]:
    type_items = [replace(item, options=TYPES, gold=TYPES.index(item.modality)) for item in test]
    table = runs.ask(model, type_items, "audio_type", store=store)
    return [
        share_row("audio type named right", "overall", table["outcome"] == "correct", "at least 0.90", 0.9)
    ]


def _stepwise(table: pd.DataFrame) -> list[dict]:
    reasons = table["reply"].str.split("Answer:").str[0].str.strip().str.len() > 0
    reasons &= table["reply"].str.contains("Answer:")
    claim = "step by step: reasons and a readable answer"
    return [
        share_row(claim, "overall", reasons & is_readable(table), "at least 0.90", 0.9),
        _metric_row("step by step: accuracy", "overall", _overall_accuracy(table)),
    ]


def _refusals(model: Model, test: Sequence[Item], hopeless: Sequence[Item], store: Store) -> list[dict]:
    """Refusal under the IDK prompt on `test` and on each kind of unanswerable items."""
    tables_ = [runs.ask(model, part, "idk", store=store) for part in (test, hopeless)]
    frame = metrics.refusal_by_kind(pd.concat(tables_, ignore_index=True))
    frame = frame[(frame["group"] == "overall") & (frame["metric"] == "refusal_rate")].set_index("kind")
    base = frame.loc["answerable", "value"]
    bounds = {"answerable": ("neither 0 nor 1", 0 < base < 1)}
    bounds |= {
        kind: (f"at least answerable + {gap:.2f}", frame.loc[kind, "value"] >= base + gap)
        for kind, gap in {"inaudible": 0.2, "ungrounded": 0.05}.items()
    }
    return [
        row(
            "refused under the IDK prompt",
            kind,
            r["value"],
            r["low"],
            r["high"],
            r["n"],
            bounds[kind][0],
            bool(bounds[kind][1]),
        )
        for kind, r in frame.iterrows()
    ]


def _measurement(args: argparse.Namespace) -> Callable[[Model, Store], pd.DataFrame]:
    """What is to be measured: the model's claims, or what it makes of each form of asking."""
    if not args.forms:
        return partial(measure, n=args.n)
    return partial(measure_forms, items=benchmarks.load("mini", split=args.split, n=args.n))


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m lalm_utils.mini.acceptance", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--model", default="mini")
    parser.add_argument("--n", type=int, default=None, help="items a split (default: all)")
    parser.add_argument("--split", default="test", help="of --forms: the split that is asked")
    parser.add_argument("--forms", action="store_true", help="measure the forms of asking instead")
    parser.add_argument("--json", type=Path, default=None, help="also write the rows here")
    args = parser.parse_args()
    with runs.default_store() as store:
        frame = _measurement(args)(load_model(args.model), store)
    print(frame.to_string(index=False))
    if args.json:
        args.json.write_text(json.dumps(frame.to_dict("records"), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
