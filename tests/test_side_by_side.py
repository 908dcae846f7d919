"""Methods beside the paper: which numbers stand in which row, in which unit."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from outcome_tables import run, value

from lalm_utils import metrics, paper, side_by_side, transfer

MODALITIES = ("sound", "music", "speech")


def plain() -> pd.DataFrame:
    return run(["correct", "wrong", "wrong"] * 30, [m for m in MODALITIES for _ in range(30)])


def refused(step: int, start: int = 0) -> pd.DataFrame:
    table = plain()
    hit = [k % step == start for k in range(len(table))]
    return table.assign(outcome=table["outcome"].mask(pd.Series(hit), "refused"))


def frame(names=("accuracy", "reliability", "rgi", "rgi_null")) -> pd.DataFrame:
    adapters = {modality: [refused(4, k), refused(5, k)] for k, modality in enumerate(MODALITIES)}
    return side_by_side.measured(plain(), {"IDK prompt": refused(7)}, adapters, names, n_boot=30)


def cell(table: pd.DataFrame, method: str, group: str, metric: str, column: str = "value"):
    where = (table["method"] == method) & (table["group"] == group) & (table["metric"] == metric)
    [found] = table.loc[where, column]
    return found


def test_a_methods_row_is_what_evaluate_and_gain_say_of_it():
    table = frame()
    levels, gained = metrics.evaluate(refused(7), n_boot=30), metrics.gain(plain(), refused(7), n_boot=30)
    for group in (*MODALITIES, "overall"):
        assert cell(table, "IDK prompt", group, "reliability") == pytest.approx(
            value(levels, "reliability", group)
        )
        assert cell(table, "IDK prompt", group, "rgi") == pytest.approx(value(gained, "rgi", group))


def test_the_baseline_has_levels_and_no_gains():
    table = frame()
    assert set(table.loc[table["method"] == "Baseline", "metric"]) == {"accuracy", "reliability"}
    assert cell(table, "Baseline", "overall", "accuracy") == pytest.approx(1 / 3)


def test_lora_is_the_mean_of_the_adapters_trained_elsewhere_and_in_domain_its_own():
    adapters = {modality: [refused(4, k), refused(5, k)] for k, modality in enumerate(MODALITIES)}
    expected = transfer.out_of_domain(plain(), adapters, ["reliability"], n_boot=30)
    table = frame()
    for domain, method in (("out", side_by_side.OUT), ("in", side_by_side.IN)):
        rows = expected[expected["domain"] == domain].set_index("tested_on")["value"]
        for group in (*MODALITIES, "overall"):
            assert cell(table, method, group, "reliability") == pytest.approx(rows[group])


def test_the_papers_cells_are_shares_with_the_null_of_its_baseline():
    table = side_by_side.printed()
    assert cell(table, "Baseline", "sound", "accuracy") == pytest.approx(0.6096)
    assert cell(table, "LoRA SFT", "overall", "rgi") == 0.26
    assert cell(table, "IDK prompt", "sound", "rgi_null") == pytest.approx(math.log10(130 / 203))
    assert cell(table, "IDK prompt", "sound", "rgi_excess") == pytest.approx(0.27 - math.log10(130 / 203))
    assert cell(table, "MCoT prompt", "overall", "reliability", "n") == 1000
    assert "Human" not in set(table["method"])
    assert table["low"].isna().all()


def test_readable_sets_ours_and_the_papers_below_each_other():
    both = pd.concat([frame(), side_by_side.printed()])
    table = side_by_side.readable(both, "reliability")
    assert list(table.columns) == [*MODALITIES, "overall"]
    assert list(table.index[:3]) == [
        ("Baseline", "measured here"), ("Baseline", "printed in the paper"), ("IDK prompt", "measured here"),
    ]  # fmt: skip
    assert table.loc[("Baseline", "printed in the paper"), "sound"] == "0.61"
    assert table.loc[("Baseline", "measured here"), "sound"].startswith("0.33 [")
    accuracy = side_by_side.readable(both, "accuracy")
    assert accuracy.loc[("IDK prompt", "printed in the paper"), "overall"] == "", (
        "total accuracy is not printed"
    )


def test_a_value_that_is_not_finite_says_why():
    never = {modality: [plain()] for modality in MODALITIES}
    table = side_by_side.measured(plain(), {}, never, ["rgi"], n_boot=5)
    assert side_by_side.readable(table, "rgi").loc[("LoRA SFT", "measured here"), "sound"] == (
        "nan (delta_con = 0, delta_hum = 0)"
    )


def test_the_drawn_rows_carry_model_and_null():
    table = side_by_side.drawn(pd.concat([frame(), side_by_side.printed()]), model="mini")
    assert set(table["metric"]) == {"accuracy", "reliability", "rgi"}
    assert set(table.loc[table["source"] == "measured here", "model"]) == {"mini"}
    assert set(table.loc[table["source"] == "printed in the paper", "model"]) == {paper.MODEL}
    assert table.loc[table["metric"] != "rgi", "null"].isna().all()
    ours = table[(table["source"] == "measured here") & (table["metric"] == "rgi")]
    assert ours["null"].to_numpy() == pytest.approx(math.log10(2))
