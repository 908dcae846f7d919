"""Tables for figures: the columns that figures.py documents, with numbers that can be counted by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lalm_utils import metrics, outcomes, paper, tables
from lalm_utils.bootstrap import wilson
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
            letters, _, level = group.partition("/")
            for letter in letters:
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
    for reason, letters in reasons.items():
        for letter in letters:
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
    for column, wanted in where.items():
        frame = frame[frame[column] == wanted]
    [only] = frame.to_dict("records")
    return only


# ---- accuracy


def test_accuracy_is_counted_by_modality_and_level_and_over_all_levels():
    table = table_of(sound="cccw/easy cw/medium wwwu/hard", music="cr/easy")
    made = tables.accuracy_by_level(table)
    counted = {(r.modality, r.level): (r.accuracy, r.n) for r in made.itertuples()}
    assert counted == {
        ("sound", "easy"): (0.75, 4), ("sound", "medium"): (0.5, 2), ("sound", "hard"): (0.0, 4),
        ("music", "easy"): (0.5, 2), ("sound", "overall"): (0.4, 10), ("music", "overall"): (0.5, 2),
    }  # fmt: skip
    assert list(made.columns) == ["modality", "level", "control", "accuracy", "low", "high", "chance", "n"]
    assert set(made["control"]) == {"clip"}
    assert (made["chance"] == 0.5).all()
    assert ((made["low"] <= made["accuracy"]) & (made["accuracy"] <= made["high"])).all()
    easy = row(made, modality="sound", level="easy")
    assert 0 <= easy["low"] < 0.75 < easy["high"] <= 1


def test_levels_are_left_out_on_request_and_where_there_are_none():
    with_levels = table_of(sound="cw/easy w/hard")
    assert tables.accuracy_by_level(with_levels, levels=False)["level"].tolist() == ["overall"]
    without = tables.accuracy_by_level(table_of(sound="ccw", speech="c"), control="silence")
    assert without[["modality", "level", "n"]].values.tolist() == [
        ["sound", "overall", 3],
        ["speech", "overall", 1],
    ]
    assert set(without["control"]) == {"silence"}


def test_items_without_a_level_count_in_the_whole_only():
    made = tables.accuracy_by_level(table_of(sound="c/easy www"))
    assert row(made, level="easy")["n"] == 1
    assert row(made, level="overall")["n"] == 4
    assert set(made["level"]) == {"easy", "overall"}


def test_chance_is_the_mean_over_the_items_of_a_row():
    table = table_of(sound="cw/easy cw/hard")
    table["chance"] = [0.5, 0.25, 0.25, 0.25]
    made = tables.accuracy_by_level(table)
    assert {r.level: r.chance for r in made.itertuples()} == {"easy": 0.375, "hard": 0.25, "overall": 0.3125}


def test_controls_stand_beside_each_other_by_modality_and_overall():
    runs = {"own clip": table_of(sound="cccw", music="cw"), "no audio": table_of(sound="cwww", music="wr")}
    made = tables.controls(runs)
    assert list(made.columns) == ["run", "group", "n", "accuracy", "low", "high", "chance"]
    assert {(r.run, r.group): (r.n, r.accuracy) for r in made.itertuples()} == {
        ("own clip", "sound"): (4, 0.75), ("own clip", "music"): (2, 0.5),
        ("own clip", "overall"): (6, pytest.approx(4 / 6)),
        ("no audio", "sound"): (4, 0.25), ("no audio", "music"): (2, 0.0),
        ("no audio", "overall"): (6, pytest.approx(1 / 6)),
    }  # fmt: skip


def test_controls_count_cut_clips_where_there_are_any():
    cut = table_of(sound="cccw", music="cw")
    cut["truncated"] = [False, False, False, True, True, False]
    made = tables.controls({"own clip": cut, "no audio": table_of(sound="cwww", music="wr")})
    assert {(r.run, r.group): (r.cut, r.accuracy_without) for r in made.itertuples()} == {
        ("own clip", "sound"): (1, 1.0), ("own clip", "music"): (1, 0.0), ("own clip", "overall"): (2, 0.75),
        ("no audio", "sound"): (0, 0.25), ("no audio", "music"): (0, 0.0),
        ("no audio", "overall"): (0, pytest.approx(1 / 6)),
    }  # fmt: skip


def test_chance_of_controls_is_that_of_their_group():
    table = table_of(sound="cw", music="cw")
    table["chance"] = [0.5, 0.5, 0.25, 0.25]
    made = tables.controls({"plain": table}).set_index("group")["chance"]
    assert made.to_dict() == {"sound": 0.5, "music": 0.25, "overall": 0.375}


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
    made = tables.values(frame, "rejection_rate")
    assert list(made.columns) == ["group", "value", "low", "high", "n"]
    assert made[["group", "value", "n"]].values.tolist() == [
        ["sound", 0.0, 3],
        ["music", 1.0, 1],
        ["overall", 0.25, 4],
    ]
    assert made.index.tolist() == [0, 1, 2]


# ---- gains


def gains():
    # sound: 4 right, 6 wrong before; 1 right one is lost, 4 wrong ones are given up. music: 2 and 2; 1 and 1.
    before = table_of(sound="ccccwwwwww", music="ccww")
    after = table_of(sound="rcccrrrrww", music="rcrw")
    return metrics.gain(before, after)


def test_gains_here_stand_beside_the_printed_ones_with_their_nulls():
    made = tables.measured_beside_printed(gains(), model="mini", method="IDK prompt")
    assert list(made.columns) == ["group", "source", "model", "rgi", "low", "high", "null", "n"]
    here = made[made["source"] == "measured here"].set_index("group")
    assert here["rgi"].to_dict() == pytest.approx(
        {"sound": np.log10(4), "music": 0.0, "overall": np.log10(5 / 2)}
    )
    assert here["null"].to_dict() == pytest.approx(
        {"sound": np.log10(6 / 4), "music": 0, "overall": np.log10(8 / 6)}
    )
    assert here["n"].to_dict() == {"sound": 10, "music": 4, "overall": 14}
    assert set(here["model"]) == {"mini"}
    printed = made[made["source"] == "printed in the paper"].set_index("group")
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
    made = tables.printed_gain(group, "MCoT prompt")
    assert made["null"] == pytest.approx(np.log10(wrong / correct))
    assert made["n"] == n
    assert made["rgi"] == {"sound": 0.09, "music": 0.25, "speech": 0.09, "overall": 0.15}[group]


def test_groups_that_the_paper_has_not_are_measured_only():
    before, after = table_of(**{"mix-sound-speech": "cw"}), table_of(**{"mix-sound-speech": "rr"})
    made = tables.measured_beside_printed(metrics.gain(before, after), model="mini", method="IDK prompt")
    assert made[["group", "source"]].values.tolist() == [
        ["mix-sound-speech", "measured here"], ["overall", "measured here"], ["overall", "printed in the paper"]
    ]  # fmt: skip


# ---- refusals


def test_refusals_are_counted_by_prompt_and_kind_of_item():
    known = table_of(sound="ccwr", music="cwww")
    known["novel"] = [False, False, False, True, False, False, True, True]
    unknown = hopeless(silence="rrw", masked="r", option_removed="rwww")
    plain = table_of(sound="ccww", music="cwww")
    plain["novel"] = known["novel"]
    made = tables.refusals({"plain": [plain, hopeless(silence="w")], "IDK": [known, unknown]})
    assert list(made.columns) == ["prompt", "group", "rate", "low", "high", "n"]
    assert {(r.prompt, r.group): (r.rate, r.n) for r in made.itertuples()} == {
        ("plain", "answerable, known content"): (0.0, 5), ("plain", "answerable, novel content"): (0.0, 3),
        ("plain", "inaudible"): (0.0, 1),
        ("IDK", "answerable, known content"): (0.0, 5),
        ("IDK", "answerable, novel content"): (pytest.approx(1 / 3), 3),
        ("IDK", "inaudible"): (0.75, 4), ("IDK", "ungrounded"): (0.25, 4),
    }  # fmt: skip
    inaudible = row(made, prompt="IDK", group="inaudible")
    assert (inaudible["low"], inaudible["high"]) == pytest.approx(wilson(3, 4))
    assert made["prompt"].tolist() == ["plain"] * 3 + ["IDK"] * 4


def outcome_table(**outcomes: str) -> pd.DataFrame:
    rows = [
        {"item": item, "modality": item.split("_")[0], "outcome": outcome}
        for item, outcome in outcomes.items()
    ]
    return pd.DataFrame(rows).assign(answerable=True)


def test_transitions_count_every_flow_by_modality_and_pooled_for_the_figure():
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
