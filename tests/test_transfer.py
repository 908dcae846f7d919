"""Transfer: matrices against single gains, averages within resamples, controls, parts; and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from outcome_tables import run, value

from lalm_utils import bootstrap, comparison, metrics, outcomes, transfer
from lalm_utils.outcomes import OutcomeError

MODALITIES = ("sound", "music", "speech")
EACH = 60  # items of a modality


def baseline() -> pd.DataFrame:
    """Half of each modality is right, a third of it novel, in alternating rows."""
    table = run(["correct", "wrong"] * (EACH * 3 // 2), [m for m in MODALITIES for _ in range(EACH)])
    return table.assign(novel=[k % 3 == 0 for k in range(len(table))])


def refusing(right: float, wrong: float, *, seed: int = 0, table: pd.DataFrame | None = None) -> pd.DataFrame:
    """The baseline with this share of right and of wrong answers refused, in each modality."""
    table = baseline() if table is None else table
    rng, hit = np.random.default_rng(seed), pd.Series(False, index=table.index)
    for (_modality, outcome), rows in table.groupby(["modality", "outcome"]):
        count = round((right if outcome == "correct" else wrong) * len(rows))
        hit[rng.choice(rows.index, size=count, replace=False)] = True
    return table.assign(outcome=table["outcome"].mask(hit, "refused"))


def adapters(right: float = 0.2, wrong: float = 0.6, seeds: int = 2) -> dict[str, list[pd.DataFrame]]:
    return {
        modality: [refusing(right, wrong, seed=10 * k + index) for index in range(seeds)]
        for k, modality in enumerate(MODALITIES)
    }


def cell(frame: pd.DataFrame, metric: str, column: str = "value", **where: str):
    rows = frame[frame["metric"] == metric]
    for name, expected in where.items():
        rows = rows[rows[name] == expected]
    [result] = rows[column]
    return result


def test_a_matrix_has_every_adapter_on_every_modality_per_seed_and_as_mean():
    frame = transfer.matrix(baseline(), adapters(), ["rgi", "delta_con"], n_boot=20)
    assert len(frame) == 3 * 3 * 3 * 2
    assert set(frame["seed"]) == {"0", "1", "mean"}
    assert set(frame["n"]) == {EACH}
    inside = frame[frame["domain"] == "in"]
    assert (inside["trained_on"] == inside["tested_on"]).all()
    assert (frame["domain"] == "in").sum() == len(frame) / 3


def test_a_single_seeds_row_is_what_gain_says_of_that_modality():
    before, runs = baseline(), adapters()
    frame = transfer.matrix(before, runs, ["rgi", "rgi_excess", "delta_hum"], n_boot=4000)
    expected = metrics.compare(before, runs["music"][1], n_boot=4000)
    where = {"trained_on": "music", "tested_on": "speech", "seed": "1"}
    for metric in ("rgi", "rgi_excess", "delta_hum"):
        assert cell(frame, metric, **where) == pytest.approx(value(expected, metric, "speech"))
        for end in ("low", "high"):
            draws = cell(frame, metric, end, **where)
            assert draws == pytest.approx(value(expected, metric, "speech", end), abs=0.06), (metric, end)


def test_reliability_of_a_cell_is_that_of_the_run():
    before, runs = baseline(), adapters()
    frame = transfer.matrix(before, runs, ["reliability"], n_boot=10)
    run_ = runs["sound"][0]
    expected = metrics.reliability(run_[run_["modality"] == "music"])
    result = cell(frame, "reliability", trained_on="sound", tested_on="music", seed="0")
    assert result == pytest.approx(expected)


def test_the_mean_over_seeds_is_the_mean_of_their_values_and_is_narrower_than_one_seed():
    frame = transfer.matrix(baseline(), adapters(seeds=4), ["youden"], n_boot=1000)
    rows = frame[(frame["trained_on"] == "sound") & (frame["tested_on"] == "music")].set_index("seed")
    single = rows.drop(index="mean")
    assert rows.loc["mean", "value"] == pytest.approx(single["value"].mean())
    width = rows["high"] - rows["low"]
    assert width["mean"] < width.drop("mean").min()


def test_seeds_that_agree_on_every_item_are_as_uncertain_as_one():
    same = [refusing(0.2, 0.6)] * 3
    frame = transfer.matrix(baseline(), {"sound": same}, ["youden"], n_boot=300).set_index("seed")
    rows = frame[frame["tested_on"] == "sound"]
    for column in ("value", "low", "high"):
        assert rows.loc["mean", column] == pytest.approx(rows.loc["0", column])


def test_few_seeds_that_differ_widen_the_interval_by_as_much_as_their_variance_says():
    # no item varies: each stratum is all wrong before, so that J is the share refused, and seeds differ in it alone
    before = baseline().assign(outcome=["correct", "wrong"] * (EACH * 3 // 2))
    runs = [before.assign(outcome=before["outcome"].mask(before["outcome"] == "wrong", after))
            for after in ("refused", "wrong", "refused")]  # fmt: skip
    frame = transfer.pooled_metrics(before, {"chosen": runs}, ["refusal_youden"], n_boot=4000).iloc[0]
    assert frame["value"] == pytest.approx(2 / 3)
    draws = bootstrap.seed_draws(3, n_boot=4000, seed=0, name="chosen")
    means = np.array([1.0, 0.0, 1.0])[draws].mean(axis=1)
    assert means.var() == pytest.approx(np.var([1, 0, 1], ddof=1) / 3, rel=0.05)
    assert (frame["low"], frame["high"]) == (0, 1)
    assert bootstrap.seed_draws(1, n_boot=5, seed=0) is None


def test_intervals_of_trained_runs_cover_other_seeds_as_well_as_other_items():
    rng, covered, by_item, repeats = np.random.default_rng(5), 0, 0, 60
    for _ in range(repeats):
        rates = rng.normal(0.5, 0.12, size=5).clip(0, 1)  # of refusing a wrong answer, by training seed
        runs = [refusing(0, rate, seed=int(rng.integers(1e9))) for rate in rates]
        frame = transfer.pooled_metrics(baseline(), {"chosen": runs}, ["refusal_youden"], n_boot=200).iloc[0]
        alone = transfer.pooled_metrics(
            baseline(), {"chosen": runs[:1]}, ["refusal_youden"], n_boot=200
        ).iloc[0]
        covered += frame["low"] <= 0.5 <= frame["high"]
        by_item += alone["low"] <= 0.5 <= alone["high"]
    assert covered >= 0.85 * repeats
    assert by_item < 0.75 * repeats  # one training, items alone: the interval does not know of other seeds


def test_runs_pooled_are_the_metric_of_the_whole_table_and_differences_are_paired():
    before, runs = baseline(), {"chosen": [refusing(0.1, 0.7)], "control": [refusing(0.4, 0.5, seed=9)]}
    frame = transfer.pooled_metrics(before, runs, ["refusal_youden", "accuracy"], by="novel", n_boot=50)
    assert set(frame["part"]) == {"all", "False", "True"}
    for name, [table] in runs.items():
        result = cell(frame, "refusal_youden", part="all", run=name)
        assert result == pytest.approx(metrics.refusal_youden_j(before, table))
        assert cell(frame, "accuracy", part="all", run=name) == pytest.approx(metrics.accuracy(table))
    less = transfer.pooled_differences(
        before, {"chosen": runs["chosen"]}, runs, ["refusal_youden"], n_boot=50
    )
    assert cell(less, "refusal_youden", less="chosen") == 0
    assert cell(less, "refusal_youden", less="control") == pytest.approx(0.6 - 0.1, abs=0.02)


def test_a_run_that_refuses_novel_items_alone_has_nothing_above_blind_refusal_within_parts():
    before = baseline()
    rows = before["novel"] & (before["outcome"] == "wrong")
    mostly_wrong = before.assign(outcome=before["outcome"].mask(before["novel"], "wrong"))
    refuses_novel = mostly_wrong.assign(outcome=mostly_wrong["outcome"].mask(before["novel"], "refused"))
    assert rows.any()
    names = ["refusal_youden", transfer.WITHIN_PARTS]
    frame = transfer.pooled_metrics(mostly_wrong, {"idk": [refuses_novel]}, names, by="novel", n_boot=50)
    assert cell(frame, "refusal_youden", part="all") > 0.4
    assert cell(frame, transfer.WITHIN_PARTS, part="all") == pytest.approx(0)


def test_a_control_that_refuses_more_is_compared_at_equal_share():
    before = baseline()
    runs, control = {"chosen": [refusing(0.2, 0.6)]}, {"shuffled": [refusing(0.4, 1.0, seed=3)]}
    names = ["refusal_youden", transfer.AT_EQUAL_SHARE]
    frame = transfer.pooled_differences(before, runs, control, names, n_boot=50)
    assert cell(frame, "refusal_youden") == pytest.approx(0.4 - 0.6)
    # the control refuses .7 of the answers against .4: four sevenths of its J are left
    assert cell(frame, transfer.AT_EQUAL_SHARE) == pytest.approx(0.4 - 0.6 * 0.4 / 0.7)
    both = dict.fromkeys(MODALITIES, runs["chosen"]), dict.fromkeys(MODALITIES, control["shuffled"])
    by_cell = transfer.against_control(before, *both, [transfer.AT_EQUAL_SHARE], n_boot=50)
    result = cell(by_cell, transfer.AT_EQUAL_SHARE, trained_on="mean", domain="out")
    assert result == pytest.approx(0.4 - 0.6 * 0.4 / 0.7)


def test_at_equal_share_both_sides_refuse_equally_often_whatever_their_seeds_do():
    # Wrong answers are refused four times as often as right ones, by all; the mean shares are equal.
    before = baseline()
    uneven = {"chosen": [refusing(0.05, 0.2), refusing(0.15, 0.6, seed=1)]}
    even = {"shuffled": [refusing(0.1, 0.4, seed=2), refusing(0.1, 0.4, seed=3)]}
    frame = transfer.pooled_differences(
        before, uneven, even, ["refusal_youden", transfer.AT_EQUAL_SHARE], n_boot=50
    )
    assert cell(frame, "refusal_youden") == pytest.approx(0, abs=1e-12)
    assert cell(frame, transfer.AT_EQUAL_SHARE) == pytest.approx(0, abs=1e-12)


def test_the_null_is_given_where_a_metric_has_one():
    before = refusing(0, 0, table=baseline().assign(outcome=["correct", "wrong", "wrong"] * EACH))
    frame = transfer.matrix(before, {"sound": [before]}, ["rgi", "rgi_excess", "reliability"], n_boot=5)
    where = {"tested_on": "sound", "seed": "mean"}
    assert cell(frame, "rgi", "null", **where) == pytest.approx(math.log10(2))
    assert cell(frame, "rgi_excess", "null", **where) == 0
    assert math.isnan(cell(frame, "reliability", "null", **where))


def test_an_infinite_rgi_says_why_and_has_no_interval_while_youden_is_finite():
    frame = transfer.matrix(baseline(), {"sound": [refusing(0, 0.5), refusing(0.2, 0.5)]}, ["rgi", "youden"])
    where = {"tested_on": "music", "seed": "mean"}
    assert cell(frame, "rgi", **where) == math.inf
    assert cell(frame, "rgi", "status", **where) == "delta_con = 0"
    assert math.isnan(cell(frame, "rgi", "low", **where))
    assert 900 < cell(frame, "rgi", "infinite", **where) < 1100  # the resamples that draw the infinite seed
    assert math.isfinite(cell(frame, "rgi", tested_on="music", seed="1"))
    assert cell(frame, "youden", "low", **where) > 0


def test_the_order_of_rows_does_not_matter_and_neither_do_the_other_adapters():
    before, runs = baseline(), adapters()
    shuffled = {name: [table.sample(frac=1, random_state=3) for table in runs[name]] for name in runs}
    first = transfer.matrix(before, runs, ["rgi"], n_boot=50)
    again = transfer.matrix(before.sample(frac=1, random_state=4), shuffled, ["rgi"], n_boot=50)
    pd.testing.assert_frame_equal(first, again)
    alone = transfer.matrix(before, {"music": runs["music"]}, ["rgi"], n_boot=50)
    fewer = first[first["trained_on"] == "music"].reset_index(drop=True)
    pd.testing.assert_frame_equal(fewer, alone)


def test_out_of_domain_is_the_mean_of_the_other_adapters():
    before, runs = baseline(), adapters()
    frame = transfer.out_of_domain(before, runs, ["delta_hum"], n_boot=50)
    cells = transfer.matrix(before, runs, ["delta_hum"], n_boot=50)
    means = cells[cells["seed"] == "mean"].set_index(["trained_on", "tested_on"])["value"]
    out = (means["music", "sound"] + means["speech", "sound"]) / 2
    assert cell(frame, "delta_hum", tested_on="sound", domain="out") == pytest.approx(out)
    assert cell(frame, "delta_hum", tested_on="sound", domain="in") == pytest.approx(means["sound", "sound"])
    difference = cell(frame, "delta_hum", tested_on="sound", domain="in - out")
    assert difference == pytest.approx(means["sound", "sound"] - out)


def test_overall_is_the_mean_of_the_modalities_with_a_narrower_interval():
    frame = transfer.out_of_domain(baseline(), adapters(), ["reliability"], n_boot=800)
    out = frame[frame["domain"] == "out"].set_index("tested_on")
    assert out.loc["overall", "value"] == pytest.approx(out.loc[list(MODALITIES), "value"].mean())
    width = out["high"] - out["low"]
    assert width["overall"] < width[list(MODALITIES)].min() * 0.8
    assert out.loc["overall", "n"] == 3 * EACH


def test_the_interval_of_in_minus_out_covers_the_truth_about_as_often_as_it_says():
    # All adapters refuse alike, each with its own dice, so in - out is zero in truth.
    hits = 0
    for seed in range(25):
        rng = np.random.default_rng(seed)
        runs = {m: [_alike(rng)] for m in MODALITIES}
        frame = transfer.out_of_domain(baseline(), runs, ["truthfulness"], n_boot=100, seed=seed)
        row = frame[(frame["tested_on"] == "overall") & (frame["domain"] == "in - out")].iloc[0]
        hits += row["low"] <= 0 <= row["high"]
    assert hits >= 20  # 24 are expected; fewer than 20 have a chance of 1 in 800


def _alike(rng: np.random.Generator) -> pd.DataFrame:
    table = baseline()
    return table.assign(outcome=table["outcome"].mask(pd.Series(rng.random(len(table)) < 0.4), "refused"))


def test_adapters_that_gain_only_in_their_domain_show_it():
    before = baseline()
    runs = {
        m: [before.assign(outcome=before["outcome"].mask(before["modality"] == m, good["outcome"]))]
        for m, good in zip(MODALITIES, [refusing(0, 0.8, seed=k) for k in range(3)])
    }
    frame = transfer.out_of_domain(before, runs, ["youden"], n_boot=300)
    assert cell(frame, "youden", tested_on="overall", domain="in") == pytest.approx(0.8)
    assert cell(frame, "youden", tested_on="overall", domain="out") == pytest.approx(0)
    assert cell(frame, "youden", "low", tested_on="overall", domain="in - out") > 0.5


def test_a_modality_without_an_adapter_of_its_own_has_no_row_in_domain():
    frame = transfer.out_of_domain(baseline(), {"sound": [refusing(0.1, 0.5)]}, ["youden"], n_boot=20)
    result = set(zip(frame["tested_on"], frame["domain"]))
    assert result == {
        ("sound", "in"), ("music", "out"), ("speech", "out"),
        ("overall", "in"), ("overall", "out"),
    }  # fmt: skip


def test_a_mix_that_contains_the_trained_modality_is_in_domain():
    table = run(["correct", "wrong"] * 4, ["mix-sound-speech"] * 8)
    frame = transfer.matrix(table, {"sound": [table], "music": [table]}, ["delta_con"], n_boot=5)
    assert dict(zip(frame["trained_on"], frame["domain"])) == {"sound": "in", "music": "out"}


def test_against_control_is_the_difference_on_the_same_items():
    before, runs, control = baseline(), adapters(), adapters(0.4, 0.4, seeds=1)
    frame = transfer.against_control(before, runs, control, ["youden"], n_boot=300)
    a, b = (transfer.matrix(before, which, ["youden"], n_boot=300) for which in (runs, control))
    where = {"trained_on": "music", "tested_on": "speech"}
    expected = cell(a, "youden", seed="mean", **where) - cell(b, "youden", seed="mean", **where)
    assert cell(frame, "youden", **where) == pytest.approx(expected)
    assert cell(frame, "youden", "low", trained_on="mean", domain="out") > 0


def test_an_adapter_against_itself_differs_by_nothing_which_is_no_certainty():
    frame = transfer.against_control(baseline(), adapters(), adapters(), ["youden", "reliability"], n_boot=50)
    assert (frame["value"].abs() < 1e-12).all()
    assert frame[["low", "high"]].isna().all(axis=None)
    assert set(frame["status"]) == {bootstrap.NO_WIDTH}
    assert set(frame["tested_on"]) == {*MODALITIES, "overall"}


def test_parts_are_analysed_apart():
    before, runs = baseline(), adapters()
    frame = transfer.matrix(before, runs, ["delta_hum"], by="novel", n_boot=20)
    assert set(frame["part"]) == {"False", "True"}
    ids = before.loc[before["novel"], "item"]
    alone = transfer.matrix(
        before[before["novel"]], {m: [t[t["item"].isin(ids)] for t in runs[m]] for m in runs}, ["delta_hum"],
        n_boot=20,
    )  # fmt: skip
    pd.testing.assert_frame_equal(
        frame[frame["part"] == "True"].reset_index(drop=True).drop(columns="part"), alone.drop(columns="part")
    )
    for of in (transfer.out_of_domain(before, runs, ["delta_hum"], by="novel", n_boot=5),
               transfer.against_control(before, runs, runs, ["delta_hum"], by="novel", n_boot=5)):  # fmt: skip
        assert set(of["part"]) == {"False", "True"}


def test_beside_controls_has_three_kinds_a_cell_and_blind_refusal_is_matched_in_number():
    before, runs = baseline(), adapters(seeds=1)
    frame = transfer.beside_controls(before, runs, adapters(0.4, 0.4, seeds=2), "delta_con", n_boot=600)
    assert len(frame) == 27
    blind = cell(frame, "delta_con", kind="random refusal", trained_on="sound", tested_on="music")
    refused = (runs["sound"][0].query("modality == 'music'")["outcome"] == "refused").mean()
    assert blind == pytest.approx(refused * 0.5, abs=0.01)
    one = comparison.random_refusal_baseline(before, runs["sound"][0], ["delta_con"], draws=600)
    assert blind == pytest.approx(cell(one, "delta_con", "random", group="music"), abs=0.01)


def test_blind_refusal_that_refuses_nothing_is_undefined_and_counted():
    same = baseline()
    frame = transfer.beside_controls(same, {"sound": [same]}, {"sound": [same]}, "rgi_excess", n_boot=10)
    rows = frame[frame["kind"] == "random refusal"]
    assert rows["value"].isna().all()
    assert set(rows["undefined"]) == {10}


def test_routed_takes_each_modality_from_the_adapter_named_for_it():
    runs = adapters()
    route = {"sound": "music", "music": "speech", "speech": "sound"}
    table = transfer.route_tables(runs, route, index=1)
    for tested, trained in route.items():
        expected = runs[trained][1].query("modality == @tested").set_index("item")["outcome"]
        result = table[table["modality"] == tested].set_index("item")["outcome"]
        assert result.equals(expected)
    assert len(comparison.mcnemar_table({"plain": baseline(), "routed": table}, on="truthful")) == 1


def test_routes_never_lead_a_modality_to_its_own_adapter():
    assert transfer.routes(adapters()) == [
        {"sound": "music", "music": "speech", "speech": "sound"},
        {"sound": "speech", "music": "sound", "speech": "music"},
    ]
    assert transfer.routes({"sound": [baseline()]}) == []


def one_item_less() -> dict[str, list[pd.DataFrame]]:
    return {"sound": [refusing(0.1, 0.5), refusing(0.1, 0.5).iloc[1:]]}


REFUSED = [
    ("no runs", {}, {}, "runs is empty"),
    ("a table, not a list", {"sound": baseline()}, {}, r"runs\['sound'\] is one table: give a list"),
    ("an empty list", {"sound": []}, {}, r"runs\['sound'\] is empty"),
    ("other items", one_item_less(), {}, r"trained on 'sound', seed 1: .*1 only before"),
    (
        "a failed row",
        {"sound": [baseline().assign(outcome="failed")]},
        {},
        "trained on 'sound', seed 0: after: 180 of 180 rows failed",
    ),
    ("an unknown column", adapters(), {"by": "colour"}, "no column 'colour' to group by"),
    ("an unknown metric", adapters(), {"names": ["auroc"]}, "no metric 'auroc'"),
    ("no resample", adapters(), {"n_boot": 0}, "n_boot = 0"),
    ("a level of 95", adapters(), {"level": 95}, "level = 95"),
]


@pytest.mark.parametrize("case, runs, options, message", REFUSED, ids=[row[0] for row in REFUSED])
def test_runs_that_cannot_be_analysed_are_refused(case, runs, options, message):
    with pytest.raises(ValueError, match=message):
        transfer.matrix(baseline(), runs, **options)


def test_an_item_that_failed_somewhere_is_left_out_everywhere_by_name():
    before, runs = baseline(), adapters(seeds=1)
    broken = runs["sound"][0].copy()
    broken.loc[0, "outcome"] = "failed"
    frame = transfer.matrix(before, runs | {"sound": [broken]}, ["delta_con"], exclude=["q0"], n_boot=5)
    assert set(frame.loc[frame["tested_on"] == "sound", "n"]) == {EACH - 1}


def test_items_that_failed_in_any_table_are_named_once():
    broken, runs = baseline(), adapters(seeds=1)
    broken.loc[[3, 7], "outcome"] = "failed"
    runs["music"][0].loc[[0, 3], "outcome"] = "failed"
    assert outcomes.failed_ids(broken, baseline(), runs) == ["q0", "q3", "q7"]
    assert outcomes.failed_ids(baseline()) == []


def test_a_control_for_other_adapters_is_refused():
    for function in (transfer.against_control, transfer.beside_controls):
        with pytest.raises(
            OutcomeError, match="adapters trained on sound, music, speech, but controls on sound"
        ):
            function(baseline(), adapters(), {"sound": [refusing(0.1, 0.2)]})


@pytest.mark.parametrize(
    "case, route, index, message",
    [
        (
            "an adapter that is not there",
            {"sound": "voice"},
            0,
            r"no adapter 'voice', seed 0: there are sound \(2",
        ),
        ("a seed that is not there", {"sound": "music"}, 2, "no adapter 'music', seed 2"),
        ("a modality without items", {"mix-sound-music": "sound"}, 0, "no item is of the modalities mix"),
    ],
)
def test_a_route_that_leads_nowhere_is_refused(case, route, index, message):
    with pytest.raises(OutcomeError, match=message):
        transfer.route_tables(adapters(), route, index=index)


def test_a_difference_of_infinities_is_undefined_and_keeps_both_reasons():
    left = transfer.BootstrapEstimate(values=np.array([math.inf, 1.0]), status="delta_con = 0")
    right = transfer.BootstrapEstimate(values=np.array([math.inf, 0.5]), status="Nc = 0")
    difference = left - right
    assert math.isnan(difference.values[0])
    assert difference.status == "delta_con = 0, Nc = 0"
    assert difference.row("rgi", 5, 0.95)["status"] == "delta_con = 0, Nc = 0"
    assert (difference - left).status == "delta_con = 0, Nc = 0", "a reason is given once"
    assert (right - transfer.mean([right, right])).row("rgi", 5, 0.95)["n"] == 5


def test_the_excess_of_a_cell_is_its_rgi_above_the_null():
    before = baseline().assign(outcome=["correct", "wrong", "wrong"] * EACH)
    after = refusing(0.2, 0.4, table=before)
    frame = transfer.matrix(before, {"sound": [after]}, ["rgi", "rgi_excess"], n_boot=5)
    where = {"tested_on": "speech", "seed": "mean"}
    excess = cell(frame, "rgi", **where) - cell(frame, "rgi", "null", **where)
    assert cell(frame, "rgi_excess", **where) == pytest.approx(excess)
    assert metrics.GAINS.keys() >= {"rgi", "rgi_excess"}
