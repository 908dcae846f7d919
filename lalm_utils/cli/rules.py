"""The same replies under several rules, and under both readings of an option that declines, for `score`.

In: predictions and their outcome table. Out: counts and accuracy by rule with the items on which rules part, and
metrics with that option as a refusal beside metrics with it as one more wrong option.

    ours          parsing.read, as everywhere in this package
    official      MMAU's and MMAR's scripts: all words of the answer and none of another option; it knows neither
                  refusals nor unreadable replies
    first-letter  SH-Bench's script: the first capital A to E behind its last lead-in such as "The answer is", wherever
                  that letter stands, so it reads an option into many replies that name none
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from lalm_utils import metrics, outcomes, parsing
from lalm_utils.outcomes import Outcome
from lalm_utils.reply_logs import Prediction

RULES = ("ours", "official", "first-letter")
NO_MATCH = "no match"  # all that the official rule says of a reply that is not right
MAX_LINES = 20  # items on which rules part, in text; the JSON report has them all


def names(text: str) -> tuple[str, ...]:
    """Rules from a list with commas, as an argument of the command line."""
    rules = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if unknown := [name for name in rules if name not in RULES]:
        raise argparse.ArgumentTypeError(f"no rule {unknown[0]!r}; there are {', '.join(RULES)}")
    return rules


def compare(
    predictions: Sequence[Prediction], table: pd.DataFrame, rules: Sequence[str], by: str = "modality"
) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, str]]]:
    """By group and rule: n (items with a reply), accuracy, refused, unreadable; and the verdicts that part, by item.

    table : outcomes.table of these predictions, in their order. refused and unreadable are None where a rule does not
    know them. Rules part on an item that is right by some alone, or that they call wrong, refused and unreadable.
    """
    verdicts = pd.DataFrame({rule: _verdicts(predictions, table, rule) for rule in rules}, index=table.index)
    groups = {
        group: {rule: _summary(verdicts.loc[rows.index, rule], rule) for rule in rules}
        for group, rows in outcomes.groups(table, by)
    }
    items = dict(zip(table["item"], verdicts.to_dict("records"), strict=True))
    return groups, {item: by_rule for item, by_rule in items.items() if _part(set(by_rule.values()))}


def readings(table: pd.DataFrame, before: pd.DataFrame | None = None) -> dict[str, Any] | None:
    """Metrics with the option that declines as a refusal and as a wrong option; None where nobody chose it.

    Of the items with a reply (in both runs, with `before`): items (that offer it), chosen (replies), and as_refusal and
    as_wrong: correct, wrong (unreadable ones apart), refused, metrics.METRICS and, with `before`, metrics.GAINS.
    """
    failed = outcomes.failed_ids(*([table] if before is None else [table, before]))
    table, before = (
        None if frame is None else frame[~frame["item"].isin(failed)] for frame in (table, before)
    )
    declines = _declines(table)
    if table.empty or not (declines.any() or (before is not None and _declines(before).any())):
        return None
    return {
        "items": int(table["declining"].notna().sum()),
        "chosen": int(declines.sum()),
        "as_refusal": _values(table, before),
        "as_wrong": _values(_as_wrong(table), None if before is None else _as_wrong(before)),
    }


def rules_text(report: Mapping[str, Mapping]) -> list[str]:
    """What `compare` found, as it stands in a report of `score`, in lines for print."""
    rows = [
        {"": group, "rule": rule} | counts
        for group, fields in report.items()
        for rule, counts in fields["rules"].items()
    ]
    rows = [row | {"accuracy": _short(row["accuracy"])} for row in rows]
    grid = pd.DataFrame(rows, dtype=object)
    parting = report["overall"]["parting"]
    lines = [f"{id if id.isprintable() else ascii(id)}: " + ", ".join(map(" ".join, by_rule.items()))
             for id, by_rule in list(parting.items())[:MAX_LINES]]  # fmt: skip
    more = f", the first {MAX_LINES} (--json has all)" if len(parting) > MAX_LINES else ""
    return [
        "The same replies by several rules, of the items with a reply",
        grid.fillna("-").to_string(index=False),
        "\n".join([f"Items on which these rules part: {len(parting)}{more}", *lines]),
    ]


def readings_text(report: Mapping[str, Any]) -> list[str]:
    """What `readings` found, for print."""
    rows = [
        {"": name}
        | {key: value if isinstance(value, int) else _short(value) for key, value in report[role].items()}
        for name, role in (("as a refusal", "as_refusal"), ("as a wrong option", "as_wrong"))
    ]
    return [
        f"An option that declines, offered in {report['items']} items, was chosen {report['chosen']} times; above it "
        "is a refusal. Both readings, of the items with a reply:",
        pd.DataFrame(rows).to_string(index=False),
    ]


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _verdicts(predictions: Sequence[Prediction], table: pd.DataFrame, rule: str) -> list[str]:
    return [
        outcome if rule == "ours" or outcome == Outcome.FAILED else _verdict(prediction, rule)
        for prediction, outcome in zip(predictions, table["outcome"], strict=True)
    ]


def _verdict(prediction: Prediction, rule: str) -> str:
    item, text = prediction.item, prediction.reply.text
    if rule == "official":
        is_match = parsing.mmau_match(text, item.options, item.options[item.gold])
        return Outcome.CORRECT.value if is_match else NO_MATCH
    choice = parsing.first_letter(text)
    if choice is None:
        return Outcome.UNREADABLE.value
    option = item.options[choice] if choice < len(item.options) else ""
    if item.declining is not None and option == item.options[item.declining]:
        return Outcome.REFUSED.value
    return (Outcome.CORRECT if option == item.options[item.gold] else Outcome.WRONG).value


def _summary(verdicts: pd.Series, rule: str) -> dict[str, Any]:
    replies = verdicts[verdicts != Outcome.FAILED]
    has_refusals = rule != "official"
    return {
        "n": len(replies),
        "accuracy": float((replies == Outcome.CORRECT).mean()) if len(replies) else None,
        "refused": int((replies == Outcome.REFUSED).sum()) if has_refusals else None,
        "unreadable": int((replies == Outcome.UNREADABLE).sum()) if has_refusals else None,
    }


def _part(verdicts: set[str]) -> bool:
    names = verdicts - {NO_MATCH}
    return len(names) > 1 or (NO_MATCH in verdicts and Outcome.CORRECT in names)


def _declines(table: pd.DataFrame) -> pd.Series:
    return (table["choice"] == table["declining"]).fillna(False).astype(bool)


def _as_wrong(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(outcome=table["outcome"].mask(_declines(table), Outcome.WRONG.value))


def _values(table: pd.DataFrame, before: pd.DataFrame | None) -> dict[str, Any]:
    counts = {name: int((table["outcome"] == name).sum()) for name in ("correct", "wrong", "refused")}
    values = {name: metric(table) for name, metric in metrics.METRICS.items()}
    if before is not None:
        values |= {name: metric(before, table) for name, metric in metrics.GAINS.items()}
    return counts | {name: float(value) if math.isfinite(value) else None for name, value in values.items()}
