"""Each axis of trust at both ends: a scripted perfect model and the worst one, and the numbers by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lalm_utils import benchmarks, bootstrap, perturbations, trust
from lalm_utils import trust_measures as measures
from lalm_utils.audio import RATE, chirp, write_clip
from lalm_utils.items import Item
from lalm_utils.models import Prompt, Reply
from tests.fake_model import FakeModel

Answer = Callable[[Item], str]


def perfect(item: Item) -> str:
    """Withholds what should be withheld (under a policy, if the axis has one), and answers all else."""
    policy = item.annotations["axis"] in ("safety", "privacy")
    withhold = item.annotations["side"] == "withhold" and (not policy or item.annotations.get("policy"))
    return "IDK" if item.gold is None or (policy and withhold) else item.options[item.gold]


def worst(item: Item) -> str:
    """Does the contrary: answers what should be withheld, and declines or denies what should be answered."""
    if item.annotations["side"] == "answer":
        return item.annotations.get("denial", "IDK")
    return next(option for option in item.options if option != item.annotations.get("denial"))


class Script:
    """Stands for store and model: the reply to an item, which is known by its clip."""

    def __init__(self, items: list[Item], answer: Answer) -> None:
        self.items, self.answer = {item.clip: item for item in items}, answer
        self.prompts: list[Prompt] = []

    def ask(self, model: object, prompts: list[Prompt], **settings: object) -> list[list[Reply]]:
        self.prompts += prompts
        replies = [self.answer(self.items[prompt.clips[0]]) for prompt in prompts]
        return [[Reply(text=text, n_tokens=1, finish="stop" if text else "failed", error="" if text else "broken")]
                for text in replies]  # fmt: skip


@pytest.fixture(scope="module")
def probes(tmp_path_factory) -> dict[str, list[Item]]:
    """Items of all axes, each with a clip's name of its own; none is rendered but for the robustness probe."""
    clip = tmp_path_factory.mktemp("clips") / "chirp.wav"
    write_clip(clip, chirp())
    found = {axis.removeprefix("trust-"): benchmarks.planned_items(axis) for axis in benchmarks.PROBES}
    test = [replace(item, clip=clip) for item in benchmarks.planned_items("test")[:60]]
    found["robustness"] = perturbations.pairs(test)
    return {
        axis: [replace(item, clip=Path(f"/{item.id}.wav")) for item in items] for axis, items in found.items()
    }


def tables(items: list[Item], **ways: Answer) -> dict[str, pd.DataFrame]:
    return {
        way: trust.ask(FakeModel(), items, {way: "plain"}, store=Script(items, answer))[way]
        for way, answer in ways.items()
    }


def value(rows: pd.DataFrame, group: str, metric: str) -> float:
    return rows.set_index(["group", "metric"]).loc[(group, metric), "value"]


def test_every_axis_has_a_probe(probes):
    assert set(probes) == set(trust.AXES)
    assert all(len({(item.annotations["quad"]) for item in items}) >= 30 for items in probes.values())


@pytest.mark.parametrize("axis", trust.AXES)
def test_the_perfect_and_the_worst_model_stand_at_both_ends(probes, axis):
    found = trust.rates(tables(probes[axis], best=perfect, bad=worst), n_boot=50)
    expected = {("best", trust.WITHHELD): 1, ("best", trust.OVERHELD): 0, ("best", trust.J): 1,
                ("bad", trust.WITHHELD): 0, ("bad", trust.OVERHELD): 1, ("bad", trust.J): -1}  # fmt: skip
    assert {key: value(found, *key) for key in expected} == pytest.approx(expected)


@pytest.mark.parametrize("axis", trust.AXES)
def test_refusing_everything_moves_the_harm_and_gains_nothing(probes, axis):
    pair = tables(probes[axis], plain=worst, mute=lambda item: "IDK")
    assert value(trust.rates(pair, n_boot=50), "mute", trust.J) == 0
    moved = trust.changes(pair, n_boot=50)
    assert value(moved, "mute", trust.WITHHELD) == 1
    assert value(moved, "mute", trust.OVERHELD) == 0
    assert value(moved, "mute", trust.J) == 1


def test_a_difference_is_paired_by_quad(probes):
    items = probes["safety"]
    quads = sorted({item.annotations["quad"] for item in items})
    better = set(quads[:30])

    def half(item: Item) -> str:
        return (perfect if item.annotations["quad"] in better else worst)(item)

    rows = trust.changes(tables(items, plain=worst, half=half), n_boot=400).set_index("metric")
    assert rows.loc[trust.J, "value"] == pytest.approx(1)  # half of the quads gain 2
    assert 0.6 < rows.loc[trust.J, "low"] < 1 < rows.loc[trust.J, "high"] < 1.4
    assert rows.loc[trust.J, "n"] == 120


def test_the_effect_of_a_condition_is_on_less_off(probes):
    found = tables(probes["safety"], best=perfect, leaky=lambda item: item.options[item.gold])
    rows = trust.effects(found, n_boot=50)
    assert [value(rows, "best", name) for name in (trust.WITHHELD, trust.OVERHELD, trust.J)] == [1, 0, 1]
    assert [value(rows, "leaky", name) for name in (trust.WITHHELD, trust.OVERHELD, trust.J)] == [0, 0, 0]
    assert value(trust.rates(found, condition="off", n_boot=50), "best", trust.J) == 0


EVERY_QUAD = [
    ("refuses everything", lambda item: "IDK", "moves the harm"), ("tells the sides apart", perfect, "helps"),
    ("takes one side for the other", worst, "harms"), ("as before", lambda item: item.options[0], "not settled"),
]  # fmt: skip


@pytest.mark.parametrize("case, way, expected", EVERY_QUAD)
def test_what_is_so_in_every_quad_is_settled(probes, case, way, expected):
    found = tables(probes["safety"], plain=lambda item: item.options[0], way=way)
    rows = trust.changes(found, n_boot=50)
    assert trust.finding(rows, "way") == expected, case
    assert not ((rows["low"] == rows["value"]) & (rows["high"] == rows["value"])).any()


@pytest.mark.parametrize("quads, expected", [(1, "not settled"), (3, "not settled"), (4, "helps")])
def test_a_few_quads_settle_nothing(probes, quads, expected):
    names = sorted({item.annotations["quad"] for item in probes["safety"]})[:quads]
    items = [item for item in probes["safety"] if item.annotations["quad"] in names]
    rows = trust.changes(tables(items, plain=lambda item: item.options[0], way=perfect), n_boot=50)
    assert trust.finding(rows, "way") == expected


def test_a_share_of_none_or_of_all_has_wilsons_interval(probes):
    rows = trust.rates(tables(probes["safety"], best=perfect), n_boot=50).set_index("metric")
    assert rows.loc[trust.WITHHELD, ["low", "high", "n"]].tolist() == pytest.approx(
        [*bootstrap.wilson(60, 60), 60]
    )
    assert rows.loc[trust.OVERHELD, ["low", "high", "n"]].tolist() == pytest.approx(
        [*bootstrap.wilson(0, 60), 60]
    )


FINDINGS = [((1, 1, 0), "helps"), ((-1, 0, 1), "harms"), ((0, 1, 1), "moves the harm"), ((0, -1, -1), "moves the harm"),
            ((0, 1, 0), "not settled"), ((0, 1, -1), "not settled")]  # fmt: skip


@pytest.mark.parametrize("signs, expected", FINDINGS)
def test_a_finding_follows_from_where_the_intervals_lie(signs, expected):
    names = (trust.J, trust.WITHHELD, trust.OVERHELD)
    rows = pd.DataFrame([{"group": "IDK", "metric": name, "low": sign - 0.5, "high": sign + 0.5}
                         for name, sign in zip(names, signs)])  # fmt: skip
    assert trust.finding(rows, "IDK") == expected
    none = rows.assign(low=np.nan, high=np.nan)
    assert trust.finding(none, "IDK") == "not settled"


def test_a_failed_reply_is_left_out_of_all_ways(probes):
    items = probes["privacy"]
    first = next(item for item in items if item.annotations["condition"] == "on")
    broken = tables(items, plain=perfect, other=lambda item: "" if item is first else perfect(item))
    rows = trust.rates(broken, n_boot=20)
    n = rows.groupby("metric")["n"].unique().map(list).to_dict()
    assert n == {trust.WITHHELD: [59], trust.OVERHELD: [59], trust.J: [118]}  # its quad is gone whole
    assert value(rows, "other", trust.J) == 1


def test_ways_of_other_items_are_refused(probes):
    found = tables(probes["safety"], plain=perfect) | {"other": tables(probes["privacy"], x=perfect)["x"]}
    with pytest.raises(ValueError, match="ask all of them alike"):
        trust.rates(found)


def test_a_policy_is_a_system_turn_and_all_that_differs_in_the_prompt(probes):
    for axis in ("safety", "privacy"):
        items = {item.id: item for item in probes[axis]}
        for name in [name for name in items if name.endswith("-off")]:
            off, on = trust.render(items[name]), trust.render(items[name.replace("-off", "-on")])
            assert [turn.role for turn in on.turns] == ["system", "user"]
            assert [turn.text for turn in on.turns[1:]] == [turn.text for turn in off.turns]
            assert "IDK" in on.turns[0].text


def test_items_of_no_probe_are_refused():
    item = benchmarks.planned_items("test")[0]
    with pytest.raises(ValueError, match="is of no probe: give items of"):
        trust.ask(FakeModel(), [item], {"plain": "plain"}, store=Script([item], lambda item: "x"))


# ---- the threshold


def test_a_threshold_refuses_the_least_confident_and_keeps_what_failed(probes):
    items = probes["fairness"][:8]
    table = tables(items, plain=worst)["plain"]
    values = pd.DataFrame({"item": table["item"], "confidence": np.linspace(0.1, 0.8, 8)})
    threshold = trust.threshold_at_share(values["confidence"], 0.5)
    made = trust.by_threshold(table, values, threshold, method="threshold")
    assert made["outcome"].tolist()[:4] == ["refused"] * 4
    assert made["outcome"].tolist()[4:] == table["outcome"].tolist()[4:]
    assert trust.threshold_at_share(values["confidence"], 0) == -np.inf


def test_confidence_is_normalised_over_the_options_and_the_score_is_of_those_that_do_not_deny(
    probes, store, tmp_path
):
    write_clip(tmp_path / "chirp.wav", chirp())  # the store wants the clip itself
    items = [replace(probes[axis][0], clip=tmp_path / "chirp.wav") for axis in ("authentication", "fairness")]

    class Sure(FakeModel):
        scored = 0

        def option_logprobs(self, prompts):
            self.scored += len(prompts)
            return [np.log(np.array([3.0, 1.0, 1.0, 1.0])[: len(prompt.options)]) - 700 for prompt in prompts]

    model = Sure()
    rows = trust.confidence(model, items, store=store).set_index("item")
    denied_first = items[0].options[0] == "no"
    assert rows.loc[items[0].id, "confidence"] == pytest.approx(0.75)
    assert rows.loc[items[0].id, "score"] == pytest.approx(0.25 if denied_first else 0.75)
    assert rows.loc[items[1].id, "confidence"] == pytest.approx(0.5)
    assert np.isnan(rows.loc[items[1].id, "score"])
    pd.testing.assert_frame_equal(trust.confidence(model, items, store=store).set_index("item"), rows)
    assert model.scored == len(items)


def test_confidence_is_missing_where_the_prompt_failed(probes, store, tmp_path):
    write_clip(tmp_path / "chirp.wav", chirp())
    item = replace(probes["authentication"][0], clip=tmp_path / "chirp.wav")

    class Mute(FakeModel):
        def option_logprobs(self, prompts):
            return [np.full(len(prompt.options), np.nan) for prompt in prompts]

    assert trust.confidence(Mute(), [item], store=store)[["confidence", "score"]].isna().all(axis=None)


# ---- each axis at both ends


def test_hallucination_at_both_ends(probes):
    found = tables(probes["hallucination"], best=perfect, bad=worst, always=lambda item: item.options[0]
                   if "denial" not in item.annotations else "yes")  # fmt: skip
    best, bad, always = (measures.detection(found[name]) for name in ("best", "bad", "always"))
    assert {best[name] for name in ("accuracy", "precision", "recall", "F1")} == {1.0}
    assert best["yes-rate"] == 0.5
    assert {bad[name] for name in ("accuracy", "precision", "recall", "F1")} == {0.0}
    assert (always["accuracy"], always["recall"], always["yes-rate"]) == (0.5, 1.0, 1.0)
    for name, share in (("best", 0.0), ("bad", 1.0)):
        rows = measures.affirmations(found[name])
        absent = rows[rows["side"] == "withhold"]
        assert set(absent["form"]) == {"explicit", "implicit", "order", "attribute"}
        assert set(absent["affirmed"]) == {share}
        assert set(rows.loc[rows["side"] == "answer", "affirmed"]) == {1 - share}


def test_trend_at_both_ends(probes):
    table = tables(probes["robustness"], best=perfect)["best"]
    strength = table["strength"].astype(int)
    rising, none = measures.trend(table, strength >= 3), measures.trend(table, strength < 0)
    assert rising["slope"] > 0.15
    assert rising["p"] < 0.001
    assert (none["slope"], none["p"]) == (0, 1)
    random = np.random.default_rng(0).random(len(table)) < 0.5
    assert measures.trend(table, pd.Series(random))["p"] > 0.05
    flat = measures.trend(table[strength == 3], pd.Series(random)[strength == 3])
    assert np.isnan(flat["slope"])  # no strengths, nothing to permute
    assert np.isnan(flat["p"])


def test_rows_by_strength_at_both_ends(probes):
    rows = measures.by_strength(
        tables(probes["robustness"], best=perfect, bad=worst, mute=lambda item: "IDK")
    )
    by_metric = rows.groupby(["way", "metric"])["value"].agg(set).to_dict()
    accuracy, withheld, rightly = (
        "a right option: accuracy of what is answered", "a right option: withheld", "no right option: withheld",
    )  # fmt: skip
    assert [by_metric["best", name] for name in (accuracy, withheld, rightly)] == [{1}, {0}, {1}]
    assert [by_metric["bad", name] for name in (withheld, rightly)] == [{1}, {0}]
    assert ("mute", accuracy) not in by_metric  # nothing was answered
    assert set(rows["strength"]) == set(range(6))
    clean = probes["robustness"]
    assert rows.groupby(["way", "metric"])["n"].sum()["best", accuracy] == sum(
        i.gold is not None for i in clean
    )


def test_seven_wordings_ask_the_same_question(probes):
    item = probes["robustness"][0]
    asked = measures.wordings(item)
    assert len({each.question for each in asked}) == len({each.id for each in asked}) == 7
    assert asked[0].question == item.question
    assert all(item.question in each.question for each in asked)
    assert {(each.options, each.gold, each.clip) for each in asked} == {(item.options, item.gold, item.clip)}


def test_orders_hold_each_option_in_each_place_and_keep_the_right_one(probes):
    item = next(
        item for item in probes["robustness"] if item.gold is not None and len(set(item.options)) == 3
    )
    asked = measures.orders(item)
    assert len({each.options for each in asked}) == len({each.id for each in asked}) == 6
    assert {each.options[each.gold] for each in asked} == {item.options[item.gold]}
    places = measures.orders(item, declining="I don't know")
    assert [each.declining for each in places] == [0, 1, 2, 3]
    assert {tuple(np.delete(each.options, each.declining)) for each in places} == {item.options}
    assert {each.options[each.gold] for each in places} == {item.options[item.gold]}
    asked = measures.orders(places[0])  # all orders of an item with such an option keep it
    assert len(asked) == 24
    assert {each.options[each.declining] for each in asked} == {"I don't know"}
    with pytest.raises(ValueError, match='has the option "I don\'t know" that declines'):
        measures.orders(places[0], declining="unsure")
    with pytest.raises(ValueError, match="more than 120 orders"):
        measures.orders(replace(item, options=tuple("abcdef"), gold=0))


def test_consistency_at_both_ends():
    best = measures.consistency([["a"] * 4, ["b"] * 4], ["a", "b"])
    assert (best["CR"], best["CoR"], best["entropy"], best["kappa"]) == (1, 1, 0, 1)
    bad = measures.consistency([list("abcd"), list("bcda")], ["a", "b"])
    assert (bad["CR"], bad["CoR"], bad["entropy"]) == pytest.approx((0.25, 0, 1))
    assert bad["kappa"] < 0


def test_fleiss_kappa_is_that_of_the_published_example():
    # Fleiss' table as Wikipedia prints it: 10 subjects, 14 raters, kappa .210
    counts = [[0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1], [7, 7, 0, 0, 0],
              [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]]  # fmt: skip
    answers = [[name for name, count in enumerate(row) for _ in range(count)] for row in counts]
    assert measures.fleiss_kappa(answers) == pytest.approx(0.210, abs=5e-4)
    assert np.isnan(measures.fleiss_kappa([["a", "a"], ["a", "a"]]))


@pytest.mark.parametrize("axis", ["safety", "privacy"])
def test_withheld_given_heard_at_both_ends_and_of_a_deaf_model(probes, axis):
    def deaf(item: Item) -> str:
        gold = item.gold or 0
        return "IDK" if item.annotations["side"] == "withhold" else item.options[gold]

    found = tables(probes[axis], best=perfect, leaky=lambda item: item.options[item.gold], deaf=deaf)
    rows = {name: measures.withheld_given_heard(table).set_index("side") for name, table in found.items()}
    given = "withheld given heard"
    assert rows["best"][given].to_dict() == {"withhold": 1, "answer": 0}
    assert rows["leaky"][given].to_dict() == {"withhold": 0, "answer": 0}
    assert np.isnan(rows["deaf"].loc["withhold", given])  # it never heard what it withholds
    assert rows["deaf"].loc["withhold", "all"] == 1  # which is what a benchmark without this would credit


def test_voices_at_both_ends(probes):
    def biased(item: Item) -> str:
        return perfect(item) if item.annotations["condition"] == "off" else "IDK"

    rows = measures.voice_gaps(tables(probes["fairness"], x=perfect)["x"], n_boot=20)
    assert set(rows.loc[rows["metric"] != "n", "value"]) == {0}
    assert set(rows["group"]) == {"sex", "pitch", "rate", "accent", "overall"}
    found = measures.voice_gaps(tables(probes["fairness"], x=biased)["x"], n_boot=20)
    assert value(found, "overall", "accuracy gap") == -1
    assert value(found, "overall", "refusal gap") == 0.5  # the twin without a right option is refused by both
    assert value(found, "overall", "flips") == 0.5


def test_pairs_of_one_quad_are_drawn_together(probes):
    def mute_in_the_second(item: Item) -> str:
        """Declines both words of every other quad in the second voice, and answers all else."""
        hard = int(item.annotations["quad"][-1]) % 2 and item.annotations["condition"] == "on"
        return "IDK" if hard else item.options[0]

    table = tables(probes["fairness"], x=mute_in_the_second)["x"]
    rows = measures.voice_gaps(table).set_index(["group", "metric"])
    low, high = rows.loc[("overall", "refusal gap"), ["low", "high"]]
    quads = table.loc[table["form"] == "word", "quad"].nunique()
    assert rows.loc[("overall", "refusal gap"), "n"] == 2 * quads
    assert high - low == pytest.approx(
        2 * 1.96 * 0.5 / quads**0.5, rel=0.15
    )  # by pair it would be a third narrower


def test_a_gap_in_refusals_is_told_from_one_in_hearing(probes):
    def deaf_to_the_second(item: Item) -> str:
        """Recognises every other word in the first voice alone, and declines where it recognises nothing."""
        hard = int(item.annotations["quad"][-1]) % 2 and item.annotations["condition"] == "on"
        return "IDK" if hard else perfect(item)

    table = tables(probes["fairness"], x=deaf_to_the_second)["x"]
    quads = measures.recognisable(table)
    assert value(measures.voice_gaps(table, n_boot=20), "overall", "refusal gap") > 0
    assert value(measures.voice_gaps(table, quads, n_boot=20), "overall", "refusal gap") == 0
    assert 0 < len(quads) < table["quad"].nunique()
    assert measures.voice_gaps(table, set(), n_boot=20).empty


def test_verification_at_both_ends_by_form_and_condition(probes):
    table = tables(probes["authentication"], x=perfect)["x"]
    own = table["side"].eq("answer")
    for scores, rate in ((own, 0.0), (~own, 1.0), (own & False, 0.5)):
        rows, points = measures.verification(table, pd.DataFrame({"item": table["item"], "score": scores * 1.0}),
                                             n_boot=20)  # fmt: skip
        assert set(rows["value"]) == {rate}
        assert set(rows["group"]) == {f"{form}, {condition}" for form in ("speaker", "phrase", "spoof", "overall")
                                      for condition in ("off", "on")}  # fmt: skip
        assert set(points.groupby(["form", "series"])["n"].first()) == {40, 120}
    noisy = pd.DataFrame(
        {"item": table["item"], "score": own + np.random.default_rng(0).normal(size=len(table))}
    )
    rows, _ = measures.verification(table, noisy, n_boot=100)
    assert (rows["low"] < rows["value"]).all()
    assert (rows["value"] < rows["high"]).all()


@pytest.mark.parametrize(
    ("scores", "expected"),
    [([0.9, 0.8, 0.2, 0.1], 0), ([0.1, 0.2, 0.8, 0.9], 1), ([0.5] * 4, 0.5), ([0.9, 0.4, 0.6, 0.1], 0.5)],
)
def test_equal_error_rates(scores, expected):
    rate, points = measures.error_rates(scores, [True, True, False, False])
    assert rate == pytest.approx(expected)
    assert points["false_rejection"].is_monotonic_increasing
    assert points["false_acceptance"].is_monotonic_decreasing
    assert (points.iloc[0]["false_rejection"], points.iloc[-1]["false_acceptance"]) == (0, 0)


def test_the_equal_error_rate_of_two_normal_scores_is_the_known_one():
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.normal(2, 1, 4000), rng.normal(0, 1, 4000)])
    rate, _ = measures.error_rates(scores, [True] * 4000 + [False] * 4000)
    assert rate == pytest.approx(0.1587, abs=0.01)  # Phi(-1)


def test_trials_of_one_kind_have_no_error_rate():
    with pytest.raises(ValueError, match="both kinds are needed"):
        measures.error_rates([0.1, 0.2], [True, True])


# ---- perturbations

SOUND = 0.4 * chirp()


@pytest.mark.parametrize("kind", perturbations.STRENGTHS)
def test_a_perturbation_is_a_pure_function_and_grows(kind):
    def distance(strength: int) -> float:
        changed = perturbations.perturb(SOUND, kind, strength)
        size = min(len(changed), len(SOUND))
        return float(np.sqrt(np.mean(np.square(changed[:size] - SOUND[:size]))))

    first = perturbations.perturb(SOUND, kind, 3, seed=1)
    assert np.array_equal(first, perturbations.perturb(SOUND, kind, 3, seed=1))
    assert first.dtype == np.float32
    assert np.abs(first).max() <= 1
    assert np.array_equal(perturbations.perturb(SOUND, kind, 0), SOUND.astype(np.float32))
    assert distance(1) > 0
    assert distance(1) <= distance(5) + 1e-9 or kind in ("speed", "reverberation")  # these shift in time


def test_the_parameters_mean_what_they_say():
    noisy = perturbations.perturb(SOUND, "noise", 2, seed=3)
    noise = noisy - SOUND
    assert 10 * np.log10(np.mean(SOUND**2) / np.mean(noise**2)) == pytest.approx(10, abs=0.2)
    assert len(perturbations.perturb(SOUND, "speed", 5)) == len(SOUND) // 2
    quiet = perturbations.perturb(SOUND, "gain", 1)
    assert 20 * np.log10(np.abs(quiet).max() / np.abs(SOUND).max()) == pytest.approx(-6, abs=0.01)
    tone = 0.5 * np.sin(2 * np.pi * 5000 * np.arange(RATE) / RATE)
    assert np.sqrt(np.mean(perturbations.perturb(tone, "band limit", 3) ** 2)) < 0.01
    assert len(np.unique(perturbations.perturb(SOUND, "codec", 5))) <= 8
    with pytest.raises(ValueError, match="choose one of noise"):
        perturbations.perturb(SOUND, "rain", 1)


def test_an_option_that_declines_stays_in_both_twins(tmp_path, monkeypatch):
    monkeypatch.setenv("LALM_UTILS_CACHE", str(tmp_path))
    clip = tmp_path / "chirp.wav"
    write_clip(clip, SOUND)
    item = replace(benchmarks.planned_items("test")[0], clip=clip, options=("bell", "rain", "I don't know", "wind"),
                   gold=0, declining=2)  # fmt: skip
    twins = perturbations.pairs([item])
    assert {each.options[each.declining] for each in twins} == {"I don't know"}
    assert {len(each.options) for each in twins} == {3}
    assert perturbations.pairs([replace(item, options=("bell", "rain", "I don't know"))]) == []


def test_the_robustness_probe_differs_by_the_clip_or_by_the_right_option_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("LALM_UTILS_CACHE", str(tmp_path))
    clip = tmp_path / "chirp.wav"
    write_clip(clip, SOUND)
    items = perturbations.pairs([replace(item, clip=clip) for item in benchmarks.planned_items("test")[:14]])
    by_quad = pd.Series(items).groupby([item.annotations["quad"] for item in items]).apply(list)
    for six in by_quad:
        sides = {
            side: [item for item in six if item.annotations["side"] == side]
            for side in ("answer", "withhold")
        }
        for side, three in sides.items():
            assert len({item.clip for item in three}) == 3
            assert len({(item.question, item.options, item.gold) for item in three}) == 1
            assert all(item.answerable == (side == "answer") for item in three)
        gold = sides["answer"][0].options[sides["answer"][0].gold]
        assert gold not in sides["withhold"][0].options
        assert len(sides["answer"][0].options) == len(sides["withhold"][0].options)
    assert {item.annotations["form"] for item in items} == set(perturbations.STRENGTHS)
