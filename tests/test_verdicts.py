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
    row = verdicts.judge(measured(metric, low=low, high=high)).iloc[0]
    assert row["verdict"] == verdict
    assert f" {verdict} (" in row["sentence"]


def test_a_sentence_holds_the_number_its_interval_and_the_papers_own():
    sentences = verdicts.judge(measured())["sentence"].iloc[0]
    assert sentences.startswith(
        "With the IDK prompt, giving up more wrong answers than right ones (RGI above 0) "
    )
    assert sentences.endswith("carries over (+0.20 [+0.10, +0.40] here, +0.16 printed).")
    unsure = verdicts.judge(measured("youden", math.inf, math.nan, math.nan))["sentence"].iloc[0]
    assert unsure.endswith("cannot be judged here (+inf, no interval here, not printed).")


def test_verdicts_are_counted_in_one_sentence():
    rows = pd.concat([measured(), measured(low=-0.1), measured(low=-0.2), measured(low=math.nan)])
    assert verdicts.tally(verdicts.judge(rows)) == (
        "Of 4 claims, each of one method, 1 carries over, 2 are not settled, 1 cannot be judged here."
    )


def test_sentences_are_natural_and_say_what_is_open():
    frame = pd.concat([
        measured("accuracy_change", -0.02, -0.05, 0.01),
        measured("accuracy_change", 0.05, 0.02, 0.08).assign(method="LoRA SFT"),
    ])  # fmt: skip
    assert verdicts.judge(frame)["sentence"].tolist() == [
        "With the IDK prompt, a fall in accuracy is neither shown nor excluded (-0.02 [-0.05, +0.01] here, "
        "-0.04 printed).",
        "With LoRA SFT, a fall in accuracy does not carry over (+0.05 [+0.02, +0.08] here, -0.02 printed).",
    ]


FINDINGS = [
    ("above", {}, "the excess of the IDK prompt is +0.20 [+0.10, +0.40]: it helps."),
    ("below", {"low": -0.4, "high": -0.1, "value": -0.2},
     "the excess of the IDK prompt is -0.20 [-0.40, -0.10]: it harms."),
    ("around zero", {"low": -0.1}, "the excess of the IDK prompt is +0.20 [-0.10, +0.40]: it is not settled."),
    ("touching zero", {"low": 0.0}, "the excess of the IDK prompt is +0.20 [+0.00, +0.40]: it is not settled."),
    ("open to infinity", {"high": math.inf}, "the excess of the IDK prompt is +0.20 [+0.10, +inf]: it helps."),
    ("infinite", {"value": math.inf, "low": math.nan, "high": math.nan, "status": "delta_con = 0"},
     "the excess of the IDK prompt is +inf (delta_con = 0), without an interval: it cannot be judged."),
    ("undefined", {"value": math.nan, "low": math.nan, "high": math.nan, "status": "no items"},
     "the excess of the IDK prompt is undefined (no items), without an interval: it cannot be judged."),
    ("a value without an interval", {"low": math.nan, "high": math.nan},
     "the excess of the IDK prompt is +0.20, without an interval: it cannot be judged."),
    ("less is better", {"metric": "delta_con"}, "ΔCon of the IDK prompt is +0.20 [+0.10, +0.40]: it harms."),
    ("a metric without a name of its own", {"metric": "answer_rate"},
     "the answer rate of the IDK prompt is +0.20 [+0.10, +0.40]: it helps."),
]  # fmt: skip


@pytest.mark.parametrize("case, change, sentence", FINDINGS, ids=[row[0] for row in FINDINGS])
def test_a_finding_is_a_sentence_built_from_the_interval(case, change, sentence):
    row = measured("rgi_excess").assign(n=300, status="").iloc[0].to_dict() | change
    result = verdicts.verdict(row, model="mini", method="the IDK prompt")
    assert result == f"On mini, 300 items: {sentence}"


def test_a_finding_may_name_its_seed_and_be_held_against_another_number_than_zero():
    row = measured("speed_ratio", 4.1, 4.0, 4.3).assign(n=64, status="").iloc[0]
    options = {"model": "mini", "method": "the engine", "seed": 0}
    assert verdicts.verdict(row, **options, reference=1) == (
        "On mini, 64 items, seed 0: the speed ratio of the engine is 4.10 [4.00, 4.30]: it helps."
    )
    assert verdicts.verdict(row, **options, reference=4.2).endswith(": it is not settled.")
    assert verdicts.verdict(row, **options, reference=5).endswith(": it harms.")


def test_a_finding_on_trained_models_says_how_many_trainings_it_rests_on():
    row = {"metric": "refusal_youden", "value": 0.2, "low": 0.1, "high": 0.4, "n": 300}
    subject = {"model": "mini", "method": "LoRA", "seed": 0}
    assert verdicts.verdict(row, **subject, trainings=3) == (
        "On mini, 300 items, seed 0, 3 training seeds: "
        "Youden's J of refusals of LoRA is +0.20 [+0.10, +0.40]: it helps."
    )
    assert ", 1 training seed: " in verdicts.verdict(row, **subject, trainings=1)


def test_each_claim_says_whose_question_it_asks():
    assert set(verdicts.QUESTIONS) == set(verdicts.CLAIMS)
    assert len(set(verdicts.QUESTIONS.values())) == len(verdicts.QUESTIONS)
    [question] = verdicts.judge(measured("refusal_youden"))["question"]
    assert question.startswith("ours, in place of the RGI")


def test_the_row_of_a_finding_is_the_only_one_of_its_metric_and_group():
    frame = pd.concat([measured().assign(group="sound"), measured(value=0.3).assign(group="overall")])
    assert verdicts.only_row(frame, "rgi", group="overall")["value"] == 0.3
    with pytest.raises(ValueError, match=r"^2 rows where \{'metric': 'rgi'\}"):
        verdicts.only_row(frame, "rgi")


PRINTED = [
    ("IDK prompt", "reliability_change", 0.6485 - 0.5560),
    ("LoRA SFT", "reliability_change", 0.6568 - 0.5560),
    ("Task Agent", "accuracy_change", 0.527 - 0.556),
    ("MCoT prompt", "rgi", 0.15),
    ("MCoT prompt", "rgi_excess", 0.15 - math.log10(444 / 556)),
]


@pytest.mark.parametrize("method, metric, expected", PRINTED)
def test_printed_numbers_are_the_papers_totals(method, metric, expected):
    assert verdicts.paper_total(method, metric) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    "method, metric", [("a method of ours", "rgi"), ("Baseline", "rgi"), ("IDK prompt", "youden")]
)
def test_what_the_paper_does_not_print_is_empty(method, metric):
    assert math.isnan(verdicts.paper_total(method, metric))


def test_a_metric_without_a_claim_is_refused():
    with pytest.raises(
        ValueError, match="nothing is claimed about 'delta_con': the claims are on reliability_ch"
    ):
        verdicts.judge(measured("delta_con"))


def frames(
    gain: tuple[float, float, float], over: tuple[float, float, float]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    where = {"part": "all", "tested_on": "overall", "domain": "out", "metric": "refusal_youden", "n": 150}
    outside = pd.DataFrame([where | dict(zip(("value", "low", "high"), gain))])
    control = pd.DataFrame([where | {"trained_on": "mean"} | dict(zip(("value", "low", "high"), over))])
    return outside, control


ANSWERS = [
    (
        "both above",
        (0.2, 0.1, 0.3),
        (0.2, 0.1, 0.3),
        "Yes: ",
        "adapters beat blind refusal (Youden's J of refusals +0.20 [+0.10",
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
    sentences = verdicts.transfer_verdict(outside, {"shuffled labels": control})
    assert sentences.startswith(begins)
    assert holds in sentences
    assert sentences.endswith("n = 150 items.")


def test_every_control_must_be_beaten():
    outside, control = frames((0.2, 0.1, 0.3), (0.2, 0.1, 0.3))
    _, weaker = frames((0.2, 0.1, 0.3), (0.1, -0.1, 0.3))
    sentences = verdicts.transfer_verdict(outside, {"shuffled labels": control, "the prompt alone": weaker})
    assert sentences.startswith("No: ")
    assert (
        "beat shuffled labels (difference +0.20 [+0.10, +0.30]), do not measurably beat the prompt alone"
        in sentences
    )


@pytest.mark.parametrize("metric", ["youden", "rgi_excess"])
def test_a_metric_that_counts_redrawn_answers_is_not_held_to_blind_refusal(metric):
    outside, control = (frame.assign(metric=metric) for frame in frames((0.2, 0.1, 0.3), (0.2, 0.1, 0.3)))
    sentences = verdicts.transfer_verdict(outside, {"shuffled labels": control}, metric=metric)
    assert "adapters beat changing right and wrong answers alike" in sentences
    assert "blind refusal" not in sentences


def test_only_refusals_are_claimed_to_beat_blind_refusal():
    blind = {name for name, (claim, _) in verdicts.CLAIMS.items() if "blind refusal" in claim}
    assert blind == {"refusal_youden"}


def test_the_answer_refuses_frames_without_the_metric():
    outside, control = frames((0.2, 0.1, 0.3), (0.2, 0.1, 0.3))
    with pytest.raises(ValueError, match="0 rows where"):
        verdicts.transfer_verdict(outside, {"shuffled labels": control}, metric="rgi_excess")


def test_pairs_above_zero_are_counted_with_what_is_undefined():
    rows = [(0.3, 0.1), (0.2, -0.1), (-0.2, -0.4), (math.inf, math.nan), (math.nan, math.nan)]
    frame = pd.DataFrame(rows, columns=["value", "low"]).assign(metric="rgi", seed="mean", domain="out")
    sentences = verdicts.pairs_above(pd.concat([frame, frame.assign(seed="0"), frame.assign(domain="in")]))
    assert sentences == (
        "Of 5 pairs out of domain, the RGI is above zero in 3, with its whole interval in 1, and undefined in 1."
    )
    assert verdicts.pairs_above(frame.assign(domain="in").head(1), domain="in").startswith(
        "Of 1 pairs in domain"
    )
