from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from lalm_utils import metrics, sft_tables
from lalm_utils.finetuning import lora_files
from lalm_utils.outcomes import OutcomeError

LETTER = {"c": "correct", "w": "wrong", "r": "refused", "u": "unreadable", "f": "failed"}


def run(letters: str) -> pd.DataFrame:
    """An outcome table of one item a letter: the first half sound, the second music."""
    modality = ["sound" if place < len(letters) / 2 else "music" for place in range(len(letters))]
    return pd.DataFrame({
        "item": [f"i{place}" for place in range(len(letters))], "modality": modality, "answerable": True,
        "outcome": [LETTER[letter] for letter in letters],
    })  # fmt: skip


BEFORE = run("ccccwwww")


def value(frame: pd.DataFrame, metric: str, group: str = "overall") -> float:
    (row,) = frame[(frame["metric"] == metric) & (frame["group"] == group)].itertuples()
    return row.value


def test_runs_stand_beside_each_other_with_levels_and_gains():
    frame = sft_tables.compared(BEFORE, {"some": run("cccrrrww"), "all": run("rrrrrrrr")})
    assert list(frame.columns[:3]) == ["run", "group", "metric"]
    some = frame[frame["run"] == "some"]
    assert value(some, "accuracy") == 3 / 8
    assert value(some, "rejection_rate") == 3 / 8
    assert (value(some, "delta_con"), value(some, "delta_hum")) == (1 / 8, 2 / 8)
    assert value(some, "rgi") == pytest.approx(np.log10(2))
    assert value(some, "accuracy", "sound") == 3 / 4
    assert value(frame[frame["run"] == "all"], "rgi_excess") == 0
    assert not frame.duplicated(["run", "group", "metric"]).any()


def test_failed_items_are_left_out_of_their_run_and_counted():
    frame = sft_tables.compared(run("ccccwwwf"), {"one": run("fcccwwwr"), "none": run("ccccwwwr")})
    assert value(frame[frame["run"] == "one"], "excluded") == 2
    assert value(frame[frame["run"] == "one"], "n") == 6
    assert value(frame[frame["run"] == "none"], "excluded") == 1


def test_other_items_before_and_after_are_refused():
    with pytest.raises(OutcomeError, match="the two tables hold different items"):
        sft_tables.compared(BEFORE, {"fewer": run("ccww")})


def test_a_table_to_read_has_a_row_a_run():
    frame = sft_tables.compared(BEFORE, {"some": run("cccrrrww"), "none": BEFORE})
    shown = sft_tables.readable(frame, ["n", "accuracy", "rgi"])
    assert list(shown.columns) == ["run", "n", "accuracy", "rgi"]
    assert list(shown["run"]) == ["some", "none"]
    assert shown.loc[0, "n"] == "8"
    assert shown.loc[0, "accuracy"].startswith("0.38 [")
    assert "delta" in shown.loc[1, "rgi"], "an index that is not defined says why"
    sound = sft_tables.readable(frame, ["accuracy"], group="sound")
    assert sound.loc[0, "accuracy"].startswith("0.75")


def test_a_setting_has_five_metrics_at_each_of_its_values():
    runs = {0: [BEFORE], 0.5: [run("cccrrrww")], 2.0: [run("rrrrrrrr")]}
    table = sft_tables.by_setting(BEFORE, runs, "scale")
    assert list(table.columns) == ["scale", "metric", "value", "low", "high", "n"]
    assert sorted(table["scale"].unique()) == [0.0, 0.5, 2.0]
    assert all(set(part) == set(sft_tables.SETTING) for _, part in table.groupby("scale")["metric"])
    rejected, youden = (
        table[table["metric"] == name].set_index("scale")["value"] for name in ("rejection_rate", "youden")
    )
    assert rejected.to_dict() == {0.0: 0.0, 0.5: 3 / 8, 2.0: 1.0}
    assert youden.to_dict() == {0.0: 0.0, 0.5: 2 / 4 - 1 / 4, 2.0: 0.0}
    assert set(table["n"]) == {8}


def test_a_setting_s_training_seeds_are_averaged_inside_each_draw():
    first, second = run("ccccrrww"), run("ccccwwrr")
    both = sft_tables.by_setting(BEFORE, {5: [first, second]}, "k").set_index("metric")
    alone = sft_tables.by_setting(BEFORE, {5: [first]}, "k").set_index("metric")
    assert both.loc["youden", "value"] == alone.loc["youden", "value"] == 0.5
    # Drawn apart the two would be as wide as one; together what one lacks the other has.
    assert both.loc["youden", "low"] == both.loc["youden", "high"] == 0.5
    assert alone.loc["youden", "low"] < 0.5 < alone.loc["youden", "high"]


def test_failed_items_are_left_out_of_every_value_of_a_setting():
    table = sft_tables.by_setting(BEFORE, {1: [run("ccccwwwf")], 2: [run("fcccwwww")]}, "k")
    assert set(table["n"]) == {6}


MARGINS = [
    ("nothing changed", "ccccwwww", 0.0),
    ("every wrong answer refused", "ccccrrrr", 1.0),
    ("every right answer refused", "rrrrwwww", -1.0),
    ("all refused", "rrrrrrrr", 0.0),
    ("half of each refused", "ccrrwwrr", 0.0),
    ("answers that changed without a refusal", "wccccwcw", 0.0),
    ("two wrong ones and a right one refused", "cccrcrrw", 0.25),
]


@pytest.mark.parametrize("case, after, expected", MARGINS, ids=[row[0] for row in MARGINS])
def test_the_margin_is_zero_for_blind_refusal_and_always_finite(case, after, expected):
    assert sft_tables.margin(BEFORE, run(after)) == pytest.approx(expected)
    excess = value(metrics.gain(BEFORE, run(after)), "refusal_excess")
    assert expected == 0 or np.isnan(excess) or np.sign(excess) == np.sign(expected)


def test_the_margin_of_a_baseline_that_is_always_right_is_what_it_gave_up():
    assert sft_tables.margin(run("cccc"), run("cccr")) == -0.25


def adapter(folder, **changes):
    folder.mkdir()
    facts = {"digest": "d", "examples": 8, "idk_share": 0.5, "steps": 2, "final_loss": 1.0, "seconds": 3.0,
             "seed": 0, "recipe": {"learning_rate": 1e-4, "rank": 16, "epochs": 1}}  # fmt: skip
    (folder / lora_files.PROVENANCE).write_text(json.dumps(facts | changes))
    (folder / lora_files.CURVE).write_text("step,loss,learning_rate,examples\n1,2.5,0.1,4\n2,1.5,0.05,8\n")
    return folder


def test_curves_and_provenance_of_adapters_stand_beside_each_other(tmp_path):
    folders = {"one": adapter(tmp_path / "a"), "two": adapter(tmp_path / "b", examples=16)}
    table = sft_tables.curves(folders)
    assert list(table.columns) == ["adapter", "step", "loss"]
    assert list(table["adapter"]) == ["one", "one", "two", "two"]
    assert list(table["loss"]) == [2.5, 1.5] * 2
    shown = sft_tables.made(folders)
    assert list(shown["examples"]) == [8, 16]
    assert set(shown.columns) == {
        "adapter", "learning_rate", "rank", "epochs", "examples", "idk_share", "steps", "final_loss", "seconds",
        "seed",
    }  # fmt: skip
