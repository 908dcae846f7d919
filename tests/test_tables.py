"""Tables to draw and to read: the documented columns, with numbers that can be counted by hand."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from outcome_tables import count_table, letters, run, transition_tables, value

from lalm_utils import metrics, outcomes, paper, tables, transfer
from lalm_utils.bootstrap import wilson
from lalm_utils.finetuning import lora_files
from lalm_utils.items import Item
from lalm_utils.models import Reply
from lalm_utils.outcomes import OutcomeError
from lalm_utils.plots import figures

REPLIES = {"c": None, "w": "other", "r": "IDK", "u": "hm, well"}


def table_of(**modalities: str):
    """An outcome table from letters: c correct, w wrong, r refused, u unreadable; a level after a slash.

    `sound="ccw/easy r/hard"` is three easy items and a hard one. Two options, the gold one first for every
    other item.
    """
    items, replies = [], []
    for modality, groups in modalities.items():
        for group in groups.split():
            text, _, level = group.partition("/")
            for letter in text:
                number = len(items)
                options = ("right", "other") if number % 2 == 0 else ("other", "right")
                items.append(
                    Item(
                        id=f"i{number}", benchmark="mini", split="test", modality=modality, question="Which?",
                        options=options, gold=options.index("right"), clip=Path("/x.wav"), level=level,
                    )
                )  # fmt: skip
                replies.append(Reply(text=REPLIES[letter] or "right", n_tokens=1, finish="stop"))
    return outcomes.table(items, replies, model="fake", method="plain", seed=0)


def hopeless(**reasons: str):
    """An outcome table of unanswerable items: r refused, w answered."""
    items, replies = [], []
    for reason, text in reasons.items():
        for letter in text:
            items.append(
                Item(
                    id=f"u{len(items)}", benchmark="mini", split="unanswerable", modality="sound",
                    question="Which?", options=("right", "other"), gold=None, clip=Path("/x.wav"),
                    answerable=False, reason=reason,
                )
            )  # fmt: skip
            replies.append(Reply(text=REPLIES[letter], n_tokens=1, finish="stop"))
    return outcomes.table(items, replies, model="fake", method="idk", seed=0)


def row(frame, **where):
    for column, expected in where.items():
        frame = frame[frame[column] == expected]
    [only] = frame.to_dict("records")
    return only


# ---- accuracy


def test_accuracy_is_counted_by_modality_and_level_and_over_all_levels():
    table = table_of(sound="cccw/easy cw/medium wwwu/hard", music="cr/easy")
    result = tables.accuracy_by_level(table)
    shares = {(r.modality, r.level): (r.accuracy, r.n) for r in result.itertuples()}
    assert shares == {
        ("sound", "easy"): (0.75, 4), ("sound", "medium"): (0.5, 2), ("sound", "hard"): (0.0, 4),
        ("music", "easy"): (0.5, 2), ("sound", "overall"): (0.4, 10), ("music", "overall"): (0.5, 2),
    }  # fmt: skip
    assert list(result.columns) == ["modality", "level", "control", "accuracy", "low", "high", "chance", "n"]
    assert set(result["control"]) == {"clip"}
    assert (result["chance"] == 0.5).all()
    assert ((result["low"] <= result["accuracy"]) & (result["accuracy"] <= result["high"])).all()
    easy = row(result, modality="sound", level="easy")
    assert 0 <= easy["low"] < 0.75 < easy["high"] <= 1


def test_levels_are_left_out_where_there_are_none():
    without = tables.accuracy_by_level(table_of(sound="ccw", speech="c"), control="silence")
    assert without[["modality", "level", "n"]].values.tolist() == [
        ["sound", "overall", 3],
        ["speech", "overall", 1],
    ]
    assert set(without["control"]) == {"silence"}


def test_items_without_a_level_count_in_the_whole_only():
    result = tables.accuracy_by_level(table_of(sound="c/easy www"))
    assert row(result, level="easy")["n"] == 1
    assert row(result, level="overall")["n"] == 4
    assert set(result["level"]) == {"easy", "overall"}


def test_chance_is_the_mean_over_the_items_of_a_row():
    table = table_of(sound="cw/easy cw/hard")
    table["chance"] = [0.5, 0.25, 0.25, 0.25]
    result = tables.accuracy_by_level(table)
    assert {r.level: r.chance for r in result.itertuples()} == {
        "easy": 0.375,
        "hard": 0.25,
        "overall": 0.3125,
    }


def test_controls_stand_beside_each_other_by_modality_and_overall():
    runs = {"own clip": table_of(sound="cccw", music="cw"), "no audio": table_of(sound="cwww", music="wr")}
    result = tables.controls(runs)
    assert list(result.columns) == ["run", "group", "n", "accuracy", "low", "high", "chance"]
    assert {(r.run, r.group): (r.n, r.accuracy) for r in result.itertuples()} == {
        ("own clip", "sound"): (4, 0.75), ("own clip", "music"): (2, 0.5),
        ("own clip", "overall"): (6, pytest.approx(4 / 6)),
        ("no audio", "sound"): (4, 0.25), ("no audio", "music"): (2, 0.0),
        ("no audio", "overall"): (6, pytest.approx(1 / 6)),
    }  # fmt: skip


def test_controls_count_cut_clips_where_there_are_any():
    cut = table_of(sound="cccw", music="cw")
    cut["truncated"] = [False, False, False, True, True, False]
    result = tables.controls({"own clip": cut, "no audio": table_of(sound="cwww", music="wr")})
    assert {(r.run, r.group): (r.cut, r.accuracy_without) for r in result.itertuples()} == {
        ("own clip", "sound"): (1, 1.0), ("own clip", "music"): (1, 0.0), ("own clip", "overall"): (2, 0.75),
        ("no audio", "sound"): (0, 0.25), ("no audio", "music"): (0, 0.0),
        ("no audio", "overall"): (0, pytest.approx(1 / 6)),
    }  # fmt: skip


def test_chance_of_controls_is_that_of_their_group():
    table = table_of(sound="cw", music="cw")
    table["chance"] = [0.5, 0.5, 0.25, 0.25]
    result = tables.controls({"plain": table}).set_index("group")["chance"]
    assert result.to_dict() == {"sound": 0.5, "music": 0.25, "overall": 0.375}


@pytest.mark.parametrize(("letters", "share"), [("cccc", 0.5), ("wwwww", 0.6), ("r", 1.0)])
def test_a_reply_of_option_a_is_right_where_the_gold_option_is_first(letters, share):
    assert tables.always_first(table_of(sound=letters)) == pytest.approx(share)


def test_a_failed_row_blocks_the_tables_as_it_blocks_the_metrics():
    table = table_of(sound="cw/easy")
    table.loc[0, "outcome"] = "failed"
    for make in (tables.accuracy_by_level, lambda table: tables.controls({"plain": table})):
        with pytest.raises(OutcomeError, match="1 of 2 rows failed"):
            make(table)


def test_the_values_of_one_metric_are_its_rows():
    frame = metrics.evaluate(table_of(sound="ccw", music="r"))
    result = tables.values(frame, "rejection_rate")
    assert list(result.columns) == ["group", "value", "low", "high", "n"]
    assert result[["group", "value", "n"]].values.tolist() == [
        ["sound", 0.0, 3],
        ["music", 1.0, 1],
        ["overall", 0.25, 4],
    ]
    assert result.index.tolist() == [0, 1, 2]


# ---- gains


def gains():
    # sound: 4 right, 6 wrong before; 1 right one is lost, 4 wrong ones are given up. music: 2 and 2; 1 and 1.
    before = table_of(sound="ccccwwwwww", music="ccww")
    after = table_of(sound="rcccrrrrww", music="rcrw")
    return metrics.compare(before, after)


def test_gains_here_stand_beside_the_printed_ones_with_their_nulls():
    result = tables.beside_paper(gains(), model="mini", method="IDK prompt")
    assert list(result.columns) == ["group", "source", "model", "rgi", "low", "high", "null", "n"]
    here = result[result["source"] == "measured here"].set_index("group")
    assert here["rgi"].to_dict() == pytest.approx(
        {"sound": np.log10(4), "music": 0.0, "overall": np.log10(5 / 2)}
    )
    assert here["null"].to_dict() == pytest.approx(
        {"sound": np.log10(6 / 4), "music": 0, "overall": np.log10(8 / 6)}
    )
    assert here["n"].to_dict() == {"sound": 10, "music": 4, "overall": 14}
    assert set(here["model"]) == {"mini"}
    printed = result[result["source"] == "printed in the paper"].set_index("group")
    assert printed["rgi"].to_dict() == {"sound": 0.27, "music": 0.20, "overall": 0.16}
    assert set(printed["model"]) == {paper.MODEL}
    assert printed[["low", "high"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("group", "wrong", "correct", "n"),
    [
        ("sound", 130, 203, 333),
        ("music", 150, 184, 334),
        ("speech", 164, 169, 333),
        ("overall", 444, 556, 1000),
    ],
)
def test_the_papers_null_comes_from_the_counts_of_its_baseline(group, wrong, correct, n):
    result = tables.paper_gain(group, "MCoT prompt")
    assert result["null"] == pytest.approx(np.log10(wrong / correct))
    assert result["n"] == n
    assert result["rgi"] == {"sound": 0.09, "music": 0.25, "speech": 0.09, "overall": 0.15}[group]


def test_groups_that_the_paper_has_not_are_measured_only():
    before, after = table_of(**{"mix-sound-speech": "cw"}), table_of(**{"mix-sound-speech": "rr"})
    result = tables.beside_paper(metrics.compare(before, after), model="mini", method="IDK prompt")
    assert result[["group", "source"]].values.tolist() == [
        ["mix-sound-speech", "measured here"], ["overall", "measured here"], ["overall", "printed in the paper"]
    ]  # fmt: skip


# ---- refusals


def test_refusals_are_counted_by_prompt_and_kind_of_item():
    known = table_of(sound="ccwr", music="cwww")
    known["novel"] = [False, False, False, True, False, False, True, True]
    unknown = hopeless(silence="rrw", masked="r", option_removed="rwww")
    plain = table_of(sound="ccww", music="cwww")
    plain["novel"] = known["novel"]
    result = tables.refusals({"plain": [plain, hopeless(silence="w")], "IDK": [known, unknown]})
    assert list(result.columns) == ["prompt", "group", "rate", "low", "high", "n"]
    assert {(r.prompt, r.group): (r.rate, r.n) for r in result.itertuples()} == {
        ("plain", "answerable, known content"): (0.0, 5), ("plain", "answerable, novel content"): (0.0, 3),
        ("plain", "inaudible"): (0.0, 1),
        ("IDK", "answerable, known content"): (0.0, 5),
        ("IDK", "answerable, novel content"): (pytest.approx(1 / 3), 3),
        ("IDK", "inaudible"): (0.75, 4), ("IDK", "ungrounded"): (0.25, 4),
    }  # fmt: skip
    inaudible = row(result, prompt="IDK", group="inaudible")
    assert (inaudible["low"], inaudible["high"]) == pytest.approx(wilson(3, 4))
    assert result["prompt"].tolist() == ["plain"] * 3 + ["IDK"] * 4


# ---- to read


def test_wide_shows_one_line_per_group():
    table = tables.wide(metrics.evaluate(count_table(correct=30, wrong=10)), ["n", "correct", "accuracy"])
    assert list(table.columns) == ["group", "n", "correct", "accuracy"]
    assert list(table["group"]) == ["sound", "overall"]
    assert table.loc[0, "n"] == "40"
    assert table.loc[0, "correct"] == "30"
    assert table.loc[0, "accuracy"].startswith("0.750 [0.")


def test_wide_shows_how_many_resamples_fell_from_an_interval():
    frame = metrics.compare(
        *transition_tables(correct_to_correct=50, correct_to_refused=2, wrong_to_refused=1, wrong_to_wrong=48)
    )
    [row] = frame[(frame["metric"] == "rgi") & (frame["group"] == "overall")].to_dict("records")
    assert 0 < row["undefined"] < 1000
    text = tables.wide(frame, ["rgi"]).loc[0, "rgi"]
    assert text.endswith(f"] ({row['undefined']} resamples undefined)")


def test_wide_shows_why_there_is_no_interval():
    # One right and one wrong answer, both refused: where only one of them is drawn, nothing is defined.
    frame = metrics.compare(
        *transition_tables(correct_to_refused=1, wrong_to_refused=1, refused_to_refused=2)
    )
    text = tables.wide(frame, ["rgi_excess"]).loc[0, "rgi_excess"]
    assert re.fullmatch(r"0\.000 \(no interval: 11\d\d of 2000 resamples undefined\)", text)


def test_wide_does_not_hide_an_undefined_index():
    frame = metrics.compare(*transition_tables(correct_to_correct=5, wrong_to_refused=5))
    assert tables.wide(frame, ["rgi"]).loc[0, "rgi"] == "inf (delta_con = 0)"
    with pytest.raises(ValueError, match="no metric 'rgy' in this frame: it has n, excluded"):
        tables.wide(frame, ["rgy"])


# ---- transitions


def outcome_table(**outcomes: str) -> pd.DataFrame:
    rows = [
        {"item": item, "modality": item.split("_")[0], "outcome": outcome}
        for item, outcome in outcomes.items()
    ]
    return pd.DataFrame(rows).assign(answerable=True)


def test_transitions_are_counted_by_modality_and_pooled_for_the_figure():
    before = outcome_table(sound_1="correct", sound_2="wrong", speech_1="unreadable")
    after = outcome_table(speech_1="refused", sound_2="refused", sound_1="correct")
    table = tables.transitions(before, after)
    assert sorted(table.itertuples(index=False, name=None)) == [
        ("overall", "correct", "correct", 1),
        ("overall", "unreadable", "refused", 1),
        ("overall", "wrong", "refused", 1),
        ("sound", "correct", "correct", 1),
        ("sound", "wrong", "refused", 1),
        ("speech", "unreadable", "refused", 1),
    ]
    figures.idk_flows(table)


def test_transitions_refuse_unequal_items():
    with pytest.raises(OutcomeError, match="the two tables hold different items"):
        tables.transitions(outcome_table(sound_1="correct"), outcome_table(sound_2="correct"))


# ---- several runs, settings, trainings

BEFORE = letters("ccccwwww")


def test_runs_stand_beside_each_other_with_levels_and_gains():
    frame = tables.compare_runs(BEFORE, {"some": letters("cccrrrww"), "all": letters("rrrrrrrr")})
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
    frame = tables.compare_runs(
        letters("ccccwwwf"), {"one": letters("fcccwwwr"), "none": letters("ccccwwwr")}
    )
    assert value(frame[frame["run"] == "one"], "excluded") == 2
    assert value(frame[frame["run"] == "one"], "n") == 6
    assert value(frame[frame["run"] == "none"], "excluded") == 1


def test_other_items_before_and_after_are_refused():
    with pytest.raises(OutcomeError, match="the two tables hold different items"):
        tables.compare_runs(BEFORE, {"fewer": letters("ccww")})


def test_a_table_to_read_has_a_row_a_run():
    frame = tables.compare_runs(BEFORE, {"some": letters("cccrrrww"), "none": BEFORE})
    wide = tables.wide_by_run(frame, ["n", "accuracy", "rgi"])
    assert list(wide.columns) == ["run", "n", "accuracy", "rgi"]
    assert list(wide["run"]) == ["some", "none"]
    assert wide.loc[0, "n"] == "8"
    assert wide.loc[0, "accuracy"].startswith("0.38 [")
    assert "delta" in wide.loc[1, "rgi"], "an index that is not defined says why"
    sound = tables.wide_by_run(frame, ["accuracy"], group="sound")
    assert sound.loc[0, "accuracy"].startswith("0.75")


def test_a_setting_has_five_metrics_at_each_of_its_values():
    runs = {0: [BEFORE], 0.5: [letters("cccrrrww")], 2.0: [letters("rrrrrrrr")]}
    table = tables.by_setting(BEFORE, runs, "scale")
    assert list(table.columns) == ["scale", "metric", "value", "low", "high", "n"]
    assert sorted(table["scale"].unique()) == [0.0, 0.5, 2.0]
    assert all(set(part) == set(tables.SETTING_METRICS) for _, part in table.groupby("scale")["metric"])
    rejected, youden = (
        table[table["metric"] == name].set_index("scale")["value"]
        for name in ("rejection_rate", "refusal_youden")
    )
    assert rejected.to_dict() == {0.0: 0.0, 0.5: 3 / 8, 2.0: 1.0}
    assert youden.to_dict() == {0.0: 0.0, 0.5: 2 / 4 - 1 / 4, 2.0: 0.0}
    assert set(table["n"]) == {8}


def test_a_setting_s_training_seeds_are_averaged_inside_each_draw():
    first, second = letters("ccccrrww"), letters("ccccwwrr")
    both = tables.by_setting(BEFORE, {5: [first, second]}, "k").set_index("metric")
    alone = tables.by_setting(BEFORE, {5: [first]}, "k").set_index("metric")
    assert both.loc["refusal_youden", "value"] == alone.loc["refusal_youden", "value"] == 0.5
    # Within one draw of items what one lacks the other has; another training might lack either.
    assert both.loc["refusal_youden", "low"] < 0.5 < both.loc["refusal_youden", "high"]
    assert alone.loc["refusal_youden", "low"] < 0.5 < alone.loc["refusal_youden", "high"]


def test_failed_items_are_left_out_of_every_value_of_a_setting():
    table = tables.by_setting(BEFORE, {1: [letters("ccccwwwf")], 2: [letters("fcccwwww")]}, "k")
    assert set(table["n"]) == {6}


def adapter(folder, **changes):
    folder.mkdir()
    facts = {"digest": "d", "examples": 8, "idk_share": 0.5, "steps": 2, "final_loss": 1.0, "seconds": 3.0,
             "seed": 0, "recipe": {"learning_rate": 1e-4, "rank": 16, "epochs": 1}}  # fmt: skip
    (folder / lora_files.PROVENANCE).write_text(json.dumps(facts | changes))
    (folder / lora_files.CURVE).write_text("step,loss,learning_rate,examples\n1,2.5,0.1,4\n2,1.5,0.05,8\n")
    return folder


def test_curves_of_adapters_stand_beside_each_other(tmp_path):
    folders = {"one": adapter(tmp_path / "a"), "two": adapter(tmp_path / "b", examples=16)}
    table = tables.training_curves(folders)
    assert list(table.columns) == ["adapter", "step", "loss"]
    assert list(table["adapter"]) == ["one", "one", "two", "two"]
    assert list(table["loss"]) == [2.5, 1.5] * 2


# ---- methods beside the paper

MODALITIES = ("sound", "music", "speech")


def thirds() -> pd.DataFrame:
    return run(["correct", "wrong", "wrong"] * 30, [m for m in MODALITIES for _ in range(30)])


def with_refusals(step: int, start: int = 0) -> pd.DataFrame:
    table = thirds()
    hit = [k % step == start for k in range(len(table))]
    return table.assign(outcome=table["outcome"].mask(pd.Series(hit), "refused"))


def methods(names=("accuracy", "reliability", "rgi", "rgi_null")) -> pd.DataFrame:
    adapters = {modality: [with_refusals(4, k), with_refusals(5, k)] for k, modality in enumerate(MODALITIES)}
    return tables.methods_by_group(thirds(), {"IDK prompt": with_refusals(7)}, adapters, names, n_boot=30)


def cell(table: pd.DataFrame, method: str, group: str, metric: str, column: str = "value"):
    where = (table["method"] == method) & (table["group"] == group) & (table["metric"] == metric)
    [result] = table.loc[where, column]
    return result


def test_a_methods_row_is_what_evaluate_and_gain_say_of_it():
    table = methods()
    levels, gained = (
        metrics.evaluate(with_refusals(7), n_boot=30),
        metrics.compare(thirds(), with_refusals(7), n_boot=30),
    )
    for group in (*MODALITIES, "overall"):
        assert cell(table, "IDK prompt", group, "reliability") == pytest.approx(
            value(levels, "reliability", group)
        )
        assert cell(table, "IDK prompt", group, "rgi") == pytest.approx(value(gained, "rgi", group))


def test_the_baseline_has_levels_and_no_gains():
    table = methods()
    assert set(table.loc[table["method"] == "Baseline", "metric"]) == {"accuracy", "reliability"}
    assert cell(table, "Baseline", "overall", "accuracy") == pytest.approx(1 / 3)


def test_lora_is_the_mean_of_the_adapters_trained_elsewhere_and_in_domain_its_own():
    adapters = {modality: [with_refusals(4, k), with_refusals(5, k)] for k, modality in enumerate(MODALITIES)}
    expected = transfer.out_of_domain(thirds(), adapters, ["reliability"], n_boot=30)
    table = methods()
    for domain, method in (("out", tables.OUT), ("in", tables.IN)):
        rows = expected[expected["domain"] == domain].set_index("tested_on")["value"]
        for group in (*MODALITIES, "overall"):
            assert cell(table, method, group, "reliability") == pytest.approx(rows[group])


def test_the_papers_cells_are_shares_with_the_null_of_its_baseline():
    table = tables.paper_methods()
    assert cell(table, "Baseline", "sound", "accuracy") == pytest.approx(0.6096)
    assert cell(table, "LoRA SFT", "overall", "rgi") == 0.26
    assert cell(table, "IDK prompt", "sound", "rgi_null") == pytest.approx(math.log10(130 / 203))
    assert cell(table, "IDK prompt", "sound", "rgi_excess") == pytest.approx(0.27 - math.log10(130 / 203))
    assert cell(table, "MCoT prompt", "overall", "reliability", "n") == 1000
    assert "Human" not in set(table["method"])
    assert table["low"].isna().all()


def test_readable_sets_ours_and_the_papers_below_each_other():
    both = pd.concat([methods(), tables.paper_methods()])
    table = tables.wide_by_method(both, "reliability")
    assert list(table.columns) == [*MODALITIES, "overall"]
    assert list(table.index[:3]) == [
        ("Baseline", "measured here"), ("Baseline", "printed in the paper"), ("IDK prompt", "measured here"),
    ]  # fmt: skip
    assert table.loc[("Baseline", "printed in the paper"), "sound"] == "0.61"
    assert table.loc[("Baseline", "measured here"), "sound"].startswith("0.33 [")
    accuracy = tables.wide_by_method(both, "accuracy")
    assert accuracy.loc[("IDK prompt", "printed in the paper"), "overall"] == "", (
        "total accuracy is not printed"
    )


def test_a_value_that_is_not_finite_says_why():
    never = {modality: [thirds()] for modality in MODALITIES}
    table = tables.methods_by_group(thirds(), {}, never, ["rgi"], n_boot=5)
    assert tables.wide_by_method(table, "rgi").loc[("LoRA SFT", "measured here"), "sound"] == (
        "nan (delta_con = 0, delta_hum = 0)"
    )


def test_the_drawn_rows_carry_model_and_null():
    table = tables.side_by_side(pd.concat([methods(), tables.paper_methods()]), model="mini")
    assert set(table["metric"]) == {"accuracy", "reliability", "rgi"}
    assert set(table.loc[table["source"] == "measured here", "model"]) == {"mini"}
    assert set(table.loc[table["source"] == "printed in the paper", "model"]) == {paper.MODEL}
    assert table.loc[table["metric"] != "rgi", "null"].isna().all()
    ours = table[(table["source"] == "measured here") & (table["metric"] == "rgi")]
    assert ours["null"].to_numpy() == pytest.approx(math.log10(2))
