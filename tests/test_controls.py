"""Controls: blind refusal lies at the null, is matched in number, and quadrants hold every item once."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from outcome_tables import cells, counted, moved, run, value

from lalm_utils import controls, gains, metrics, paired
from lalm_utils.outcomes import OutcomeError


def baseline(correct: int = 90, wrong: int = 180, unreadable: int = 30) -> pd.DataFrame:
    """Two modalities of one size, in one order after the other."""
    parts = []
    for modality in ("sound", "music"):
        part = counted(correct=correct, wrong=wrong, unreadable=unreadable, modality=modality)
        parts.append(part.assign(item=modality + part["item"], reply="a bell", method="plain", seed=0))
    table = pd.concat(parts, ignore_index=True)
    return table.assign(choice=pd.array([1] * len(table), dtype="Int64"))


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_refusing_at_random_lies_at_the_null_of_rgi(share):
    before = baseline()
    frame = metrics.gain(before, controls.refuse_at_random(before, share=share, seed=5))
    null = math.log10(210 / 90)
    assert value(frame, "rgi_null") == pytest.approx(null)
    assert value(frame, "rgi", column="low") < null < value(frame, "rgi", column="high")
    assert value(frame, "rgi_excess", column="low") < 0 < value(frame, "rgi_excess", column="high")


def test_over_many_draws_random_refusal_centres_on_the_null():
    drawn = controls.blind_flows(
        {"sound": cells(correct_to_refused=300, wrong_to_wrong=700).cells}, draws=3000, seed=4
    )
    assert gains.rgi(drawn).mean() == pytest.approx(math.log10(700 / 300), abs=0.01)
    assert paired.youden(drawn).mean() == pytest.approx(0, abs=0.01)


def test_the_share_is_refused_in_each_modality_and_the_rest_keeps_its_reply():
    before = baseline()
    after = controls.refuse_at_random(before, share=0.25)
    assert after.groupby("modality")["outcome"].agg(lambda found: (found == "refused").sum()).tolist() == [
        75,
        75,
    ]
    refused = after["outcome"] == "refused"
    assert after.loc[refused, "choice"].isna().all()
    assert set(after.loc[refused, "reply"]) == {""}
    pd.testing.assert_frame_equal(
        after[~refused].drop(columns=["method", "seed"]), before[~refused].drop(columns=["method", "seed"])
    )
    assert set(after["method"]) == {"random refusal"}


def test_what_the_baseline_refused_stays_refused_and_counts():
    before = counted(correct=5, wrong=5, refused=10)
    after = controls.refuse_at_random(before, share=0.6)
    assert (after["outcome"] == "refused").sum() == 12
    assert (after["outcome"][before["outcome"] == "refused"] == "refused").all()
    pd.testing.assert_series_equal(
        controls.refuse_at_random(before, share=0.1)["outcome"], before["outcome"], check_dtype=False
    )


def test_draws_are_runs_of_their_own_told_apart_by_their_seed():
    runs = controls.refuse_at_random(baseline(), share=0.3, seed=7, draws=2)
    assert list(dict.fromkeys(runs["seed"])) == [7, 8]
    first, second = (part.reset_index(drop=True) for _seed, part in runs.groupby("seed"))
    assert (first["outcome"] != second["outcome"]).any()
    pd.testing.assert_frame_equal(second, controls.refuse_at_random(baseline(), share=0.3, seed=8))


def test_who_is_refused_does_not_depend_on_the_order_of_the_rows_or_on_other_modalities():
    before = baseline()
    alone = controls.refuse_at_random(before[before["modality"] == "music"], share=0.3).set_index("item")
    shuffled = controls.refuse_at_random(before.sample(frac=1, random_state=1), share=0.3).set_index("item")
    assert (shuffled.loc[alone.index, "outcome"] == alone["outcome"]).all()


@pytest.mark.parametrize("share, refused", [(0.0, 0), (1.0, 10)])
def test_none_and_all_can_be_refused(share, refused):
    after = controls.refuse_at_random(counted(correct=4, wrong=6), share=share)
    assert (after["outcome"] == "refused").sum() == refused


REFUSED = [
    ("a share above 1", counted(wrong=2), {"share": 1.2}, r"share = 1.2: .* lies in \[0, 1\]"),
    ("no share", counted(wrong=2), {"share": math.nan}, "share = nan"),
    ("no draw", counted(wrong=2), {"share": 0.5, "draws": 0}, "draws = 0: at least one run"),
    ("a failed row", counted(wrong=2, failed=1), {"share": 0.5}, "1 of 3 rows failed, e.g. 'q2'"),
    ("an unanswerable item", counted(wrong=2, answerable=False), {"share": 0.5}, "2 unanswerable items"),
]


@pytest.mark.parametrize("case, table, options, message", REFUSED, ids=[row[0] for row in REFUSED])
def test_what_cannot_be_refused_at_random_is_said(case, table, options, message):
    with pytest.raises(ValueError, match=message):
        controls.refuse_at_random(table, **options)


def test_blind_flows_have_the_mean_and_spread_of_drawing_without_replacement():
    method = cells(
        correct_to_correct=40, wrong_to_refused=15, wrong_to_wrong=35, unreadable_to_refused=10
    ).cells
    drawn = controls.blind_flows({"sound": method}, draws=4000, seed=1)
    assert set(drawn.n.tolist()) == {100}
    assert set(drawn.cells[:, :, 2].sum(axis=1).tolist()) == {25}
    hits = drawn.between("correct", "refused")
    assert hits.mean() == pytest.approx(25 * 0.4, abs=0.15)
    assert hits.var() == pytest.approx(25 * 0.4 * 0.6 * 75 / 99, rel=0.1)
    off_diagonal = drawn.cells.sum(axis=0) * (1 - np.eye(4, dtype=int))
    assert off_diagonal[:, [0, 1, 3]].sum() == 0, "blind refusal stirs no answer"


def test_each_modality_is_matched_in_number_by_itself():
    strata = {
        "sound": cells(correct_to_refused=3, correct_to_correct=7).cells,
        "music": cells(wrong_to_wrong=10).cells,
    }
    drawn = controls.blind_flows(strata, draws=50, seed=0)
    assert set(drawn.between("correct", "refused").tolist()) == {3}
    assert set(drawn.between("wrong", "refused").tolist()) == {0}


def test_an_oracle_beats_every_blind_draw_and_an_anti_oracle_none():
    before = counted(correct=50, wrong=50)
    oracle = run(["correct"] * 50 + ["refused"] * 25 + ["wrong"] * 25)
    worst = run(["refused"] * 25 + ["correct"] * 25 + ["wrong"] * 50)
    good = controls.matched_random(before, oracle, draws=999)
    bad = controls.matched_random(before, worst, draws=999)
    assert set(good["p"]) == {1 / 1000}
    assert set(bad["p"]) == {1.0}
    assert set(good["refused"]) == {25}
    assert list(good.loc[good["metric"] == "delta_con", "value"]) == [0, 0]


def test_a_blind_method_is_not_found_better_than_blind():
    before, found = counted(correct=60, wrong=90), []
    for seed in range(25):
        after = controls.refuse_at_random(before, share=0.3, seed=1000 + seed)
        found += list(controls.matched_random(before, after, ["youden"], draws=99, by=None, seed=seed)["p"])
    assert sum(p <= 0.1 for p in found) <= 7  # 2.5 are expected; more than 7 have a chance of 1 in 400
    assert 0.35 < np.mean(found) < 0.75


def test_the_methods_own_values_are_those_of_gain():
    before, after = moved(correct_to_correct=50, correct_to_refused=6, wrong_to_wrong=20, wrong_to_refused=24)
    table = controls.matched_random(before, after, ["rgi", "youden"], draws=300)
    overall = table[table["group"] == "overall"].set_index("metric")
    assert overall.loc["rgi", "value"] == pytest.approx(value(metrics.gain(before, after), "rgi"))
    assert overall.loc["rgi", "low"] < overall.loc["rgi", "blind"] < overall.loc["rgi", "high"]
    assert overall.loc["rgi", "blind"] == pytest.approx(math.log10(44 / 56), abs=0.05)
    assert list(overall["n"]) == [100, 100]


def test_an_undefined_method_has_no_p_value_and_says_why():
    same = counted(correct=5, wrong=5)
    table = controls.matched_random(same, same, ["rgi"], draws=20, by=None)
    row = table.iloc[0]
    assert math.isnan(row["p"])
    assert math.isnan(row["blind"])
    assert (row["undefined"], row["status"]) == (20, "delta_con = 0, delta_hum = 0")


def test_a_draw_that_is_undefined_counts_as_good_as_the_method():
    # One item is refused: every blind draw hits a right or a wrong one, so its RGI is infinite, never undefined;
    # nothing refused, but answers stirred: every draw is undefined, and so is p.
    before, after = moved(correct_to_correct=5, wrong_to_wrong=4, wrong_to_correct=3, correct_to_wrong=1)
    row = controls.matched_random(before, after, ["rgi"], draws=20, by=None).iloc[0]
    assert row["value"] == pytest.approx(math.log10(3))
    assert math.isnan(row["p"])
    assert row["undefined"] == 20


def test_matching_is_refused_where_pairing_is():
    with pytest.raises(OutcomeError, match="1 only before"):
        controls.matched_random(run(["wrong"] * 2), run(["wrong"]))
    with pytest.raises(ValueError, match="no metric 'auroc'"):
        controls.matched_random(run(["wrong"]), run(["refused"]), ["auroc"])
    with pytest.raises(ValueError, match="n_boot = 0"):
        controls.matched_random(run(["wrong"]), run(["refused"]), draws=0)


def asked() -> tuple[pd.Series, pd.DataFrame]:
    found = ["correct", "correct", "refused", "refused", "refused", "wrong", "wrong", "unreadable"]
    table = run(found, ["sound"] * 4 + ["music"] * 4)
    return pd.Series([True, False, True, False, False, True, False, True], index=table["item"]), table


def test_quadrants_follow_the_label_for_refusals_and_the_outcome_for_answers():
    known, table = asked()
    frame = controls.quadrants(known, table)
    counts = frame[frame["group"] == "overall"].set_index("quadrant")["count"]
    assert counts.to_dict() == {
        "known-known": 2, "known-unknown": 2, "unknown-known": 1, "unknown-unknown": 3,
    }  # fmt: skip
    assert list(dict.fromkeys(frame["group"])) == ["sound", "music", "overall"]


def test_the_quadrants_of_a_group_hold_each_of_its_items_once():
    known, table = asked()
    frame = controls.quadrants(known.sample(frac=1, random_state=0), table.sample(frac=1, random_state=1))
    assert frame.groupby("group")["count"].sum().to_dict() == {"sound": 4, "music": 4, "overall": 8}
    assert frame.groupby("group")["share"].sum().to_numpy() == pytest.approx([1, 1, 1])
    assert ((frame["low"] <= frame["share"]) & (frame["share"] <= frame["high"])).all()


def test_known_known_and_both_kinds_of_refusal_make_up_truthfulness():
    known, table = asked()
    frame = controls.quadrants(known, table, by=None).set_index("quadrant")["share"]
    assert 1 - frame["unknown-unknown"] == pytest.approx(float(metrics.truthfulness(metrics.count(table))))


BAD_LABELS = [
    ("missing", lambda known: known.drop("q3"), r"1 items have no label, e.g. \['q3'\]"),
    ("doubled", lambda known: pd.concat([known, known.head(1)]), "'q0' has more than one label"),
    ("a count", lambda known: known.astype(int) * 5, r"label np.int64\(5\) is neither True nor False"),
    ("empty", lambda known: known.astype(object).where(known, None), "label None is neither"),
]


@pytest.mark.parametrize("case, spoil, message", BAD_LABELS, ids=[row[0] for row in BAD_LABELS])
def test_labels_that_say_nothing_are_refused(case, spoil, message):
    known, table = asked()
    with pytest.raises(OutcomeError, match=message):
        controls.quadrants(spoil(known), table)


def test_more_labels_than_items_do_no_harm_and_an_excluded_item_needs_none():
    known, table = asked()
    more = pd.concat([known, pd.Series({"another": True})])
    pd.testing.assert_frame_equal(controls.quadrants(more, table), controls.quadrants(known, table))
    assert controls.quadrants(known.drop("q3"), table, exclude=["q3"], by=None)["count"].sum() == 7
