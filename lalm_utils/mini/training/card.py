"""The model card's tables, written anew from the measurements beside it: `python -m lalm_utils.mini.training.card`.

In: `acceptance.json` (what `acceptance` measured) and `training.json` (the evaluations of `train`). Out: the tables of
README.md in the same folder, each between its two markers. The card's prose is written by hand and left alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lalm_utils import bootstrap
from lalm_utils.mini.model import WEIGHTS

Row = dict[str, Any]
BY_TASK = "accuracy by task"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table of text cells."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def claims_table(rows: Sequence[Row]) -> str:
    """Every claim with its interval, its N, what was asked and whether it was met."""
    words = {True: "yes", False: "**missed**", None: ""}
    cells = [
        [row["claim"], row["group"], _interval(row), str(row["n"]), row["bound"], words[row["met"]]]
        for row in rows
        if row["claim"] != BY_TASK
    ]
    return table(["claim", "group", "value [95 %]", "N", "asked", "met"], cells)


def task_table(rows: Sequence[Row]) -> str:
    """Accuracy of each task beside its chance."""
    tasks = sorted((row for row in rows if row["claim"] == BY_TASK), key=lambda row: row["group"])
    cells = [[row["group"], _interval(row), str(row["n"]), row["bound"]] for row in tasks]
    return table(["task", "accuracy [95 %]", "N", ""], cells)


def alignment_table(training: Sequence[Row]) -> str:
    """The share of held-out frames or clips labelled right, per group of labels, at the end of stage 1."""
    last = [row for row in training if row["stage"] == "hear"][-1]
    cells = [[group, f"{share:.3f}"] for group, share in last["held_out"].items()]
    return table(["group", "held-out share labelled right"], cells)


def evaluation_table(training: Sequence[Row]) -> str:
    """Held-out accuracy at each evaluation of stages 2 to 4, with the clip and without it."""
    rows = [row for row in training if row["stage"] != "hear"]
    cells = [
        [str(row["run"]), row["stage"], f"{row['step']} of {row['of']}", f"{row['loss']:.3f}",
         *(f"{row[kind]:.3f}" for kind in ("real", "silence", "other"))]
        for row in rows
    ]  # fmt: skip
    return table(["run", "stage", "step", "loss", "real clip", "silence", "another clip"], cells)


def fill(card: str, tables: dict[str, str]) -> str:
    """The card with each named table between its markers. Raises ValueError for a marker that is not there."""
    for name, text in tables.items():
        block = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
        if not block.search(card):
            raise ValueError(
                f"the card has no markers <!-- {name} --> ... <!-- end of {name} -->; put them back"
            )
        card = block.sub(lambda match, text=text: f"{match[1]}{text}\n{match[2]}", card)
    return card


def write(folder: Path = WEIGHTS) -> None:
    """Fill the tables of `folder`/README.md from the two JSON files beside it."""
    rows, training = (
        json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("acceptance", "training")
    )
    tables = {
        "measured": claims_table(rows),
        "by task": task_table(rows),
        "hearing": alignment_table(training),
        "gates": evaluation_table(training),
    }
    path = folder / "README.md"
    path.write_text(fill(path.read_text(encoding="utf-8"), tables), encoding="utf-8")


def _interval(row: Row) -> str:
    return bootstrap.interval_text(row["value"], row["low"], row["high"], digits=3)


if __name__ == "__main__":
    write()
