"""Paired tests against their definitions, random refusal at the null, and quadrants that hold every item once."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outcome_tables import cells, count_table, run, transition_tables, value

from lalm_utils import bootstrap, comparison, metrics
from lalm_utils.outcomes import OutcomeError

p_values = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def test_mcnemar_doubles_the_smaller_tail_of_a_fair_coin():
    tail = sum(math.comb(10, k) for k in range(2)) / 2**10
    assert comparison.mcnemar(1, 9) == pytest.approx(2 * tail)
    assert comparison.mcnemar(9, 1) == pytest.approx(2 * tail)


@pytest.mark.parametrize("gained, lost", [(0, 0), (3, 3), (1, 0)])
def test_mcnemar_finds_nothing_where_there_is_nothing_to_find(gained, lost):
    assert comparison.mcnemar(gained, lost) == 1


def test_mcnemar_errs_no_more_often_than_it_says():
    chance = {k: math.comb(40, k) / 2**40 for k in range(41)}
    errs = sum(share for k, share in chance.items() if comparison.mcnemar(k, 40 - k) < 0.05)
    assert 0.01 < errs <= 0.05


PUBLISHED = [
    ("Wikipedia, Holm-Bonferroni method", [0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
    ("stdlib.io, stats/padjust", [0.319, 0.201, 0.4, 0.374, 0.113], [0.957, 0.804, 0.957, 0.957, 0.565]),
]


@pytest.mark.parametrize("source, raw, adjusted", PUBLISHED, ids=[row[0] for row in PUBLISHED])
def test_holm_gives_the_published_values(source, raw, adjusted):
    assert comparison.holm(raw) == pytest.approx(adjusted, abs=1e-9)


@settings(deadline=None)
@given(p_values)
def test_holm_keeps_the_order_and_lies_between_the_raw_value_and_bonferronis(raw):
    adjusted, raw = comparison.holm(raw), np.array(raw)
    assert (adjusted >= raw).all()
    assert (adjusted <= np.minimum(raw * len(raw), 1) + 1e-12).all()
    assert (np.diff(adjusted[np.argsort(raw, kind="stable")]) >= 0).all()
    assert adjusted[raw.argmin()] == pytest.approx(min(raw.min() * len(raw), 1))


@settings(deadline=None)
@given(p_values, st.randoms())
def test_holm_does_not_depend_on_the_order_of_the_tests(raw, random):
    order = list(range(len(raw)))
    random.shuffle(order)
    assert comparison.holm([raw[k] for k in order]) == pytest.approx(comparison.holm(raw)[order])


def test_holm_of_one_test_is_that_test_and_of_none_is_none():
    assert comparison.holm([0.04]) == pytest.approx([0.04])
    assert comparison.holm([]).size == 0


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan])
def test_holm_refuses_what_is_no_p_value(p):
    with pytest.raises(ValueError, match=r"each lies in \[0, 1\]"):
        comparison.holm([0.5, p])


def three() -> dict[str, pd.DataFrame]:
    plain = run(["correct"] * 4 + ["wrong"] * 4 + ["unreadable"] * 2)
    idk = run(["correct"] * 3 + ["refused"] + ["refused"] * 3 + ["correct"] + ["refused", "wrong"])
    return {"plain": plain, "idk": idk, "same": plain}


def test_compare_counts_what_was_gained_and_lost():
    table = comparison.mcnemar_table(three(), against="plain").set_index("second")
    assert list(table.loc["idk", ["first", "gained", "lost", "n"]]) == ["plain", 1, 1, 10]
    truthful = comparison.mcnemar_table(three(), against="plain", on="truthful").set_index("second")
    assert list(truthful.loc["idk", ["gained", "lost"]]) == [5, 0]
    assert truthful.loc["idk", "p"] == pytest.approx(2 / 2**5)
    assert truthful.loc["idk", "p_holm"] == pytest.approx(4 / 2**5)
    assert list(truthful.loc["same", ["gained", "lost", "p", "p_holm"]]) == [0, 0, 1, 1]


def test_an_unreadable_reply_is_neither_correct_nor_truthful():
    runs = {"a": run(["unreadable", "wrong"]), "b": run(["wrong", "unreadable"])}
    for on in ("correct", "truthful"):
        assert list(comparison.mcnemar_table(runs, on=on)[["gained", "lost"]].iloc[0]) == [0, 0]


def test_compare_makes_every_pair_once_unless_told_against_which():
    assert comparison.mcnemar_table(three())[["first", "second"]].to_numpy().tolist() == [
        ["plain", "idk"], ["plain", "same"], ["idk", "same"],
    ]  # fmt: skip
    assert list(comparison.mcnemar_table(three(), against="idk")["second"]) == ["plain", "same"]


def test_the_order_of_the_rows_does_not_matter():
    runs = three()
    shuffled = runs | {"idk": runs["idk"].sample(frac=1, random_state=2)}
    pd.testing.assert_frame_equal(comparison.mcnemar_table(shuffled), comparison.mcnemar_table(runs))


NO_COMPARISON = [
    ("one run", {"a": run(["wrong"])}, {}, "needs two or more runs by name"),
    (
        "an unknown reference",
        three(),
        {"against": "baseline"},
        "against = 'baseline' is not among the runs plain",
    ),
    ("an unknown property", three(), {"on": "refused"}, "on = 'refused': it is one of correct, truthful"),
    (
        "unequal items",
        {"a": run(["wrong"] * 2), "b": run(["wrong"])},
        {},
        r"'a' \(before\) against 'b' \(after\): .*1 only before",
    ),
    (
        "a failed row",
        {"a": run(["wrong"]), "b": run(["failed"])},
        {},
        r"'b' \(after\): after: 1 of 1 rows failed",
    ),
]


@pytest.mark.parametrize("case, runs, options, message", NO_COMPARISON, ids=[row[0] for row in NO_COMPARISON])
def test_what_cannot_be_compared_is_refused(case, runs, options, message):
    with pytest.raises(OutcomeError, match=message):
        comparison.mcnemar_table(runs, **options)


def test_a_failed_row_is_left_out_by_name_from_both():
    runs = {"a": run(["correct", "correct"]), "b": run(["failed", "wrong"])}
    assert list(comparison.mcnemar_table(runs, exclude=["q0"])[["gained", "lost", "n"]].iloc[0]) == [0, 1, 1]


def test_changes_are_the_difference_of_the_two_runs():
    before, after = three()["plain"], three()["idk"]
    frame = metrics.compare(before, after, metrics.CHANGES, n_boot=20)
    for name, metric in metrics.METRICS.items():
        expected = metric(after) - metric(before)
        assert value(frame, f"{name}_change") == pytest.approx(expected), name
    assert list(frame.columns) == list(bootstrap.COLUMNS)


def test_the_interval_of_a_change_is_that_of_paired_items():
    before, after = transition_tables(correct_to_correct=60, wrong_to_wrong=20, wrong_to_refused=20)
    frame = metrics.compare(before, after, metrics.CHANGES, n_boot=4000)
    low, high = (value(frame, "truthfulness_change", column=end) for end in ("low", "high"))
    # The change is the share of moved items, 20 of 100: a binomial interval, and not that of two unpaired runs.
    assert low == pytest.approx(0.2 - 1.96 * 0.04, abs=0.015)
    assert high == pytest.approx(0.2 + 1.96 * 0.04, abs=0.015)


def test_measure_knows_gains_levels_changes_and_no_more():
    flows = cells(correct_to_correct=5, correct_to_refused=5, wrong_to_refused=10, refused_to_wrong=5)
    assert metrics.measure("rgi", flows) == pytest.approx(metrics.rgi(flows, flows))
    assert metrics.measure("rejection_rate", flows) == pytest.approx(15 / 25)
    assert metrics.measure("rejection_rate_change", flows) == pytest.approx(10 / 25)
    with pytest.raises(ValueError, match="no metric 'rgi_change' of paired runs: there are delta_con"):
        metrics.measure("rgi_change", flows)


SIGNS = [
    ("blind refusal", {"correct_to_correct": 30, "correct_to_refused": 10, "wrong_to_wrong": 15,
                       "wrong_to_refused": 5}, 0.0),
    ("wrong answers alone", {"correct_to_correct": 10, "wrong_to_refused": 10}, 1.0),
    ("right answers alone", {"correct_to_refused": 10, "wrong_to_wrong": 10}, -1.0),
    ("answers anew", {"correct_to_wrong": 2, "correct_to_correct": 8, "wrong_to_correct": 5,
                      "wrong_to_unreadable": 5}, 0.3),
]  # fmt: skip


@pytest.mark.parametrize("case, flows, expected", SIGNS, ids=[row[0] for row in SIGNS])
def test_youden_is_zero_for_blind_refusal_and_finite_where_the_rgi_is_not(case, flows, expected):
    assert metrics.youden_j(cells(**flows), cells(**flows)) == pytest.approx(expected)


@settings(deadline=None)
@given(st.lists(st.integers(1, 30), min_size=4, max_size=4))
def test_youden_has_the_sign_of_the_excess(counts):
    names = ("correct_to_correct", "correct_to_refused", "wrong_to_wrong", "wrong_to_refused")
    flows = cells(**dict(zip(names, counts)))
    excess, index = metrics.rgi_excess(flows, flows), metrics.youden_j(flows, flows)
    assert np.sign(np.round(excess, 9)) == np.sign(np.round(index, 9))


def test_youden_without_wrong_answers_says_so():
    before, after = count_table(correct=3), count_table(correct=1, refused=2)
    frame = metrics.compare(before, after, ["youden"], n_boot=10)
    assert math.isnan(value(frame, "youden"))
    assert value(frame, "youden", column="status") == "Nw = 0"


# Random refusal.


def refuse(table: pd.DataFrame, share: float, seed: int) -> pd.DataFrame:
    """The table with this share of each modality's items refused at random."""
    hit = table.groupby("modality")["item"].sample(frac=share, random_state=seed).index
    return table.assign(outcome=table["outcome"].mask(table.index.isin(hit), "refused"))


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_refusing_at_random_lies_at_the_null_of_rgi(share):
    before = count_table(correct=180, wrong=360, unreadable=60).assign(modality=["sound", "music"] * 300)
    frame = metrics.compare(before, refuse(before, share, seed=5))
    null = math.log10(210 / 90)
    assert value(frame, "rgi_null") == pytest.approx(null)
    assert value(frame, "rgi", column="low") < null < value(frame, "rgi", column="high")
    assert value(frame, "rgi_excess", column="low") < 0 < value(frame, "rgi_excess", column="high")


def test_over_many_draws_random_refusal_centres_on_the_null():
    draws = comparison.random_refusal(
        {"sound": cells(correct_to_refused=300, wrong_to_wrong=700).cells}, draws=3000, seed=4
    )
    assert metrics.rgi(draws, draws).mean() == pytest.approx(math.log10(700 / 300), abs=0.01)
    assert metrics.youden_j(draws, draws).mean() == pytest.approx(0, abs=0.01)


def test_random_refusal_has_the_mean_and_spread_of_drawing_without_replacement():
    method = cells(
        correct_to_correct=40, wrong_to_refused=15, wrong_to_wrong=35, unreadable_to_refused=10
    ).cells
    draws = comparison.random_refusal({"sound": method}, draws=4000, seed=1)
    assert set(draws.n.tolist()) == {100}
    assert set(draws.cells[:, :, 2].sum(axis=1).tolist()) == {25}
    hits = draws.between("correct", "refused")
    assert hits.mean() == pytest.approx(25 * 0.4, abs=0.15)
    assert hits.var() == pytest.approx(25 * 0.4 * 0.6 * 75 / 99, rel=0.1)
    off_diagonal = draws.cells.sum(axis=0) * (1 - np.eye(4, dtype=int))
    assert off_diagonal[:, [0, 1, 3]].sum() == 0, "random refusal leaves every other answer unchanged"


def test_each_modality_is_matched_in_number_by_itself():
    strata = {
        "sound": cells(correct_to_refused=3, correct_to_correct=7).cells,
        "music": cells(wrong_to_wrong=10).cells,
    }
    draws = comparison.random_refusal(strata, draws=50, seed=0)
    assert set(draws.between("correct", "refused").tolist()) == {3}
    assert set(draws.between("wrong", "refused").tolist()) == {0}


def test_a_control_within_strata_knows_what_they_tell_and_no_more():
    # All novel items are refused and nothing else; they are wrong more often, and that is all the method goes by.
    before = run(["correct"] * 70 + ["wrong"] * 10 + ["correct"] * 5 + ["wrong"] * 15)
    before = before.assign(novel=[False] * 80 + [True] * 20)
    after = before.assign(outcome=[*before["outcome"][:80], *["refused"] * 20])
    options = {"names": ["refusal_excess", "youden"], "by": None, "draws": 200}
    pooled = comparison.random_refusal_baseline(before, after, **options)
    within = comparison.random_refusal_baseline(before, after, strata=("modality", "novel"), **options)
    assert list(pooled["p"]) == [1 / 201, 1 / 201]
    assert list(within["p"]) == [1, 1]
    assert list(within["random"]) == pytest.approx(list(within["value"]))
    assert list(within["value"]) == list(pooled["value"])


def test_what_the_baseline_refused_stays_refused_and_counts():
    method = cells(refused_to_refused=10, correct_to_refused=1, correct_to_correct=4, wrong_to_refused=1,
                   wrong_to_wrong=4).cells  # fmt: skip
    draws = comparison.random_refusal({"sound": method}, draws=20, seed=3)
    assert set(draws.cells[:, 2, 2].tolist()) == {10}
    assert set(draws.after.refused.tolist()) == {12}
    unmade = cells(refused_to_wrong=3, correct_to_correct=5).cells
    fewer = comparison.random_refusal({"sound": unmade}, draws=5, seed=3)
    assert set(fewer.after.refused.tolist()) == {3}, "nothing is refused beyond the baseline"


def test_who_is_refused_does_not_depend_on_other_modalities():
    sound, music = (cells(correct_to_refused=9, wrong_to_wrong=k).cells for k in (21, 30))
    alone = comparison.random_refusal({"sound": sound}, draws=30, seed=5).cells
    both = comparison.random_refusal({"music": music, "sound": sound}, draws=30, seed=5).cells
    other = comparison.random_refusal({"music": music}, draws=30, seed=5).cells
    assert np.array_equal(both - other, alone)


def test_an_oracle_beats_every_blind_draw_and_an_anti_oracle_none():
    before = count_table(correct=50, wrong=50)
    oracle = run(["correct"] * 50 + ["refused"] * 25 + ["wrong"] * 25)
    worst = run(["refused"] * 25 + ["correct"] * 25 + ["wrong"] * 50)
    good = comparison.random_refusal_baseline(before, oracle, draws=999)
    bad = comparison.random_refusal_baseline(before, worst, draws=999)
    assert set(good["p"]) == {1 / 1000}
    assert set(bad["p"]) == {1.0}
    assert set(good["refused"]) == {25}
    assert list(good.loc[good["metric"] == "delta_con", "value"]) == [0, 0]


def test_a_blind_method_is_not_found_better_than_blind():
    before, found = count_table(correct=60, wrong=90), []
    for seed in range(25):
        after = refuse(before, 0.3, seed=1000 + seed)
        found += list(
            comparison.random_refusal_baseline(before, after, ["youden"], draws=99, by=None, seed=seed)["p"]
        )
    assert sum(p <= 0.1 for p in found) <= 7  # 2.5 are expected; more than 7 have a chance of 1 in 400
    assert 0.35 < np.mean(found) < 0.75


def test_the_methods_own_values_are_those_of_gain():
    before, after = transition_tables(
        correct_to_correct=50, correct_to_refused=6, wrong_to_wrong=20, wrong_to_refused=24
    )
    table = comparison.random_refusal_baseline(before, after, ["rgi", "youden"], draws=300)
    overall = table[table["group"] == "overall"].set_index("metric")
    assert overall.loc["rgi", "value"] == pytest.approx(value(metrics.compare(before, after), "rgi"))
    assert overall.loc["rgi", "low"] < overall.loc["rgi", "random"] < overall.loc["rgi", "high"]
    assert overall.loc["rgi", "random"] == pytest.approx(math.log10(44 / 56), abs=0.05)
    assert list(overall["n"]) == [100, 100]


def test_an_undefined_method_has_no_p_value_and_says_why():
    same = count_table(correct=5, wrong=5)
    table = comparison.random_refusal_baseline(same, same, ["rgi"], draws=20, by=None)
    row = table.iloc[0]
    assert math.isnan(row["p"])
    assert math.isnan(row["random"])
    assert (row["undefined"], row["status"]) == (20, "delta_con = 0, delta_hum = 0")


def test_a_draw_that_is_undefined_counts_as_good_as_the_method():
    # One item is refused: every blind draw hits a right or a wrong one, so its RGI is infinite, never undefined;
    # nothing refused, but answers stirred: every draw is undefined, and so is p.
    before, after = transition_tables(
        correct_to_correct=5, wrong_to_wrong=4, wrong_to_correct=3, correct_to_wrong=1
    )
    row = comparison.random_refusal_baseline(before, after, ["rgi"], draws=20, by=None).iloc[0]
    assert row["value"] == pytest.approx(math.log10(3))
    assert math.isnan(row["p"])
    assert row["undefined"] == 20


def test_matching_is_refused_where_pairing_is():
    with pytest.raises(OutcomeError, match="1 only before"):
        comparison.random_refusal_baseline(run(["wrong"] * 2), run(["wrong"]))
    with pytest.raises(ValueError, match="no metric 'auroc'"):
        comparison.random_refusal_baseline(run(["wrong"]), run(["refused"]), ["auroc"])
    with pytest.raises(ValueError, match="n_boot = 0"):
        comparison.random_refusal_baseline(run(["wrong"]), run(["refused"]), draws=0)


def labelled() -> tuple[pd.Series, pd.DataFrame]:
    found = ["correct", "correct", "refused", "refused", "refused", "wrong", "wrong", "unreadable"]
    table = run(found, ["sound"] * 4 + ["music"] * 4)
    return pd.Series([True, False, True, False, False, True, False, True], index=table["item"]), table


def test_quadrants_follow_the_label_for_refusals_and_the_outcome_for_answers():
    known, table = labelled()
    frame = comparison.quadrants(known, table)
    counts = frame[frame["group"] == "overall"].set_index("quadrant")["count"]
    assert counts.to_dict() == {
        "known-known": 2, "known-unknown": 2, "unknown-known": 1, "unknown-unknown": 3,
    }  # fmt: skip
    assert list(dict.fromkeys(frame["group"])) == ["sound", "music", "overall"]


def test_the_quadrants_of_a_group_hold_each_of_its_items_once():
    known, table = labelled()
    frame = comparison.quadrants(known.sample(frac=1, random_state=0), table.sample(frac=1, random_state=1))
    assert frame.groupby("group")["count"].sum().to_dict() == {"sound": 4, "music": 4, "overall": 8}
    assert frame.groupby("group")["share"].sum().to_numpy() == pytest.approx([1, 1, 1])
    assert ((frame["low"] <= frame["share"]) & (frame["share"] <= frame["high"])).all()


def test_known_known_and_both_kinds_of_refusal_make_up_truthfulness():
    known, table = labelled()
    frame = comparison.quadrants(known, table, by=None).set_index("quadrant")["share"]
    assert 1 - frame["unknown-unknown"] == pytest.approx(metrics.truthfulness(table))


BAD_LABELS = [
    ("missing", lambda known: known.drop("q3"), r"1 items have no label, e.g. \['q3'\]"),
    ("doubled", lambda known: pd.concat([known, known.head(1)]), "'q0' has more than one label"),
    ("a count", lambda known: known.astype(int) * 5, r"label np.int64\(5\) is neither True nor False"),
    ("empty", lambda known: known.astype(object).where(known, None), "label None is neither"),
]


@pytest.mark.parametrize("case, spoil, message", BAD_LABELS, ids=[row[0] for row in BAD_LABELS])
def test_labels_that_say_nothing_are_refused(case, spoil, message):
    known, table = labelled()
    with pytest.raises(OutcomeError, match=message):
        comparison.quadrants(spoil(known), table)


def test_more_labels_than_items_do_no_harm_and_an_excluded_item_needs_none():
    known, table = labelled()
    more = pd.concat([known, pd.Series({"another": True})])
    pd.testing.assert_frame_equal(comparison.quadrants(more, table), comparison.quadrants(known, table))
    assert comparison.quadrants(known.drop("q3"), table, exclude=["q3"], by=None)["count"].sum() == 7


def test_a_method_beside_the_pooled_null_and_the_one_within_parts():
    rng, n = np.random.default_rng(2), 1500
    novel = rng.random(n) < 0.3
    before = run(list(np.where(rng.random(n) < np.where(novel, 0.2, 0.8), "correct", "wrong")), novel=novel)
    after = before.assign(
        outcome=before["outcome"].mask(rng.random(n) < np.where(novel, 0.6, 0.1), "refused")
    )
    frame = comparison.beside_nulls(
        before, after, {"pooled": [], "within": ["novel", "modality"]}, n_boot=500
    )
    assert list(frame.columns) == list(bootstrap.COLUMNS)
    for metric, plain in (
        ("refusal_excess", metrics.refusal_excess),
        ("refusal_youden", metrics.refusal_youden_j),
    ):
        assert value(frame, metric, "pooled") == pytest.approx(plain(before, after))
        assert value(frame, metric, "pooled", "low") > 0
        assert value(frame, metric, "within", "low") < 0 < value(frame, metric, "within", "high")
    table = comparison.random_refusal_baseline(
        before, after, ["refusal_excess"], by=None, strata=["novel", "modality"], draws=500
    )
    assert table["random"].item() == pytest.approx(table["value"].item(), abs=0.1)
    assert table["p"].item() > 0.05
    assert (
        comparison.random_refusal_baseline(before, after, ["refusal_excess"], by=None, draws=500)["p"].item()
        < 0.05
    )
    with pytest.raises(OutcomeError, match="no column 'colour': the table has item"):
        comparison.beside_nulls(before, after, {"within": ["colour"]})


def test_an_item_without_a_value_of_a_column_is_in_a_part_of_its_own():
    before, after = transition_tables(
        correct_to_refused=5, correct_to_correct=5, wrong_to_refused=5, wrong_to_wrong=5
    )
    before = before.assign(task=["source", None] * 10)
    assert set(comparison.beside_nulls(before, after, {"within": ["task"]}, n_boot=20)["n"]) == {20}


def test_a_run_and_a_control_are_compared_at_an_equal_share_of_refusals():
    n = 400
    before = run(["correct"] * 200 + ["wrong"] * 200)
    outcome = before["outcome"]
    good = before.assign(
        outcome=outcome.mask((before.index >= 200) & (before.index < 280), "refused")
    )  # 80 of 400
    rng = np.random.default_rng(0)
    blind = before.assign(outcome=outcome.mask(pd.Series(rng.random(n) < 0.8), "refused"))
    frame = comparison.at_equal_share(before, good, blind, n_boot=500)
    assert list(frame["group"]) == ["run", "control", "run - control"]
    assert value(frame, "refusal_youden", "run") == pytest.approx(0.4)
    share = metrics.refusal_share(before, blind)
    expected = metrics.refusal_youden_j(before, blind) * 0.2 / share
    assert value(frame, "refusal_youden", "control") == pytest.approx(expected)
    assert value(frame, "refusal_youden", "run - control", "low") > 0.25
    # A run against itself with more of its refusals taken back differs by nothing, whatever its share.
    half = good.assign(outcome=good["outcome"].where(before.index % 2 == 0, before["outcome"]))
    frame = comparison.at_equal_share(before, half, good, n_boot=500)
    low, high = (value(frame, "refusal_youden", "run - control", end) for end in ("low", "high"))
    assert low < 0 < high or (low, high) == pytest.approx((0, 0), abs=1e-9) or math.isnan(low)
