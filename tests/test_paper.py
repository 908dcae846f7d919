"""The printed cells against our own metrics, computed on tables with the reconstructed counts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd
import pytest
from outcome_tables import count_table, transition_tables, value

from lalm_utils import metrics, paper

TRAINING_FREE = ("IDK prompt", "MCoT prompt", "Task Agent")
NINE = [(method, modality) for method in TRAINING_FREE for modality in paper.MODALITIES]

NAMED = ("correct_to_refused", "correct_to_wrong", "wrong_to_refused", "wrong_to_correct")


@dataclass(frozen=True, kw_only=True)
class Sound:
    """Items of the sound subset that a method moved, inferred from the counts and the printed ΔCon and ΔHum.

    lost (right before, not after), gained (wrong before, not after); the four transitions are None where the
    printed numbers do not give whole ones.
    """

    lost: int
    gained: int
    correct_to_refused: int | None = None
    correct_to_wrong: int | None = None
    wrong_to_refused: int | None = None
    wrong_to_correct: int | None = None


SOUND = {
    "IDK prompt": Sound(lost=36, gained=67, **dict(zip(NAMED, (20, 16, 40, 27)))),
    "MCoT prompt": Sound(lost=39, gained=48, **dict(zip(NAMED, (15, 24, 19, 29)))),
    "Task Agent": Sound(lost=32, gained=55, **dict(zip(NAMED, (16, 16, 31, 24)))),
    # Known misfit: log10(52/23) = 0.354 prints as 0.35, the paper has 0.36. A mean over two models could.
    "LoRA SFT": Sound(lost=23, gained=52),
}


def table(method: str) -> pd.DataFrame:
    """An outcome table with the counts of all three modalities."""
    parts = []
    for modality in paper.MODALITIES:
        counts = paper.COUNTS[method, modality]
        part = count_table(
            correct=counts.correct, refused=counts.refused, wrong=counts.wrong, modality=modality
        )
        parts.append(part.assign(item=modality + part["item"]))
    return pd.concat(parts, ignore_index=True)


def sound_pair(method: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Before and after with the flows of a row; where these are not known, everything moved is refused."""
    counts, flows = paper.COUNTS["Baseline", "sound"], SOUND[method]
    known = {name: getattr(flows, name) for name in NAMED if getattr(flows, name) is not None}
    known = known or {"correct_to_refused": flows.lost, "wrong_to_refused": flows.gained}
    stays = {"correct_to_correct": counts.correct - flows.lost, "wrong_to_wrong": counts.wrong - flows.gained}
    return transition_tables(**stays, **known)


def as_printed(number: float, cell: paper.Cell) -> str:
    scale = 1 if cell.metric == "rgi" else 100
    return f"{number * scale:.{cell.digits}f}"


def test_the_counts_add_up_to_the_benchmark():
    for (method, modality), counts in paper.COUNTS.items():
        assert counts.n == pytest.approx(paper.MODALITIES[modality]), (method, modality)


@pytest.mark.parametrize(("method", "modality"), [*NINE, *(("Baseline", name) for name in paper.MODALITIES)])
@pytest.mark.parametrize("metric", ["accuracy", "reliability"])
def test_accuracy_and_reliability_are_rebuilt_to_the_printed_digit(method, modality, metric):
    cell = paper.cell(method, modality, metric)
    got = value(metrics.evaluate(table(method), n_boot=1), metric, modality)
    assert as_printed(got, cell) == f"{cell.value:.2f}"


@pytest.mark.parametrize("method", ["Baseline", *TRAINING_FREE])
def test_total_reliability_is_computed_on_pooled_counts(method):
    cell = paper.cell(method, "overall", "reliability")
    got = value(metrics.evaluate(table(method), n_boot=1), "reliability")
    assert as_printed(got, cell) == f"{cell.value:.2f}"


@pytest.mark.parametrize("method", SOUND)
@pytest.mark.parametrize("metric", ["delta_con", "delta_hum"])
def test_sound_conservativeness_and_humbleness_are_rebuilt_with_n_below(method, metric):
    cell = paper.cell(method, "sound", metric)
    assert (
        as_printed(value(metrics.compare(*sound_pair(method), n_boot=1), metric), cell) == f"{cell.value:.2f}"
    )


@pytest.mark.parametrize("method", TRAINING_FREE)
def test_the_rgi_of_the_training_free_sound_rows_is_rebuilt_to_the_printed_digit(method):
    cell = paper.cell(method, "sound", "rgi")
    assert (
        as_printed(value(metrics.compare(*sound_pair(method), n_boot=1), "rgi"), cell) == f"{cell.value:.2f}"
    )


def test_the_rgi_of_the_lora_row_is_a_known_misfit():
    cell = paper.cell("LoRA SFT", "sound", "rgi")
    got = value(metrics.compare(*sound_pair("LoRA SFT"), n_boot=1), "rgi")
    assert got == pytest.approx(0.354, abs=0.0005)
    assert as_printed(got, cell) == "0.35"
    assert cell.value == 0.36


@pytest.mark.parametrize("method", TRAINING_FREE)
def test_the_flows_lead_from_the_baselines_counts_to_the_methods(method):
    before, after = sound_pair(method)
    for name, frame in (("Baseline", before), (method, after)):
        result = frame["outcome"].value_counts()
        expected = paper.COUNTS[name, "sound"]
        for outcome in ("correct", "refused", "wrong"):
            assert result.get(outcome, 0) == getattr(expected, outcome), (name, outcome)
    flows = SOUND[method]
    assert flows.correct_to_refused + flows.correct_to_wrong == flows.lost
    assert flows.wrong_to_refused + flows.wrong_to_correct == flows.gained


@pytest.mark.parametrize(
    ("method", "excess"),
    [("IDK prompt", 0.46), ("MCoT prompt", 0.28), ("Task Agent", 0.43), ("LoRA SFT", 0.55)],
)
def test_the_excess_over_the_null_is_the_rgi_of_the_other_denominators(method, excess):
    frame = metrics.compare(*sound_pair(method), n_boot=1)
    flows = SOUND[method]
    assert value(frame, "rgi_null") == pytest.approx(-0.194, abs=0.001)
    assert value(frame, "rgi_excess") == pytest.approx(math.log10((flows.gained / 130) / (flows.lost / 203)))
    assert value(frame, "rgi_excess") == pytest.approx(excess, abs=0.005)


def test_every_printed_cell_names_its_table_its_row_and_its_certainty():
    cells = paper.cells()
    assert not cells.duplicated(["method", "group", "metric"]).any()
    assert len(cells) == 5 * 7 + 4 + 4 * 6
    assert set(cells["certainty"]) == {"note"}
    assert cells["table"].str.len().gt(0).all()


def test_a_cell_that_is_not_printed_is_refused():
    with pytest.raises(KeyError, match="no printed delta_con of 'IDK prompt' for 'music'"):
        paper.cell("IDK prompt", "music", "delta_con")
