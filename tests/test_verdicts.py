"""Claims: each verdict follows from where an interval lies, and the printed numbers from paper.py."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from lalm_utils import verdicts

SIDES = [
    ("above zero, as claimed", "rgi", 0.1, 0.4, verdicts.HOLDS),
    ("below zero, against the claim", "rgi", -0.4, -0.1, verdicts.FAILS),
    ("around zero", "rgi", -0.1, 0.4, verdicts.OPEN),
    ("touching zero", "rgi", 0.0, 0.4, verdicts.OPEN),
    ("no interval", "rgi", math.nan, math.nan, verdicts.UNDEFINED),
    ("open to infinity", "rgi", 0.1, math.inf, verdicts.HOLDS),
    ("a fall that is claimed", "accuracy_change", -0.2, -0.1, verdicts.HOLDS),
    ("a rise where a fall is claimed", "accuracy_change", 0.1, 0.2, verdicts.FAILS),
]


def measured(metric: str = "rgi", value: float = 0.2, low: float = 0.1, high: float = 0.4) -> pd.DataFrame:
    row = {"method": "IDK prompt", "metric": metric, "value": value, "low": low, "high": high}
    return pd.DataFrame([row])


@pytest.mark.parametrize("case, metric, low, high, verdict", SIDES, ids=[row[0] for row in SIDES])
def test_a_verdict_follows_from_the_interval(case, metric, low, high, verdict):
    row = verdicts.judged(measured(metric, low=low, high=high)).iloc[0]
    assert row["verdict"] == verdict
    assert f" {verdict} (" in row["sentence"]


def test_a_sentence_holds_the_number_its_interval_and_the_papers_own():
    said = verdicts.judged(measured())["sentence"].iloc[0]
    assert said.startswith("IDK prompt: that more wrong answers than right ones")
    assert said.endswith("carries over (+0.20 [+0.10, +0.40] here, +0.16 printed).")
    unsure = verdicts.judged(measured("youden", math.inf, math.nan, math.nan))["sentence"].iloc[0]
    assert unsure.endswith("cannot be judged here (+inf, no interval here, not printed).")


def test_verdicts_are_counted_in_one_sentence():
    rows = pd.concat([measured(), measured(low=-0.1), measured(low=-0.2), measured(low=math.nan)])
    assert verdicts.tally(verdicts.judged(rows)) == (
        "Of 4 claims, each of one method, 1 carry over, 2 are not settled, 1 cannot be judged here."
    )


PRINTED = [
    ("IDK prompt", "reliability_change", 0.6485 - 0.5560),
    ("LoRA SFT", "reliability_change", 0.6568 - 0.5560),
    ("Task Agent", "accuracy_change", 0.527 - 0.556),
    ("MCoT prompt", "rgi", 0.15),
    ("MCoT prompt", "rgi_excess", 0.15 - math.log10(444 / 556)),
]


@pytest.mark.parametrize("method, metric, expected", PRINTED)
def test_printed_numbers_are_the_papers_totals(method, metric, expected):
    assert verdicts.printed(method, metric) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    "method, metric", [("a method of ours", "rgi"), ("Baseline", "rgi"), ("IDK prompt", "youden")]
)
def test_what_the_paper_does_not_print_is_empty(method, metric):
    assert math.isnan(verdicts.printed(method, metric))


def test_a_metric_without_a_claim_is_refused():
    with pytest.raises(
        ValueError, match="nothing is claimed about 'delta_con': the claims are on reliability_ch"
    ):
        verdicts.judged(measured("delta_con"))


def frames(
    gain: tuple[float, float, float], over: tuple[float, float, float]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    where = {"part": "all", "tested_on": "overall", "domain": "out", "metric": "youden", "n": 150}
    outside = pd.DataFrame([where | dict(zip(("value", "low", "high"), gain))])
    control = pd.DataFrame([where | {"trained_on": "mean"} | dict(zip(("value", "low", "high"), over))])
    return outside, control


ANSWERS = [
    (
        "both above",
        (0.2, 0.1, 0.3),
        (0.2, 0.1, 0.3),
        "Yes: ",
        "adapters beat blind refusal (Youden's J +0.20 [+0.10",
    ),
    ("no gain", (0.0, -0.1, 0.1), (0.2, 0.1, 0.3), "No: ", "do not measurably beat blind refusal"),
    ("a loss", (-0.2, -0.3, -0.1), (0.2, 0.1, 0.3), "No: ", "fall behind blind refusal"),
    (
        "no more than the control",
        (0.2, 0.1, 0.3),
        (0.0, -0.1, 0.1),
        "No: ",
        "do not measurably beat shuffled",
    ),
    ("undefined", (math.nan,) * 3, (0.2, 0.1, 0.3), "No: ", "cannot be held to blind refusal"),
]


@pytest.mark.parametrize("case, gain, over, begins, holds", ANSWERS, ids=[row[0] for row in ANSWERS])
def test_the_answer_on_transfer_is_computed(case, gain, over, begins, holds):
    outside, control = frames(gain, over)
    said = verdicts.meta_ability(outside, {"shuffled labels": control})
    assert said.startswith(begins)
    assert holds in said
    assert said.endswith("n = 150 items.")


def test_every_control_must_be_beaten():
    outside, control = frames((0.2, 0.1, 0.3), (0.2, 0.1, 0.3))
    _, weaker = frames((0.2, 0.1, 0.3), (0.1, -0.1, 0.3))
    said = verdicts.meta_ability(outside, {"shuffled labels": control, "the prompt alone": weaker})
    assert said.startswith("No: ")
    assert (
        "beat shuffled labels (difference +0.20 [+0.10, +0.30]), do not measurably beat the prompt alone"
        in said
    )


def test_the_answer_refuses_frames_without_the_metric():
    outside, control = frames((0.2, 0.1, 0.3), (0.2, 0.1, 0.3))
    with pytest.raises(ValueError, match="0 rows where"):
        verdicts.meta_ability(outside, {"shuffled labels": control}, metric="rgi_excess")


def test_pairs_above_zero_are_counted_with_what_is_undefined():
    rows = [(0.3, 0.1), (0.2, -0.1), (-0.2, -0.4), (math.inf, math.nan), (math.nan, math.nan)]
    frame = pd.DataFrame(rows, columns=["value", "low"]).assign(metric="rgi", seed="mean", domain="out")
    said = verdicts.pairs_above(pd.concat([frame, frame.assign(seed="0"), frame.assign(domain="in")]))
    assert said == (
        "Of 5 pairs out of domain, the RGI is above zero in 3, with its whole interval in 1, and undefined in 1."
    )
    assert verdicts.pairs_above(frame.assign(domain="in").head(1), domain="in").startswith(
        "Of 1 pairs in domain"
    )
